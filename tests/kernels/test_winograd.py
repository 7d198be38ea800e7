"""Winograd kernels against the slow reference: within bounds, and to the bit between machines, tiles and batches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Case

from vecgrad.kernels import _winograd_steps as steps
from vecgrad.kernels import algorithm, choose, registry, summed
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Epilogue, WinogradTile
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout
from vecgrad.spec.winograd import cook_toom

CASES = {
    "whole tiles": Case((8, 8), 16, 16, 3, padding="same"),
    "4 x 4 maps": Case((4, 4), 32, 64, 3, padding=1, images=5),
    "odd maps": Case((7, 7), 17, 33, 3, padding=1, images=3),
    "narrow": Case((33, 5), 16, 24, 3, images=1),
    "much padding": Case((6, 9), 20, 17, 3, padding=2, images=4),
    "more padding than the kernel": Case((3, 4), 18, 16, 3, padding=((3, 4), (0, 3)), images=2),
    "uneven padding": Case((5, 10), 16, 40, 3, padding=((0, 1), (2, 0)), images=3),
    "one output": Case((3, 3), 24, 16, 3, images=9),
    "several blocks": Case((6, 6), 70, 130, 3, padding=1, images=2),
    "no images": Case((5, 6), 16, 17, 3, padding=1, images=0),
}
FEW = ("4 x 4 maps", "odd maps", "more padding than the kernel", "no images")


class Operands:
    """A case's arrays, and the kernels' results on a machine."""

    def __init__(self, lab: Any, machine: Machine, case: Case, padded: bool = True, integers: bool = False):
        self.lab, self.machine, self.conv, self.n = lab, machine, case.conv, case.images
        self.x_layout = lab.layout(machine, self.conv.in_shape, padded=padded)
        self.y_layout = lab.layout(machine, self.conv.out_shape, padded=padded)
        shapes = ((self.n, *self.conv.in_shape), self.conv.weight_shape, (self.n, *self.conv.out_shape))
        if integers:
            made = [lab.integers(seed, *shape, high=4) for seed, shape in enumerate(shapes)]
        else:
            made = [
                np.random.default_rng(s).standard_normal(shape).astype("f") for s, shape in enumerate(shapes)
            ]
        self.x, self.w, self.dy = made
        self.spoiled: tuple[int, ...] = ()  # planes of packed weights that are NaN

    def packed(self, pack: Any) -> Any:
        memory = np.full(pack.entries, np.nan, np.float32)
        for task in range(pack.tasks):
            _, memory = self.lab.run(pack, self.machine, [self.w.ravel(), memory], 1, begin=task)
        for plane in self.spoiled:
            memory.reshape(-1, pack.block_entries)[:, plane * pack.plane : (plane + 1) * pack.plane] = np.nan
        return memory

    def gathered(
        self, direction: str, *, tile: WinogradTile | None = None, groups: int = 0, parts: int = 1,
        epilogue: Epilogue | None = None, inputs: tuple[Any, ...] = (), scalars: tuple[float, ...] = (),
        pack_tasks: int = 1, chunk: int = 0, together: int = 0, by_tiles: int = 0,
    ) -> Any:  # fmt: skip
        """groups, parts: of tasks. chunk, together: tasks take the weights into the domain themselves. by_tiles: of a task."""
        forward = direction == "forward"
        source, out = (self.x_layout, self.y_layout) if forward else (self.y_layout, self.x_layout)
        images = -(-self.n // groups) if groups else max(self.n - 1, 1)
        spec, pack = algorithm.winograd_spec(
            self.conv, "forward" if forward else "dx", source, out, self.machine, images=max(images, 1),
            image_groups=groups, parts=parts, epilogue=epilogue or Epilogue(), scalars=("n", "scale"),
        )  # fmt: skip
        if tile is not None:
            spec = replace(spec, tile=tile)
            pack = replace(pack, block=tile.vectors * self.machine.lanes("float32"))
        memory = self.lab.stored(out, np.full((self.n, *out.shape), np.nan))
        read = self.lab.stored(source, self.x if forward else self.dy)
        if chunk:
            spec = replace(spec, chunk=chunk, together=together)
        weights = self.w.ravel() if chunk else self.packed(replace(pack, tasks=pack_tasks))
        operands = [read, weights, *inputs, memory]
        tasks = spec.tasks
        if by_tiles:  # one task beyond the images there are, too
            spec = replace(spec, mode="tiles", tile=replace(spec.tile, scalars=by_tiles, block=by_tiles))
            tasks = (self.n + 1) * -(-out.height // 4) * -(-out.width // 4) // by_tiles + 1
        if spec.mode == "images":
            memory = self.lab.run(spec, self.machine, operands, self.n, scalars)[-1]
        else:
            for task in range(tasks):
                operands = [*operands[:-1], memory]
                memory = self.lab.run(spec, self.machine, operands, 1, (float(self.n), 0.0), begin=task)[-1]
        return self.lab.loaded(out, memory)

    def dw(self, *, tile: WinogradTile | None = None, groups: int = 0, wide: int = 1) -> Any:
        """groups: of images, as tasks whose slabs lie further apart than they are long; 0: one chunk. wide: blocks that a task
        takes."""
        spec = summed.winograd_dw_spec(
            self.conv, self.x_layout, self.y_layout, self.machine, images=max(self.n, 1), by_blocks=groups > 0
        )
        spec = spec if tile is None else replace(spec, tile=tile)
        spec = replace(spec, k_block=wide * spec.k_block)
        operands = [self.lab.stored(self.x_layout, self.x), self.lab.stored(self.y_layout, self.dy)]
        if not groups:
            slab = np.full(self.w.size, np.nan, np.float32)
            return self.lab.run(spec, self.machine, [*operands, slab], self.n)[-1].reshape(self.w.shape)
        stride = self.w.size + 5
        found = summed.at_groups(spec, groups, self.n, stride)
        slabs = np.full(groups * stride, np.nan, np.float32)
        for task in range(found.tasks):
            arrays = [*operands, slabs]
            slabs = self.lab.run(found, self.machine, arrays, 1, (float(self.n),), begin=task)[-1]
        parts = slabs.reshape(groups, stride)
        assert np.isnan(parts[:, self.w.size :]).all()
        return parts[:, : self.w.size].sum(0).reshape(self.w.shape)

    def wanted(self, direction: str) -> Any:
        x, w, dy = (each.astype(np.float64) for each in (self.x, self.w, self.dy))
        if direction == "forward":
            return ops.conv(x, w, self.conv)
        return ops.conv_dx(dy, w, self.conv) if direction == "dx" else ops.conv_dw(x, dy, self.conv)


def error(found: Any, wanted: Any) -> float:
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def near(found: Any, wanted: Any) -> None:
    """Rounding, and nothing else: a wrong index would show as 1e-2 at least."""
    assert error(found, wanted) < 5e-6


def same_bits(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize("name", CASES)
def test_all_directions(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CASES[name])
    near(a.gathered("forward"), a.wanted("forward"))
    near(a.gathered("dx"), a.wanted("dx"))
    near(a.dw(), a.wanted("dw"))


@pytest.mark.parametrize("name", FEW)
def test_tasks_and_arrays_without_padding(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CASES[name], padded=False)
    for direction, cuts in (("forward", ((1, 1), (2, 3))), ("dx", ((2, 1), (4, 2)))):
        whole = a.gathered(direction)
        for groups, parts in cuts:
            same_bits(a.gathered(direction, groups=groups, parts=parts), whole)
    near(a.dw(groups=3), a.wanted("dw"))


def test_tasks_of_two_blocks_of_output_channels(lab: Any, machine: Machine) -> None:
    a = Operands(lab, machine, Case((7, 6), 17, 130, 3, padding=1, images=3))
    for groups in (1, 2):
        same_bits(a.dw(groups=groups, wide=2), a.dw(groups=groups))


@pytest.mark.parametrize(
    ("name", "tiles"), [(FEW[0], 1), (FEW[0], 4), (FEW[1], 1), (FEW[1], 2), (FEW[2], 2), (FEW[3], 4)]
)
def test_tasks_of_tiles(lab: Any, machine: Machine, name: str, tiles: int) -> None:
    a = Operands(lab, machine, CASES[name])
    for direction in ("forward", "dx"):
        same_bits(a.gathered(direction, by_tiles=tiles), a.gathered(direction))


@pytest.mark.parametrize("direction", ["forward", "dx"])
def test_numbers_at_infinity_are_part_of_fourth_outputs_alone(
    lab: Any, machine: Machine, direction: str
) -> None:
    """Maps of 3 × 3 lack every tile's fourth row and column, and so need no weights there."""
    a = Operands(lab, machine, Case((3, 3), 17, 33, 3, padding=1, images=7))
    whole = a.gathered(direction)
    a.spoiled = tuple(plane for plane in range(36) if plane >= 30 or plane % 6 == 5)
    same_bits(a.gathered(direction), whole)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    before, after = ((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    size = tuple(
        draw(st.integers(max(1, 3 - b - a), max(1, 3 - b - a) + 9))
        for b, a in zip(before, after, strict=True)
    )
    padding = ((before[0], after[0]), (before[1], after[1]))
    c, k = draw(st.integers(16, 40)), draw(st.integers(16, 40))
    return Case((size[0], size[1]), c, k, 3, 1, padding, images=draw(st.integers(0, 4)))


@given(case=cases())
@settings(max_examples=8, deadline=None)
def test_any_geometry(lab: Any, case: Case) -> None:
    a = Operands(lab, lab.host[0], case)
    near(a.gathered("forward"), a.wanted("forward"))
    near(a.gathered("dx"), a.wanted("dx"))
    near(a.dw(groups=2), a.wanted("dw"))


@pytest.mark.parametrize("name", FEW)
def test_bits_are_those_of_any_vector_width(lab: Any, name: str) -> None:
    machines = [m for m in (AVX512, AVX2) if m in lab.host]
    if len(machines) < 2:
        pytest.skip("this processor has not both AVX-512 and AVX2")
    one, two = (Operands(lab, m, CASES[name]) for m in machines)
    for direction in ("forward", "dx"):
        same_bits(one.gathered(direction), two.gathered(direction))
    same_bits(one.dw(), two.dw())
    same_bits(one.dw(groups=2), two.dw(groups=2))


@pytest.mark.parametrize("tile", [WinogradTile(1, 3, 3), WinogradTile(2, 5, 10), WinogradTile(1, 1, 4)])
def test_bits_are_those_of_any_tile(lab: Any, machine: Machine, tile: WinogradTile) -> None:
    a = Operands(lab, machine, CASES["much padding"])
    for direction in ("forward", "dx"):
        same_bits(a.gathered(direction, tile=tile), a.gathered(direction))
    same_bits(a.dw(tile=tile), a.dw())


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("4 x 4 maps", (2, 64, 64)),
        ("odd maps", (1, 16, 8)),
        ("odd maps", (2, 32, 2)),
        ("several blocks", (1, 16, 8)),
        ("several blocks", (2, 64, 64)),
        ("no images", (2, 32, 2)),
    ],
)
def test_bits_are_the_same_without_packed_weights(
    lab: Any, machine: Machine, name: str, cut: tuple[int, int, int]
) -> None:
    parts, chunk, tiles = cut
    a = Operands(lab, machine, CASES[name])
    tile = WinogradTile(1, 2, min(tiles, 8))
    for direction in ("forward", "dx"):
        packed = a.gathered(direction, groups=2)
        cut_again = {"groups": 2, "parts": parts, "tile": tile, "chunk": chunk, "together": tiles}
        same_bits(a.gathered(direction, **cut_again), packed)


