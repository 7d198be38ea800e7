"""Convolutions, three directions, against the slow reference: sums of small integers come out bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import CONVOLUTIONS, FEW, Case

from vecgrad.kernels import registry
from vecgrad.kernels._conv_shape import gather
from vecgrad.kernels.choose import dw_spec, dx_spec, forward_spec
from vecgrad.reference import ops
from vecgrad.spec.kernel import ConvDwSpec, DwTile, Epilogue, Tile
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout

x0, x1, x2, x3 = (Operand(n) for n in range(4))


class Operands:
    """A case's arrays, and their memory on a machine."""

    def __init__(
        self,
        lab: Any,
        machine: Machine,
        case: Case,
        dtype: str = "float32",
        padded: bool = True,
        real: bool = False,
    ) -> None:
        self.lab, self.machine, self.case, self.conv = lab, machine, case, case.conv
        self.dtype = dtype
        self.x_layout = lab.layout(machine, self.conv.in_shape, dtype, padded)
        self.y_layout = lab.layout(machine, self.conv.out_shape, dtype, padded)
        if padded:
            pitch = [machine.pitch(c, dtype) for c in (self.conv.channels_in, self.conv.channels_out)]
            self.x_layout = replace(self.x_layout, pitch=pitch[0])
            self.y_layout = replace(self.y_layout, pitch=pitch[1])
        n = case.images
        self.x = self._values(1, real, n, *self.conv.in_shape)
        self.w = self._values(2, real, *self.conv.weight_shape)
        self.dy = self._values(3, real, n, *self.conv.out_shape)

    def _values(self, seed: int, real: bool, *shape: int) -> Any:
        if real:
            return np.random.default_rng(seed).standard_normal(shape).astype(self.dtype)
        return self.lab.integers(seed, *shape, dtype=self.dtype, high=4)

    def packed(self, pack: Any) -> Any:
        """The packed weights: every task of the pack."""
        memory = np.full(pack.entries, np.nan, self.dtype)
        for task in range(pack.tasks):
            _, memory = self.lab.run(pack, self.machine, [self.w.ravel(), memory], 1, begin=task)
        return memory

    def gathered(
        self, spec: Any, pack: Any, inputs: tuple[Any, ...] = (), scalars: tuple[float, ...] = ()
    ) -> Any:
        """What a forward or data gradient kernel gives, as an array of the output's shape."""
        n = self.case.images
        source = self.lab.stored(spec.input, self.x if spec.input is self.x_layout else self.dy)
        output = self.lab.stored(spec.output, np.full((n, *spec.output.shape), np.nan))
        operands = [source, self.packed(pack), *inputs, output]
        if spec.mode == "images":
            output = self.lab.run(spec, self.machine, operands, n, scalars)[-1]
        else:
            found = gather(spec, self.machine)
            tasks = found.groups * found.blocks
            if spec.mode == "rows":  # and one beyond the images there are
                tasks = (n + 1) * -(-found.rows.count // found.row_block)
            for task in range(tasks):
                output = self.lab.run(
                    spec, self.machine, [*operands[:-1], output], 1, (float(n),), begin=task
                )[-1]
        return self.lab.loaded(spec.output, output)

    def forward(self, mode: str = "images", tile: Tile | None = None, rows: int = 0) -> Any:
        """rows: of a task."""
        spec, pack = forward_spec(
            self.conv,
            self.x_layout,
            self.y_layout,
            self.machine,
            mode=mode,
            images=1 if rows else max(self.case.images - 1, 1),
        )
        tile = replace(spec.tile, row_block=rows) if rows else tile
        return self.gathered(*_with_tile(spec, pack, tile, self.machine))

    def dx(self, mode: str = "images", tile: Tile | None = None, rows: int = 0) -> Any:
        spec, pack = dx_spec(
            self.conv,
            self.y_layout,
            self.x_layout,
            self.machine,
            mode=mode,
            images=1 if rows else max(self.case.images - 1, 1),
        )
        tile = replace(spec.tile, row_block=rows) if rows else tile
        return self.gathered(*_with_tile(spec, pack, tile, self.machine))

    def dw(self, tile: DwTile | None = None) -> Any:
        spec = dw_spec(self.conv, self.x_layout, self.y_layout, self.machine)
        spec = spec if tile is None else replace(spec, tile=tile)
        return self._slabs(spec, np.full(self.w.size, np.nan, self.dtype)).reshape(self.w.shape)

    def dw_by_blocks(self, groups: int, wide: int = 1) -> Any:
        """The sum over image groups; slabs lie further apart than they are long. wide: blocks that a task takes."""
        stride = self.w.size + 5
        spec = dw_spec(
            self.conv, self.x_layout, self.y_layout, self.machine, mode="blocks", image_groups=groups,
            images_per_group=-(-max(self.case.images, 1) // groups), slab_stride=stride, wide=wide,
        )  # fmt: skip
        slabs = self._slabs(spec, np.full(groups * stride, np.nan, self.dtype)).reshape(groups, stride)
        assert np.isnan(slabs[:, self.w.size :]).all()
        return slabs[:, : self.w.size].sum(0).reshape(self.w.shape)

    def _slabs(self, spec: ConvDwSpec, slabs: Any) -> Any:
        operands = [self.lab.stored(self.x_layout, self.x), self.lab.stored(self.y_layout, self.dy)]
        n = self.case.images
        if spec.mode == "images":
            return self.lab.run(spec, self.machine, [*operands, slabs], n)[-1]
        for task in range(spec.tasks):
            slabs = self.lab.run(spec, self.machine, [*operands, slabs], 1, (float(n),), begin=task)[-1]
        return slabs


def _with_tile(spec: Any, pack: Any, tile: Tile | None, machine: Machine) -> tuple[Any, Any]:
    if tile is None:
        return spec, pack
    return replace(spec, tile=tile), replace(pack, block=tile.vectors * machine.lanes(pack.dtype))


def same(result: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(result, wanted.astype(result.dtype))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_all_directions(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name])
    same(a.forward(), ops.conv(a.x, a.w, a.conv))
    same(a.dx(), ops.conv_dx(a.dy, a.w, a.conv))
    same(a.dw(), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_float64_and_arrays_without_padding(lab: Any, some_machine: Machine, name: str, padded: bool) -> None:
    a = Operands(lab, some_machine, CONVOLUTIONS[name], "float64" if padded else "float32", padded)
    same(a.forward(), ops.conv(a.x, a.w, a.conv))
    same(a.dx(), ops.conv_dx(a.dy, a.w, a.conv))
    same(a.dw(), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", FEW)
def test_small_caches(lab: Any, name: str) -> None:
    """Where L2 holds no layer's weights, each block of them meets all images; few rows are staged at a time."""
    small = replace(lab.host[0], l1=1024, l2=2048)
    a = Operands(lab, small, CONVOLUTIONS[name])
    same(a.forward(), ops.conv(a.x, a.w, a.conv))
    same(a.dx(), ops.conv_dx(a.dy, a.w, a.conv))
    same(a.dw(), ops.conv_dw(a.x, a.dy, a.conv))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def sides(least: int, most: int) -> tuple[int, int]:
        return draw(st.integers(least, most)), draw(st.integers(least, most))

    groups = draw(st.sampled_from((1, 1, 2, 3)))
    c, k = (groups * draw(st.integers(1, 24)) for _ in range(2))
    kernel, dilation = sides(1, 4), sides(1, 2)
    before, after = sides(0, 4), sides(0, 4)
    reach = [d * (r - 1) + 1 for d, r in zip(dilation, kernel, strict=True)]
    size = tuple(
        draw(st.integers(max(1, n - b - a), max(1, n - b - a) + 9))
        for n, b, a in zip(reach, before, after, strict=True)
    )
    padding = ((before[0], after[0]), (before[1], after[1]))
    return Case(size, c, k, kernel, sides(1, 3), padding, dilation, groups, draw(st.integers(0, 3)))


@given(case=cases())
@settings(max_examples=25, deadline=None)
def test_any_geometry(lab: Any, case: Case) -> None:
    a = Operands(lab, lab.host[0], case)
    same(a.forward(), ops.conv(a.x, a.w, a.conv))
    same(a.dx(), ops.conv_dx(a.dy, a.w, a.conv))
    same(a.dw(), ops.conv_dw(a.x, a.dy, a.conv))


@st.composite
def rims(draw: st.DrawFn) -> tuple[Case, Tile]:
    """Small maps and large kernels, each side padded by itself, and any tile."""

    def sides(least: int, most: int) -> tuple[int, int]:
        return draw(st.integers(least, most)), draw(st.integers(least, most))

    kernel, size, before, after = sides(1, 7), sides(1, 9), sides(0, 6), sides(0, 6)
    after = tuple(max(a, r - n - b) for a, r, n, b in zip(after, kernel, size, before, strict=True))
    padding = ((before[0], after[0]), (before[1], after[1]))
    c, k = draw(st.sampled_from((1, 5, 17))), draw(st.integers(1, 40))
    case = Case(size, c, k, kernel, sides(1, 3), padding, images=draw(st.integers(1, 4)))
    vectors, images, rows = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 9)))
    block = draw(st.integers(1, 9))
    cols, share, staged = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.booleans())
    return case, Tile(vectors, images, rows, cols, block, share, staged)


