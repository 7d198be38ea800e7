"""Pooling against the slow reference: windows of every kind, borders, ties, NaN, epilogues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Refusal
from vecgrad.reference import ops
from vecgrad.spec.geometry import Axis, Window, window
from vecgrad.spec.kernel import AvgPoolDxSpec, AvgPoolSpec, Epilogue, MaxPoolDxSpec, MaxPoolSpec
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand, where
from vecgrad.spec.tensor import Layout

CHANNELS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64)
x0, x1, x2 = (Operand(i) for i in range(3))
PLAIN = Epilogue()

# Each way to lie on an image, by name.
WINDOWS = {
    "tiles": window((6, 4), 2, 2),
    "tiles and leftovers": window((5, 7), 2, 2),
    "tiles of three": window((7, 9), 3, 3),
    "overlapping": window((7, 6), 3, 2),
    "padded": window((8, 7), 3, 2, 1),
    "dense": window((6, 5), 3, 1, "same"),
    "gaps": window((9, 8), 2, 3),
    "dilated": window((9, 10), 3, 2, 1, dilation=2),
    "dilated with gaps": window((11, 8), (2, 3), 3, (1, 2), dilation=2),
    "uneven": window((7, 8), (3, 2), (1, 2), ((0, 2), (1, 0))),
    "wide padding": window((3, 4), 4, 1, 3),
    "global": window((7, 7), 7),
    "large": window((12, 12), 9, 3, 2),
    "huge": window((17, 16), (17, 16)),
    "large tiles": window((10, 18), (5, 9), (5, 9)),
    "large gaps": window((24, 16), 6, 8),
    "one cell": window((3, 3), 1, 2),
}
SOME = ("tiles and leftovers", "padded", "dilated")


class Maps:
    """Layouts of a pooling of ``channels`` channels and its random operands."""

    def __init__(
        self, lab: Any, machine: Machine, g: Window, channels: int, dtype: str, padded: bool
    ) -> None:
        self.lab, self.machine, self.g = lab, machine, g
        self.x = lab.layout(machine, (*g.in_size, channels), dtype, padded)
        self.y = lab.layout(machine, (*g.out_size, channels), dtype, padded)
        self.index = replace(self.y, dtype="uint8" if g.taps <= 255 else "int32")

    def max_pool(
        self, x: Any, epilogue: Epilogue = PLAIN, inputs: list[Any] | None = None
    ) -> tuple[Any, Any]:
        spec = MaxPoolSpec(self.g, self.x, self.y, self.index, epilogue)
        return self._run(spec, [(self.x, x)], epilogue, inputs, [self.y, self.index])

    def max_pool_dx(
        self, dy: Any, index: Any, epilogue: Epilogue = PLAIN, inputs: list[Any] | None = None
    ) -> Any:
        spec = MaxPoolDxSpec(self.g, self.y, self.index, self.x, epilogue)
        return self._run(spec, [(self.y, dy), (self.index, index)], epilogue, inputs, [self.x])[0]

    def avg_pool(
        self, x: Any, counted: bool, epilogue: Epilogue = PLAIN, inputs: list[Any] | None = None
    ) -> Any:
        spec = AvgPoolSpec(self.g, self.x, self.y, counted, epilogue)
        return self._run(spec, [(self.x, x)], epilogue, inputs, [self.y])[0]

    def avg_pool_dx(
        self, dy: Any, counted: bool, epilogue: Epilogue = PLAIN, inputs: list[Any] | None = None
    ) -> Any:
        spec = AvgPoolDxSpec(self.g, self.y, self.x, counted, epilogue)
        return self._run(spec, [(self.y, dy)], epilogue, inputs, [self.x])[0]

    def _run(self, spec: Any, first: Any, epilogue: Epilogue, inputs: Any, outputs: list[Layout]) -> Any:
        images = len(first[0][1])
        placed = [*first, *zip(epilogue.inputs, inputs or [], strict=True)]
        memories = [self.lab.stored(layout, values) for layout, values in placed]
        blanks = [self.lab.blank(layout, images) for layout in outputs]
        found = self.lab.run(spec, self.machine, [*memories, *blanks], images)[len(memories) :]
        return [
            np.ascontiguousarray(self.lab.loaded(layout, memory))
            for layout, memory in zip(outputs, found, strict=True)
        ]


def agree(
    lab: Any,
    machine: Machine,
    g: Window,
    channels: int,
    dtype: str = "float32",
    padded: bool = True,
    images: int = 2,
) -> None:
    """All four kernels give what the reference gives, to the last bit where that is exact."""
    maps = Maps(lab, machine, g, channels, dtype, padded)
    # Few values: most windows hold their largest more than once.
    x = lab.integers(1, images, *maps.x.shape, dtype=dtype, high=3)
    dy = lab.integers(2, images, *maps.y.shape, dtype=dtype)
    y, index = maps.max_pool(x)
    expected, chosen = ops.max_pool(x, g)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, chosen)
    np.testing.assert_array_equal(maps.max_pool_dx(dy, index), ops.max_pool_dx(dy, chosen, g))
    for counted in (False, True):
        np.testing.assert_array_equal(maps.avg_pool(x, counted), ops.avg_pool(x, g, counted))
        # Shares of a third are not exact, and their sum's last bits depend on its order.
        close = {"rtol": 0, "atol": 64 * np.finfo(dtype).eps}
        np.testing.assert_allclose(maps.avg_pool_dx(dy, counted), ops.avg_pool_dx(dy, g, counted), **close)
        multiple = dy * dy.dtype.type(5040 * 11 * 13 * 17)
        if images and g.taps <= 16 and dtype == "float64":
            np.testing.assert_array_equal(
                maps.avg_pool_dx(multiple, counted), ops.avg_pool_dx(multiple, g, counted)
            )


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "user"])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(lab: Any, some_machine: Machine, name: str, padded: bool) -> None:
    agree(lab, some_machine, WINDOWS[name], 5, padded=padded)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", SOME[:2])
def test_channels(lab: Any, some_machine: Machine, name: str, channels: int) -> None:
    agree(lab, some_machine, WINDOWS[name], channels, padded=channels % 2 == 0)


@pytest.mark.parametrize("name", SOME)
def test_float64(lab: Any, machine: Machine, name: str) -> None:
    for channels in (1, 5, 16):
        agree(lab, machine, WINDOWS[name], channels, "float64", padded=channels == 5)


def test_no_image(lab: Any, machine: Machine) -> None:
    agree(lab, machine, WINDOWS["padded"], 5, images=0)


def axes() -> st.SearchStrategy[Axis]:
    axis = st.builds(
        Axis,
        size=st.integers(1, 11),
        kernel=st.integers(1, 4),
        stride=st.integers(1, 4),
        before=st.integers(0, 3),
        after=st.integers(0, 3),
        dilation=st.integers(1, 3),
    )
    return axis.filter(lambda a: a.out >= 1 and _all_hold_a_cell(a))


def _all_hold_a_cell(axis: Axis) -> bool:
    return all(any(axis.source(p, r) is not None for r in range(axis.kernel)) for p in range(axis.out))


_shared: list[Any] = []


@pytest.fixture(autouse=True)
def _share(lab: Any) -> None:
    _shared[:] = [lab]


@settings(max_examples=25, deadline=None)
@given(g=st.builds(Window, axes(), axes()), channels=st.integers(1, 20))
def test_any_window(g: Window, channels: int) -> None:
    lab = _shared[0]
    agree(lab, lab.host[channels % len(lab.host)], g, channels, "float64" if channels % 5 == 0 else "float32")


@pytest.mark.parametrize("name", ["tiles", "padded", "large"])
def test_nan_wins_and_stays(lab: Any, machine: Machine, name: str) -> None:
    """Anywhere in a window, even before or behind a larger number or another NaN; infinities are numbers."""
    g = WINDOWS[name]
    maps = Maps(lab, machine, g, 9, "float32", True)
    rng = np.random.default_rng(5)
    x = rng.choice(np.array([np.nan, np.inf, -np.inf, 1, -1], np.float32), (3, *maps.x.shape))
    x[0] = -np.inf
    y, index = maps.max_pool(x)
    expected, chosen = ops.max_pool(x, g)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, chosen)


@pytest.mark.parametrize("name", [*SOME, "tiles", "large"])
def test_epilogues(lab: Any, machine: Machine, name: str) -> None:
    """ReLU's mask, with a map and a per-channel vector, on the result of each kernel."""
    g = WINDOWS[name]
    for channels, padded in ((5, True), (16, True), (21, False)):
        maps = Maps(lab, machine, g, channels, "float32", padded)
        vector = Layout(1, 1, channels, channels, batched=False)
        v = lab.integers(9, 1, 1, 1, channels)
        x = lab.integers(1, 2, *maps.x.shape)
        dy = lab.integers(2, 2, *maps.y.shape)
        dy *= g.taps  # with count_padding the shares are whole numbers
        mask_x, mask_y = lab.integers(3, 2, *maps.x.shape), lab.integers(4, 2, *maps.y.shape)
        expr = where(x1 <= 0, 0, x0 * 2) + x2
        at_y, at_x = Epilogue(expr, (maps.y, vector)), Epilogue(expr, (maps.x, vector))

        def on(result: Any, mask: Any, v: Any = v) -> Any:
            return np.where(mask <= 0, 0, result * 2) + v

        y, index = maps.max_pool(x, at_y, [mask_y, v])
        expected, chosen = ops.max_pool(x, g)
        np.testing.assert_array_equal(y, on(expected, mask_y))
        np.testing.assert_array_equal(index, chosen)
        dx = maps.max_pool_dx(dy, index, at_x, [mask_x, v])
        np.testing.assert_array_equal(dx, on(ops.max_pool_dx(dy, chosen, g), mask_x))
        y = maps.avg_pool(x, True, at_y, [mask_y, v])
        np.testing.assert_array_equal(y, on(ops.avg_pool(x, g, True), mask_y))
        dx = maps.avg_pool_dx(dy, True, at_x, [mask_x, v])
        np.testing.assert_array_equal(dx, on(ops.avg_pool_dx(dy, g, True), mask_x))


