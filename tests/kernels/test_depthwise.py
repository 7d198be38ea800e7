"""Depthwise kernels against the slow reference, bit for bit on integers, and against the direct kernels, bit for bit on reals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Case
from tests.kernels.test_conv import Operands, same
from tests.kernels.test_conv_code import HOT_BYTES, bodies

from vecgrad.kernels import registry
from vecgrad.kernels._depthwise_tile import depthwise_tile, lines
from vecgrad.kernels.algorithm import gather
from vecgrad.kernels.choose import dw_spec
from vecgrad.kernels.depthwise import depthwise_spec
from vecgrad.kernels.offer import Refusal
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import DepthwiseTile, Epilogue, KernelSpec, Pooling
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout

DIRECTIONS = ("forward", "dx")
KERNELS = {"conv.depthwise", "conv_dx.depthwise", "conv_dw.depthwise"}


def _case(size: Any, channels: int, kernel: Any, *more: Any, images: int = 2) -> Case:
    stride, padding, dilation = (*more, *(1, "same", 1)[len(more) :])
    return Case(size, channels, channels, kernel, stride, padding, dilation, channels, images)


CASES = {
    "usual": _case((8, 8), 32, 3),
    "no images": _case((5, 5), 16, 3, images=0),
    "half a vector": _case((9, 7), 24, 3),
    "few channels": _case((6, 5), 5, 3, 1, "valid"),
    "stride 2": _case((14, 13), 40, 3, 2, 1),
    "stride 3": _case((11, 13), 16, 4, 3, 2),
    "stride beyond the kernel": _case((10, 11), 17, 2, (3, 4), 1),
    "5 x 5": _case((11, 12), 17, 5),
    "7 x 7": _case((9, 14), 16, 7),
    "7 x 7, stride 2": _case((13, 12), 16, 7, 2, 3),
    "dilated": _case((12, 11), 16, 3, 1, "same", 2),
    "dilated and strided": _case((13, 12), 9, 3, 2, 2, 3),
    "dilation and stride share a factor": _case((12, 13), 8, (3, 2), 4, 3, 2),
    "1 x 1": _case((5, 6), 20, 1),
    "kernel larger than the image": _case((3, 2), 16, 5, 1, 2),
    "more padding than kernel": _case((3, 3), 16, 2, 1, 3),
    "uneven": _case((6, 7), 18, (3, 2), (1, 2), ((0, 2), (1, 0))),
    "2 x 2 maps": _case((2, 2), 48, 3, images=5),
    "4 x 4 maps": _case((4, 4), 64, 3, images=3),
    "one pixel": _case((1, 1), 33, 3),
    "rows fetched ahead": _case((17, 16), 121, 5),
    "rows fetched ahead, stride 2": _case((16, 17), 128, 3, 2, 1),
}
FEW = ["half a vector", "stride 2", "7 x 7", "dilated and strided"]


def spec_of(a: Operands, direction: str, tile: DepthwiseTile | None = None, **options: Any) -> Any:
    layouts = (a.x_layout, a.y_layout) if direction == "forward" else (a.y_layout, a.x_layout)
    spec = depthwise_spec(a.conv, direction == "dx", *layouts, a.machine, **options)
    return spec if tile is None else replace(spec, tile=tile)


def run(a: Operands, direction: str, tile: DepthwiseTile | None = None, **options: Any) -> Any:
    inputs, values = options.pop("inputs", ()), options.pop("values", ())
    spec = spec_of(a, direction, tile, **options)
    assert registry.chosen(spec, a.machine).kernel in KERNELS
    source = a.lab.stored(spec.input, a.x if direction == "forward" else a.dy)
    output = a.lab.stored(spec.output, np.full((a.case.images, *spec.output.shape), np.nan))
    operands = [source, a.w.ravel(), *inputs, output]
    return a.lab.loaded(spec.output, a.lab.run(spec, a.machine, operands, a.case.images, values)[-1])


def wanted(a: Operands, direction: str) -> Any:
    return ops.conv(a.x, a.w, a.conv) if direction == "forward" else ops.conv_dx(a.dy, a.w, a.conv)


def weight_gradient(a: Operands) -> Any:
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, a.machine)
    assert registry.chosen(spec, a.machine).kernel == "conv_dw.depthwise"
    return a.dw()


@pytest.mark.parametrize("name", CASES)
def test_integers(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CASES[name])
    for direction in DIRECTIONS:
        same(run(a, direction), wanted(a, direction))
    same(weight_gradient(a), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_float64_and_arrays_without_padding(lab: Any, machine: Machine, name: str, padded: bool) -> None:
    a = Operands(lab, machine, CASES[name], "float64" if padded else "float32", padded)
    for direction in DIRECTIONS:
        same(run(a, direction), wanted(a, direction))
    same(weight_gradient(a), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("direction", [*DIRECTIONS, "dw"])
def test_the_next_row_of_large_images_is_fetched(lab: Any, any_machine: Machine, direction: str) -> None:
    for name, fetched in (("rows fetched ahead", True), ("4 x 4 maps", False)):
        a = Operands(lab, any_machine, CASES[name])
        spec: KernelSpec = dw_spec(a.conv, a.x_layout, a.y_layout, any_machine)
        if direction != "dw":
            read, written = (a.y_layout, a.x_layout) if direction == "dx" else (a.x_layout, a.y_layout)
            spec = depthwise_spec(a.conv, direction == "dx", read, written, any_machine)
        assert ("call void @llvm.prefetch" in registry.generate(spec, any_machine)) == fetched, name


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def sides(least: int, most: int) -> tuple[int, int]:
        return draw(st.integers(least, most)), draw(st.integers(least, most))

    kernel, dilation, before, after = sides(1, 5), sides(1, 2), sides(0, 3), sides(0, 3)
    reach = [d * (r - 1) + 1 for d, r in zip(dilation, kernel, strict=True)]
    size = tuple(
        draw(st.integers(max(1, n - b - a), max(1, n - b - a) + 9))
        for n, b, a in zip(reach, before, after, strict=True)
    )
    padding = ((before[0], after[0]), (before[1], after[1]))
    c = draw(st.integers(2, 40))
    return Case(size, c, c, kernel, sides(1, 3), padding, dilation, c, draw(st.integers(0, 3)))


@given(case=cases(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_geometry_and_tile(lab: Any, case: Case, data: st.DataObject) -> None:
    a = Operands(lab, lab.host[0], case)
    for direction in DIRECTIONS:
        down, right = lines(a.conv, direction == "dx")
        held = data.draw(st.booleans())
        tall = data.draw(st.integers(1, 3)) * down.unit if held else 1
        tile = DepthwiseTile(tall, data.draw(st.integers(1, 4)) * right.unit, held)
        same(run(a, direction), wanted(a, direction))
        same(run(a, direction, tile), wanted(a, direction))
    same(weight_gradient(a), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", CASES)
def test_bits_are_the_direct_kernels(lab: Any, some_machine: Machine, name: str) -> None:
    """So whichever kernel a machine takes, sums are the same; and so they are for any tile and vector width."""
    a = Operands(lab, some_machine, CASES[name], real=True)
    for direction, direct in (("forward", a.forward()), ("dx", a.dx())):
        np.testing.assert_array_equal(run(a, direction), direct)
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, some_machine, mode="blocks", image_groups=1,
                   images_per_group=max(a.case.images, 1), slab_stride=a.w.size)  # fmt: skip
    assert registry.chosen(spec, some_machine).kernel == "conv_dw.direct"
    np.testing.assert_array_equal(weight_gradient(a), a.dw_by_blocks(1))


@pytest.mark.parametrize("name", FEW)
def test_bits_are_those_of_any_vector_width(lab: Any, name: str) -> None:
    machines = [m for m in (AVX512, AVX2) if m in lab.host]
    if len(machines) < 2:
        pytest.skip("this processor has not both AVX-512 and AVX2")
    one, two = (Operands(lab, m, CASES[name], real=True) for m in machines)
    for direction in DIRECTIONS:
        found = [run(a, direction).view(np.uint32) for a in (one, two)]
        np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(weight_gradient(one).view(np.uint32), weight_gradient(two).view(np.uint32))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_epilogues(lab: Any, machine: Machine, name: str, padded: bool) -> None:
    """A vector for the channels as bias and as batch normalization's map, a residual, a gate with a runtime scalar."""
    a = Operands(lab, machine, CASES[name], padded=padded)
    n = a.case.images
    for direction, out in (("forward", a.y_layout), ("dx", a.x_layout)):
        vector = Layout(1, 1, out.channels, out.channels, batched=False)
        layouts = (vector, vector, out, out)
        values = [
            lab.integers(9 + i, n if each.batched else 1, *each.shape) for i, each in enumerate(layouts)
        ]
        x = [Operand(i) for i in range(5)]
        expr = where(x[4] <= 0, Scalar("scale"), x[0] * x[1] + x[2] + x[3])
        result = run(
            a, direction, epilogue=Epilogue(expr, layouts), scalars=("n", "scale"), values=(float(n), 0.5),
            inputs=tuple(lab.stored(*pair) for pair in zip(layouts, values, strict=True)),
        )  # fmt: skip
        scale, bias, residual, gate = values
        same(result, np.where(gate <= 0, 0.5, wanted(a, direction) * scale + bias + residual))