def test_a_wide_layer_takes_its_weights_as_they_are(machine: Machine) -> None:
    """Where few tiles meet many weights, and only there."""
    for channels, batch, wide in ((512, 32, True), (512, 2048, False), (64, 32, False)):
        layout = Layout(4, 4, channels, channels)
        found = algorithm.gather(
            Case((4, 4), channels, channels, 3, padding=1).conv, "forward", layout, layout, machine,
            epilogue=Epilogue(), scalars=(), images=2, batch=batch, direct_by_blocks=False, algorithm="auto",
        )  # fmt: skip
        assert (found.pack is None) == wide
        assert any("packed weights" in reason for reason in found.refused) == wide


@pytest.mark.parametrize("name", ["4 x 4 maps", "odd maps"])
def test_an_image_has_the_same_bits_alone_and_in_a_batch(lab: Any, machine: Machine, name: str) -> None:
    whole = Operands(lab, machine, CASES[name])
    for n in range(whole.n):
        alone = Operands(lab, machine, replace(CASES[name], images=1))
        alone.x, alone.dy, alone.w = whole.x[n : n + 1], whole.dy[n : n + 1], whole.w
        same_bits(whole.gathered("forward")[n : n + 1], alone.gathered("forward"))
        same_bits(whole.gathered("dx")[n : n + 1], alone.gathered("dx"))