@given(drawn=rims())
@settings(max_examples=15, deadline=None)
def test_products_with_padding_are_left_out(lab: Any, drawn: tuple[Case, Tile]) -> None:
    """What is left out are zeros, wherever the rim runs through a tile, and nothing around the image is read for them."""
    case, tile = drawn
    a = Operands(lab, lab.host[0], case)
    same(a.forward(tile=tile), ops.conv(a.x, a.w, a.conv))
    same(a.dx(tile=tile), ops.conv_dx(a.dy, a.w, a.conv))


@pytest.mark.parametrize("rows", [1, 5], ids=["a row", "the map"])
def test_an_infinite_weight_meets_no_padding(lab: Any, machine: Machine, rows: int) -> None:
    """Where nothing is staged there is no padding that it could turn into NaN, on any machine."""
    a = Operands(lab, machine, Case((5, 5), 17, 20, 3, padding=1))
    a.w[0, 0] = np.inf
    a.x = np.abs(a.x) + 1
    result = a.forward(tile=Tile(1, 1, rows, 5, 5, staged=False))
    np.testing.assert_array_equal(
        np.isinf(result[0, :, :, 0]), np.pad(np.ones((4, 4), bool), ((1, 0), (1, 0)))
    )
    assert not np.isnan(result).any()