# (size, kernel, stride): layers that people train.
LAYERS = {"usual": (32, 3, 1), "smaller by 2": (32, 3, 2), "small maps": (4, 3, 1), "7 x 7": (14, 7, 1)}


@pytest.mark.parametrize("name", LAYERS)
def test_inner_loops(lab: Any, any_machine: Machine, name: str) -> None:
    """Nothing spills, and an input is loaded for several products."""
    size, kernel, stride = LAYERS[name]
    conv = Conv(window((size, size), kernel, stride, "same"), 64, 64, 64)
    x, y = (Layout(n, n, 64, 64) for n in (size, conv.window.out_size[0]))
    found = (
        depthwise_spec(conv, False, x, y, any_machine),
        depthwise_spec(conv, True, y, x, any_machine),
        dw_spec(conv, x, y, any_machine),
    )
    loads, spills = (1.0, 0.0) if any_machine.fma else (2.0, 0.4)
    for spec in found:
        loops = [b for b in bodies(lab.assembly(spec, any_machine), any_machine) if b.products >= 12]
        for body in loops:
            about = f"{spec.kind} {spec.tile}: {body.products} products\n{body.text}"
            assert body.vectors_on_stack <= spills * body.products, about
            assert body.nbytes <= HOT_BYTES, about
        if loops and stride == 1:
            largest = max(loops, key=lambda body: body.products)
            assert largest.loads <= loads * largest.products, f"{spec.kind} {spec.tile}\n{largest.text}"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tiles_cover_all_products(name: str, direction: str) -> None:
    """Every output once, each with its inputs ascending: that is what bits depend on."""
    for line in lines(CASES[name].conv, direction == "dx"):
        for size in (line.unit, 3 * line.unit, line.outputs):
            met: list[list[int]] = [[] for _ in range(line.outputs)]
            written = []
            for each in line.runs(size):
                for tile in range(each.count):
                    written += range(each.first + tile * each.size, each.first + (tile + 1) * each.size)
                    for m in each.meetings:
                        met[each.first + tile * each.size + m.t].append(
                            each.source + tile * each.advance + m.i
                        )
            assert written == list(range(line.outputs))
            taps = range(line.axis.kernel)
            assert met == [
                sorted(i for tap in taps if (i := line.source(n, tap)) is not None)
                for n in range(line.outputs)
            ]