@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
@pytest.mark.parametrize("name", ["odd maps", "uneven padding"])
def test_epilogues(lab: Any, machine: Machine, name: str, padded: bool) -> None:
    """A vector for the channels, a map, one channel of a map, one pixel of a map, a runtime scalar."""
    a = Operands(lab, machine, CASES[name], padded=padded)
    for direction, out in (("forward", a.y_layout), ("dx", a.x_layout)):
        h, w, c = out.shape
        layouts = (
            Layout(1, 1, c, c, batched=False),
            out,
            lab.layout(machine, (h, w, 1), padded=padded),
            lab.layout(machine, (1, 1, c), padded=padded),
        )
        values = [
            lab.integers(9 + i, a.n if each.batched else 1, *each.shape) for i, each in enumerate(layouts)
        ]
        entry, bias, gate, one, pixel = (Operand(i) for i in range(5))
        expr = where(gate <= 0, Scalar("scale"), entry + bias) + one - pixel
        inputs = tuple(lab.stored(each, value) for each, value in zip(layouts, values, strict=True))
        found = a.gathered(
            direction, epilogue=Epilogue(expr, layouts), inputs=inputs, scalars=(float(a.n), 0.5)
        )
        b, g, o, p = values
        near(found, np.where(g <= 0, 0.5, a.wanted(direction) + b) + o - p)


