"""Pooling in a convolution's epilogue: bit for bit what the convolution and a pass of pooling give, ties and NaN included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.kernels import algorithm, registry
from vecgrad.kernels._pooled import refusal
from vecgrad.kernels.algorithm import winograd_spec
from vecgrad.kernels.choose import forward_spec
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, Window, window
from vecgrad.spec.kernel import ConvSpec, Epilogue, Pooling, Tile, WinogradSpec
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, where
from vecgrad.spec.tensor import Layout

x0, x1, x2 = (Operand(i) for i in range(3))
BIASED = where(x0 + x1 <= 0, 0, x0 + x1)


class Pooled:
    """A convolution with bias and ReLU on whose output windows of ``size`` lie, for ``n`` images."""

    def __init__(
        self, lab: Any, machine: Machine, conv: Conv, size: tuple[int, int], n: int, dtype: str = "float32"
    ) -> None:
        self.lab, self.machine, self.conv, self.n = lab, machine, conv, n
        self.g = window(conv.window.out_size, size, size)
        k = conv.channels_out
        self.x_layout, self.y_layout = (
            lab.layout(machine, shape, dtype) for shape in (conv.in_shape, conv.out_shape)
        )
        for name in ("x_layout", "y_layout"):
            layout = getattr(self, name)
            setattr(self, name, replace(layout, pitch=machine.pitch(layout.channels, dtype)))
        self.out = replace(self.y_layout, height=self.g.rows.out, width=self.g.cols.out)
        self.index = replace(self.out, dtype="uint8" if self.g.taps <= 255 else "int32")
        self.bias = Layout(1, 1, k, k, dtype, batched=False)
        # Few values: most windows hold their largest more than once.
        self.x = lab.integers(1, n, *conv.in_shape, dtype=dtype, high=1)
        self.w = lab.integers(2, *conv.weight_shape, dtype=dtype, high=1)
        self.b = lab.integers(3, 1, 1, 1, k, dtype=dtype, high=2)
        self.after = lab.integers(4, n, *self.out.shape, dtype=dtype)

    def epilogue(self, pooled: bool, index: bool = True, after: bool = False) -> Epilogue:
        if not pooled:
            return Epilogue(BIASED, (self.bias,))
        layout = self.index if index else None
        expr, inputs = (x0 * x1 - x2, (self.out, self.bias)) if after else (x0, ())
        return Epilogue(BIASED, (self.bias,), Pooling(self.g, self.out, layout, expr, inputs))

    def run(self, spec: Any, pack: Any) -> list[Any]:
        """What the kernel stores, each as an array of its layout's shape."""
        memory = np.full(pack.entries, np.nan, self.w.dtype)
        for task in range(pack.tasks):
            _, memory = self.lab.run(pack, self.machine, [self.w.ravel(), memory], 1, begin=task)
        pool = spec.epilogue.pool
        layouts = [spec.output] if pool is None else pool.outputs
        inputs = [self.b.ravel()]
        if pool is not None and pool.inputs:
            inputs += [self.lab.stored(self.out, self.after), self.b.ravel()]
        operands = [self.lab.stored(self.x_layout, self.x), memory, *inputs]
        outputs = [self.lab.blank(layout, self.n) for layout in layouts]
        tasks = range(spec.tasks) if isinstance(spec, WinogradSpec) and spec.mode == "blocks" else [None]
        for task in tasks:
            images, begin = (self.n, 0) if task is None else (1, task)
            found = self.lab.run(
                spec, self.machine, [*operands, *outputs], images, (float(self.n),), begin=begin
            )
            outputs = found[len(operands) :]
        return [self.lab.loaded(layout, out) for layout, out in zip(layouts, outputs, strict=True)]

    def direct(self, epilogue: Epilogue, tile: Tile | None = None) -> list[Any]:
        spec, pack = forward_spec(
            self.conv,
            self.x_layout,
            self.y_layout,
            self.machine,
            epilogue=epilogue,
            images=max(self.n - 1, 1),
        )
        if tile is not None:
            spec, pack = (
                replace(spec, tile=tile),
                replace(pack, block=tile.vectors * self.machine.lanes(spec.output.dtype)),
            )
        return self.run(spec, pack)

    def winograd(self, epilogue: Epilogue, groups: int = 0, parts: int = 1) -> list[Any]:
        return self.run(
            *winograd_spec(
                self.conv, "forward", self.x_layout, self.y_layout, self.machine, epilogue=epilogue,
                images=-(-self.n // groups) if groups else max(self.n - 1, 1), image_groups=groups, parts=parts,
            )
        )  # fmt: skip

    def agree(self, full: list[Any], pooled: list[Any]) -> None:
        """``pooled`` is what pooling ``full`` gives."""
        for found, wanted in zip(pooled, ops.max_pool(full[0], self.g), strict=True):
            np.testing.assert_array_equal(found, wanted)


_shared: list[Any] = []


@pytest.fixture(autouse=True)
def _share(lab: Any) -> None:
    _shared[:] = [lab]


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    channels=st.sampled_from([1, 3, 17]),
    filters=st.sampled_from([1, 6, 17, 40]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    windows=st.sampled_from([(2, 2), (3, 3), (2, 1), (1, 3), (2, 4), (1, 1)]),
    n=st.integers(0, 4),
    which=st.integers(0, 9),
)
def test_direct(
    size: Any, channels: int, filters: int, kernel: int, stride: int, windows: Any, n: int, which: int
) -> None:
    lab = _shared[0]
    conv = Conv(window(size, kernel, stride, padding="same"), channels, filters)
    if any(have < want for have, want in zip(conv.window.out_size, windows, strict=True)):
        return
    machine = lab.host[which % len(lab.host)]
    case = Pooled(lab, machine, conv, windows, n, "float64" if which == 7 else "float32")
    full = case.direct(case.epilogue(False))
    np.testing.assert_array_equal(full[0], np.maximum(ops.conv(case.x, case.w, conv) + case.b, 0))
    case.agree(full, case.direct(case.epilogue(True)))


@pytest.mark.parametrize("groups", [1, 3])
def test_direct_in_groups_and_row_blocks(lab: Any, machine: Machine, groups: int) -> None:
    """Row blocks that end within the map, a rest of rows, a rest of columns; channels of a group that share a vector."""
    case = Pooled(lab, machine, Conv(window((11, 13), 3, padding=1), 6, 9, groups), (2, 2), 2)
    full = case.direct(case.epilogue(False))
    for tile in (Tile(1, 1, 2, 4, 4), Tile(1, 1, 2, 2, 2), Tile(1, 1, 4, 2, 8)):
        case.agree(full, case.direct(case.epilogue(True), tile))


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    channels=st.sampled_from([16, 17]),
    filters=st.sampled_from([16, 17, 40]),
    padding=st.integers(0, 1),
    windows=st.sampled_from([(2, 2), (4, 4), (2, 1), (1, 4)]),
    n=st.integers(0, 5),
    which=st.integers(0, 9),
)
def test_winograd(
    size: Any, channels: int, filters: int, padding: int, windows: Any, n: int, which: int
) -> None:
    lab = _shared[0]
    conv = Conv(window(size, 3, padding=padding), channels, filters)
    if any(have < want for have, want in zip(conv.window.out_size, windows, strict=True)):
        return
    case = Pooled(lab, lab.host[which % len(lab.host)], conv, windows, n)
    case.agree(case.winograd(case.epilogue(False)), case.winograd(case.epilogue(True)))