def test_what_it_serves() -> None:
    """Filters that share channels, and kernels beyond the registers, are the direct kernels'."""
    for conv, reason in (
        (Conv(window((9, 9), 3), 4, 8, 4), "summed"),
        (Conv(window((9, 9), 9), 4, 4, 4), "registers"),
    ):
        p, q = conv.window.out_size
        x, y = Layout(9, 9, conv.channels_in, 16), Layout(p, q, conv.channels_out, 16)
        spec = replace(depthwise_spec(Conv(window((9, 9), 3), 4, 4, 4), False, x, y, AVX512), conv=conv)
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal)
        assert reason in answer.reason
        asked = gather(
            conv, "forward", x, y, AVX512, epilogue=Epilogue(), scalars=(), images=4, batch=64,
            direct_by_blocks=False, algorithm="auto",
        )  # fmt: skip
        assert type(asked.spec).__name__ == "ConvSpec"


def test_plans_take_it_without_a_pack_and_leave_pooling_alone() -> None:
    conv = Conv(window((8, 8), 3, padding="same"), 32, 32, 32)
    layout, pooled = Layout(8, 8, 32, 32), Layout(4, 4, 32, 32)
    epilogue = Epilogue(pool=Pooling(window((8, 8), 2, 2), pooled, None))
    for batch in (1, 64):
        found = gather(
            conv, "forward", layout, layout, AVX512, epilogue=epilogue, scalars=(), images=1, batch=batch,
            direct_by_blocks=False, algorithm="auto",
        )  # fmt: skip
        assert (type(found.spec).__name__, found.pack, found.spec.epilogue.pool) == (
            "DepthwiseSpec",
            None,
            None,
        )
        assert "whole windows" in found.not_pooled


def test_tiles() -> None:
    """Small kernels whose weights fit the registers get single rows while the rows that they read stay in L1, and else several;
    others walk their kernel rows in a loop."""

    def of(size: int, kernel: int, machine: Machine, dx: bool = False, stride: int = 1) -> DepthwiseTile:
        conv = Conv(window((size, size), kernel, stride, padding=kernel // 2), 64, 64, 64)
        return depthwise_tile(conv, dx, machine)

    assert of(32, 3, AVX512) == DepthwiseTile(1, 8, True)
    assert of(32, 3, AVX2) == DepthwiseTile(1, 5, True)
    assert of(32, 3, AVX512, dx=True, stride=2) == DepthwiseTile(2, 8, True)
    assert not of(32, 3, AVX2, dx=True, stride=2).held
    assert of(112, 3, AVX512).rows > 1
    assert not of(112, 3, AVX2).held
    assert not of(32, 7, AVX512, dx=True).held