@pytest.mark.parametrize("channels", [16, 64, 512])
def test_error_bound(lab: Any, channels: int) -> None:
    """Rectified images and He's weights: below 3e-6, and below four times the direct kernel's own error, that of one chain."""
    case = Case((4, 4), channels, channels, 3, padding=1, images=2)
    a = Operands(lab, lab.host[0], case)
    a.x, a.w = np.maximum(a.x, 0), (a.w * np.sqrt(2 / (9 * channels))).astype(np.float32)
    spec, pack = choose.forward_spec(a.conv, a.x_layout, a.y_layout, a.machine)
    out = lab.stored(a.y_layout, np.zeros((a.n, *a.conv.out_shape)))
    operands = [lab.stored(a.x_layout, a.x), a.packed(pack), out]
    direct = lab.loaded(a.y_layout, lab.run(spec, a.machine, operands, a.n)[-1])
    found = error(a.gathered("forward"), a.wanted("forward"))
    chain = error(direct, a.wanted("forward"))
    assert found < 3e-6
    assert found < 4 * chain
    # Each of n multiply-adds rounds a sum that grows with the root of their number: about 1.8e-8 √n in all.
    assert chain < 2.5e-8 * np.sqrt(9 * channels)
    assert error(a.gathered("dx"), a.wanted("dx")) < 3e-6
    assert error(a.dw(), a.wanted("dw")) < 6e-7