@pytest.mark.parametrize("name", FEW)
def test_tasks_of_blocks(lab: Any, some_machine: Machine, name: str) -> None:
    a = Operands(lab, some_machine, CONVOLUTIONS[name])
    same(a.forward("blocks"), ops.conv(a.x, a.w, a.conv))
    same(a.dx("blocks"), ops.conv_dx(a.dy, a.w, a.conv))
    same(a.dw_by_blocks(3), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tasks_of_rows(lab: Any, some_machine: Machine, name: str, rows: int) -> None:
    a = Operands(lab, some_machine, CONVOLUTIONS[name])
    same(a.forward("rows", rows=rows), ops.conv(a.x, a.w, a.conv))
    same(a.dx("rows", rows=rows), ops.conv_dx(a.dy, a.w, a.conv))


@pytest.mark.parametrize("name", FEW)
def test_bits_are_those_of_any_vector_width(lab: Any, name: str) -> None:
    machines = [m for m in (AVX512, AVX2) if m in lab.host]
    if len(machines) < 2:
        pytest.skip("this processor has not both AVX-512 and AVX2")
    one, two = (Operands(lab, m, CONVOLUTIONS[name], real=True) for m in machines)
    for a, b in ((one.forward(), two.forward()), (one.dx(), two.dx()), (one.dw(), two.dw())):
        np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.parametrize(
    "tile",
    [Tile(1), Tile(2, 1, 1, 3, 2, 2), Tile(3, 1, 2, 5, 4, 3), Tile(1, 3, 6, 5, 6), Tile(2, 2, 3, 2, 3, 5)],
    ids=str,
)
def test_bits_are_those_of_any_tile(lab: Any, machine: Machine, tile: Tile) -> None:
    a = Operands(lab, machine, replace(CONVOLUTIONS["odd channels"], padding=1, images=5), real=True)
    np.testing.assert_array_equal(a.forward(tile=tile), a.forward())
    np.testing.assert_array_equal(a.dx(tile=tile), a.dx())


@pytest.mark.parametrize("cols", [1, 4, 5])
@pytest.mark.parametrize("images", [1, 4, 9])
def test_joined_images_have_the_bits_of_single_ones(
    lab: Any, machine: Machine, images: int, cols: int
) -> None:
    """Nine images of 2 × 2 pixels, so many at a time: tiles end where images do not."""
    a = Operands(lab, machine, CONVOLUTIONS["pixels alone, 2 x 2 maps"], real=True)
    joined, single = Tile(2, images, 1, cols, 1, joined=True), Tile(2, 1, 1, 2, 1)
    np.testing.assert_array_equal(a.forward(tile=joined), a.forward(tile=single))
    np.testing.assert_array_equal(a.dx(tile=joined), a.dx(tile=single))


@pytest.mark.parametrize(
    "tile",
    [
        DwTile(1, 1, 1, 1, 1, k_block=16, c_block=5),
        DwTile(2, 1, 2, 3, 2, 2, k_block=64, c_block=4, share=2),
        DwTile(1, 2, 3, 2, 3, 1, k_block=32, c_block=16, share=4),
        DwTile(3, 2, 1, 5, 7, 3, k_block=48, c_block=17, share=3),
    ],
    ids=str,
)
def test_bits_of_weight_gradients_are_those_of_any_tile(lab: Any, machine: Machine, tile: DwTile) -> None:
    a = Operands(lab, machine, replace(CONVOLUTIONS["odd channels"], padding=1, images=5), real=True)
    np.testing.assert_array_equal(a.dw(tile), a.dw())


@pytest.mark.parametrize(
    "name", ["odd channels", "stride beyond the kernel", "odd groups", "dense", "2 x 2 maps"]
)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_epilogues(lab: Any, some_machine: Machine, name: str, padded: bool) -> None:
    """A vector for the channels, a number, a map, one channel of a map, one pixel of a map, a runtime scalar."""
    a = Operands(lab, some_machine, CONVOLUTIONS[name], padded=padded)
    n = a.case.images
    for direction, out in (("forward", a.y_layout), ("dx", a.x_layout)):
        h, w, c = out.shape
        layouts = (
            Layout(1, 1, c, c, batched=False),
            Layout(1, 1, 1, 1, batched=False),
            out,
            lab.layout(some_machine, (h, w, 1), padded=padded),
            lab.layout(some_machine, (1, 1, c), padded=padded),
        )
        values = [
            lab.integers(9 + i, n if each.batched else 1, *each.shape) for i, each in enumerate(layouts)
        ]
        scale = Scalar("scale")
        expr = where(Operand(3) <= 0, scale, x0 + x1) * x2 + Operand(4) - Operand(5)
        epilogue = Epilogue(expr, layouts)
        pick = forward_spec if direction == "forward" else dx_spec
        source = a.x_layout if direction == "forward" else a.y_layout
        spec, pack = pick(
            a.conv, source, out, some_machine, epilogue=epilogue, scalars=("n", "scale"), images=n
        )
        inputs = tuple(lab.stored(each, value) for each, value in zip(layouts, values, strict=True))
        result = a.gathered(spec, pack, inputs, (float(n), 0.5))
        bias, number, gate, one, pixel = values
        plain = ops.conv(a.x, a.w, a.conv) if direction == "forward" else ops.conv_dx(a.dy, a.w, a.conv)
        same(result, np.where(gate <= 0, 0.5, plain + bias) * number + one - pixel)


@pytest.mark.parametrize("name", FEW)
def test_packed_weights(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name])
    r, s, c, k = a.w.shape
    g = a.conv.groups
    by_group = a.w.reshape(r, s, c, g, k // g).transpose(3, 0, 2, 1, 4)  # g r c s k
    reverse = by_group[:, ::-1, :, ::-1].transpose(0, 1, 4, 3, 2)  # g r k s c
    for direction, plain in (("forward", by_group), ("dx", reverse)):
        pick, layouts = (
            (forward_spec, (a.x_layout, a.y_layout))
            if direction == "forward"
            else (dx_spec, (a.y_layout, a.x_layout))
        )
        _, pack = pick(a.conv, *layouts, machine)
        wide = np.zeros((*plain.shape[:-1], pack.blocks * pack.block), np.float32)
        wide[..., : plain.shape[-1]] = plain
        wanted = wide.reshape(*plain.shape[:-1], pack.blocks, pack.block).transpose(0, 4, 1, 2, 3, 5)
        for tasks in (1, 3):
            same(a.packed(replace(pack, tasks=tasks)), wanted.ravel())


def test_one_image_alone_has_the_bits_it_has_in_a_batch(lab: Any, machine: Machine) -> None:
    whole = Operands(lab, machine, CONVOLUTIONS["4 x 4 maps"], real=True)
    alone = Operands(lab, machine, replace(CONVOLUTIONS["4 x 4 maps"], images=1), real=True)
    alone.x, alone.dy, alone.w = whole.x[:1], whole.dy[:1], whole.w
    np.testing.assert_array_equal(whole.forward()[:1], alone.forward())
    np.testing.assert_array_equal(whole.dx()[:1], alone.dx())


def test_offers(machine: Machine) -> None:
    conv = CONVOLUTIONS["same"].conv
    layout = Layout(8, 8, 16, 16)
    forward, pack = forward_spec(conv, layout, layout, machine)
    dx, _ = dx_spec(conv, layout, layout, machine)
    dw = dw_spec(conv, layout, layout, machine)
    for spec in (forward, dx, dw):
        answer = registry.chosen(spec, machine)
        assert answer.flops == conv.flops
        assert answer.seconds > 0
    assert registry.chosen(pack, machine).bytes_written == pack.entries * 4