@pytest.mark.parametrize("name", ["padded", "dense", "large"])
def test_bits_do_not_depend_on_the_width(lab: Any, name: str) -> None:
    g = WINDOWS[name]
    found: dict[str, dict[str, Any]] = {}
    rng = np.random.default_rng(8)
    x = rng.normal(size=(2, *g.in_size, 21)).astype(np.float32)
    dy = rng.normal(size=(2, *g.out_size, 21)).astype(np.float32)
    for machine in lab.host:
        maps = Maps(lab, machine, g, 21, "float32", True)
        y, index = maps.max_pool(x)
        results = {
            "max": y,
            "max dx": maps.max_pool_dx(dy, index),
            "avg": maps.avg_pool(x, False),
            "avg dx": maps.avg_pool_dx(dy, False),
        }
        for key, result in results.items():
            found.setdefault(key, {})[machine.isa] = result
    for results in found.values():
        lab.same_on_fma(results)


def test_the_order_of_windows_in_a_gradient(lab: Any, machine: Machine) -> None:
    """Rows of windows before columns, each ascending: the rounding shows it."""
    g = window((3, 3), 2, 1)
    maps = Maps(lab, machine, g, 1, "float32", True)
    dy = np.array([1e8, 1, -1e8, 1], np.float32).reshape(1, 2, 2, 1)
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1] = 1
    _, index = maps.max_pool(x)
    assert maps.max_pool_dx(dy, index)[0, 1, 1, 0] == np.float32(1e8) + np.float32(1) - np.float32(1e8) + 1