@pytest.mark.parametrize("direction", ["forward", "dx"])
def test_packed_weights(lab: Any, machine: Machine, direction: str) -> None:
    a = Operands(lab, machine, CASES["odd maps"])
    source, out = (a.x_layout, a.y_layout) if direction == "forward" else (a.y_layout, a.x_layout)
    _, pack = algorithm.winograd_spec(a.conv, direction, source, out, machine)  # type: ignore[arg-type]
    w = a.w if direction == "forward" else a.w[::-1, ::-1].transpose(0, 1, 3, 2)
    g = np.array(cook_toom().g, float)
    planes = np.einsum("ir,js,rsck->ijck", g, g, w.astype(float)).reshape(36, *w.shape[2:])
    wanted = np.zeros((36, pack.inner, pack.blocks * pack.block))
    wanted[..., : pack.outer] = planes
    wanted = wanted.reshape(36, pack.inner, pack.blocks, pack.block).transpose(2, 0, 1, 3)
    for tasks in (1, 3):
        found = a.packed(replace(pack, tasks=tasks)).reshape(pack.blocks, 36, pack.plane)
        near(found[..., : pack.inner * pack.block].reshape(wanted.shape), wanted)


class _Rational:
    """A builder of fractions."""

    @staticmethod
    def number(value: float) -> Fraction:
        return Fraction(value).limit_denominator(1000)

    def fma(self, a: Fraction, b: Fraction, c: Fraction) -> Fraction:
        return a * b + c

    def fnma(self, a: Fraction, b: Fraction, c: Fraction) -> Fraction:
        return c - a * b

    def fadd(self, a: Fraction, b: Fraction) -> Fraction:
        return a + b

    def fsub(self, a: Fraction, b: Fraction) -> Fraction:
        return a - b

    def fmul(self, a: Fraction, b: Fraction) -> Fraction:
        return a * b


def test_steps_are_the_matrices() -> None:
    t = cook_toom()

    def transposed(m: Any) -> Any:
        return tuple(zip(*m, strict=True))

    def into(step: steps.Step) -> Any:
        return lambda b, values: steps.at_all(step, b, values.__getitem__)

    for name, step, matrix in (
        ("inputs", into(steps.inputs), t.bt), ("outputs", steps.outputs, t.at),
        ("gradients", into(steps.gradients), transposed(t.at)),
        ("weights", steps.weights, t.g), ("weight_gradients", steps.weight_gradients, transposed(t.g)),
    ):  # fmt: skip
        count = len(matrix[0])
        columns = [step(_Rational(), [Fraction(i == j) for i in range(count)]) for j in range(count)]
        assert transposed(columns) == matrix, name


def test_offers_and_refusals(machine: Machine) -> None:
    def answers(conv: Conv, dtype: str = "float32") -> list[Offer | Refusal]:
        x, y = Layout(*conv.in_shape, 64, dtype), Layout(*conv.out_shape, 64, dtype)
        spec, _ = algorithm.winograd_spec(conv, "forward", x, y, machine)
        dw = summed.winograd_dw_spec(conv, x, y, machine, images=1, by_blocks=False)
        return [*registry.candidates(spec, machine), *registry.candidates(dw, machine)]

    for answer in answers(Conv(window((8, 8), 3), 64, 64)):
        assert isinstance(answer, Offer)
        assert answer.seconds > 0
    for conv, dtype, reason in (
        (Conv(window((8, 8), 5), 64, 64), "float32", "5 × 5"),
        (Conv(window((8, 8), 3, 2), 64, 64), "float32", "stride"),
        (Conv(window((8, 8), 3, dilation=2), 64, 64), "float32", "dilation"),
        (Conv(window((8, 8), 3), 64, 64, 4), "float32", "groups"),
        (Conv(window((8, 8), 3), 3, 64), "float32", "16 channels"),
        (Conv(window((8, 8), 3), 64, 64), "float64", "float64"),
    ):
        for answer in answers(conv, dtype):
            assert isinstance(answer, Refusal)
            assert reason in answer.reason