def test_winograd_by_tasks(lab: Any, machine: Machine) -> None:
    case = Pooled(lab, machine, Conv(window((9, 6), 3, padding=1), 16, 70), (2, 2), 5)
    full = case.winograd(case.epilogue(False))
    case.agree(full, case.winograd(case.epilogue(True), groups=2, parts=2))


@pytest.mark.parametrize("how", ["direct", "winograd"])
def test_nan_wins_and_stays(lab: Any, machine: Machine, how: str) -> None:
    case = Pooled(lab, machine, Conv(window((8, 8), 3, padding=1), 16, 16), (2, 2), 2)
    case.x = case.x.copy()
    case.x[0, 3, 4, 2] = np.nan
    case.x[1, 0, 0, 5] = np.inf
    case.agree(getattr(case, how)(case.epilogue(False)), getattr(case, how)(case.epilogue(True)))


@pytest.mark.parametrize("how", ["direct", "winograd"])
def test_maps_behind_the_pooling(lab: Any, machine: Machine, how: str) -> None:
    """With a map and a per-channel vector; without an index."""
    case = Pooled(lab, machine, Conv(window((7, 8), 3, padding=1), 16, 21), (2, 2), 3)
    [full] = getattr(case, how)(case.epilogue(False))
    [found] = getattr(case, how)(case.epilogue(True, index=False, after=True))
    wanted, index = ops.max_pool(full, case.g)
    np.testing.assert_array_equal(found, wanted * case.after - case.b)
    both = getattr(case, how)(case.epilogue(True, after=True))
    np.testing.assert_array_equal(both[0], found)
    np.testing.assert_array_equal(both[1], index)