def test_what_pooling_refuses() -> None:
    g = window((6, 6), 2, 2)
    x, y = Layout(6, 6, 5, 16), Layout(3, 3, 5, 16)
    index = Layout(3, 3, 5, 16, "uint8")
    empty = window((3, 3), 2, 3, 2)
    huge = window((20, 20), 20)
    refused = {
        MaxPoolSpec(g, y, y, index): "windows from (6, 6) to (3, 3) do not join (3, 3, 5) and (3, 3, 5)",
        MaxPoolSpec(
            g, x, y, Layout(3, 3, 4, 16, "uint8")
        ): "the index has the shape (3, 3, 4), the output (3, 3, 5)",
        MaxPoolSpec(
            huge, Layout(20, 20, 5, 16), Layout(1, 1, 5, 16), Layout(1, 1, 5, 16, "uint8")
        ): "uint8 cannot number the 400 cells of a window",
        AvgPoolSpec(
            empty, Layout(3, 3, 5, 16), Layout(*empty.out_size, 5, 16)
        ): "a window holds no cell of the image",
        AvgPoolDxSpec(g, replace(y, dtype="float64"), x): "float32 and float64 do not mix",
        MaxPoolDxSpec(
            g, y, index, x, Epilogue(x0 + x1, (y,))
        ): "input 0 has (3, 3) pixels, the output (6, 6)",
    }
    for spec, reason in refused.items():
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal), spec
        assert answer.reason == reason


def test_offers_name_the_share_of_tested_pixels() -> None:
    g = WINDOWS["tiles and leftovers"]
    x, y = Layout(5, 7, 16, 16), Layout(2, 3, 16, 16)
    assert registry.chosen(AvgPoolSpec(g, x, y), AVX512).reason == "100% of the pixels without tests"
    assert registry.chosen(AvgPoolDxSpec(g, y, x), AVX512).reason == "69% of the pixels without tests"


def test_code_is_short_and_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    for g in WINDOWS.values():
        x, y = lab.layout(any_machine, (*g.in_size, 21)), lab.layout(any_machine, (*g.out_size, 21))
        index = replace(y, dtype="uint8" if g.taps <= 255 else "int32")
        for spec in (
            MaxPoolSpec(g, x, y, index),
            MaxPoolDxSpec(g, y, index, x, Epilogue(where(x1 <= 0, 0, x0), (x,))),
            AvgPoolSpec(g, x, y),
            AvgPoolDxSpec(g, y, x),
        ):
            assert len(registry.generate(spec, any_machine)) < 60_000
    assert spec.name in lab.assembly(spec, any_machine)