@pytest.mark.parametrize("how", ["direct", "winograd"])
def test_bits_do_not_depend_on_the_width(lab: Any, how: str) -> None:
    found: dict[str, Any] = {}
    for machine in lab.host:
        case = Pooled(lab, machine, Conv(window((7, 10), 3, padding=1), 16, 21), (2, 2), 2)
        rng = np.random.default_rng(6)
        case.x, case.w = (rng.standard_normal(a.shape).astype("f") for a in (case.x, case.w))
        found[machine.isa] = getattr(case, how)(case.epilogue(True))
    for port in range(2):
        lab.same_on_fma({isa: results[port] for isa, results in found.items()})


def test_which_windows_a_convolution_pools() -> None:
    split = "windows that overlap, leave gaps or reach into padding"
    cases: list[tuple[Window, bool, str]] = [
        (window((9, 9), 2, 2), True, ""),
        (window((9, 9), 3, 3), True, "windows of 3 × 3 do not divide tiles of 4 × 4"),
        (window((9, 9), 3, 3), False, ""),
        (window((12, 12), 4, 4), False, "windows of 4 × 4 have too many cells for a register tile"),
        (window((9, 9), 3, 2), False, split),
        (window((9, 9), 2, 3), True, split),
        (window((8, 8), 2, 2, 1), True, split),
        (window((7, 8), 2, 2, ((0, 1), (0, 0))), True, split),
        (window((9, 9), 2, 2, dilation=2), False, split),
    ]
    for g, winograd, reason in cases:
        assert refusal(g, winograd) == reason


@pytest.mark.parametrize(("size", "kernel"), [(2, 3), (3, 3), (3, 5)])
def test_the_chosen_kernel_says_why_it_does_not_pool(size: int, kernel: int) -> None:
    layout = Layout(12, 12, 64, 64)
    g = window((12, 12), size, size)
    out = Layout(*g.out_size, 64, 64)
    pool = Pooling(g, out, replace(out, dtype="uint8"))
    found = algorithm.gather(
        Conv(window((12, 12), kernel, padding="same"), 64, 64), "forward", layout, layout, AVX512,
        epilogue=Epilogue(pool=pool), scalars=(), images=4, batch=64, direct_by_blocks=False, algorithm="auto",
    )  # fmt: skip
    refused = (
        "conv.winograd: windows of 3 × 3 do not divide tiles of 4 × 4" if (size, kernel) == (3, 3) else ""
    )
    assert found.not_pooled == refused
    assert found.spec.epilogue.pool == (None if refused else pool)
    if isinstance(found.spec, ConvSpec):
        assert (found.spec.tile.rows % size, found.spec.tile.cols % size) == (0, 0)


def test_what_is_written_is_what_was_pooled() -> None:
    for machine in (AVX512, AVX2):
        layout, g = Layout(8, 8, 32, 32), window((8, 8), 2, 2)
        out = Layout(4, 4, 32, 32)
        pool = Pooling(g, out, replace(out, dtype="uint8"))
        for make in (forward_spec, lambda *a, **k: winograd_spec(a[0], "forward", *a[1:], **k)):
            spec, _ = make(
                Conv(window((8, 8), 3, padding=1), 32, 32),
                layout,
                layout,
                machine,
                epilogue=Epilogue(pool=pool),
            )
            assert registry.chosen(spec, machine).bytes_written == 4 * 4 * 32 * (4 + 1)


def test_code_is_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    """Register tiles of whole windows spill nowhere: the hot loop is the one without a pooling."""
    case = Pooled(lab, any_machine, Conv(window((12, 12), 3, padding=1), 16, 24), (3, 3), 2)
    spec, _ = forward_spec(case.conv, case.x_layout, case.y_layout, any_machine, epilogue=case.epilogue(True))
    assert spec.tile.rows % 3 == spec.tile.cols % 3 == 0
    assert spec.name in lab.assembly(spec, any_machine)
