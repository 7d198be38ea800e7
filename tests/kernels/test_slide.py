"""Sliding windows of sums against the slow reference, bit for bit on integers; the same bits for any tile and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import CONVOLUTIONS, Case
from tests.kernels.test_conv import Operands, cases, same
from tests.kernels.test_conv_code import bodies

from vecgrad.kernels import _slide_tile as sliding
from vecgrad.kernels import registry, slide
from vecgrad.kernels.algorithm import gather, slide_spec
from vecgrad.kernels.offer import Refusal
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Epilogue, SlideTile
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout

DIRECTIONS = ("forward", "dx")
SERVED = {
    direction: [name for name, case in CONVOLUTIONS.items() if not sliding.refusal(case.conv, direction)]
    for direction in DIRECTIONS
}
BOTH = [(direction, name) for direction in DIRECTIONS for name in SERVED[direction]]
FEW = [
    ("forward", "odd channels"),
    ("forward", "kernel larger than the image"),
    ("dx", "stride 3"),
    ("dx", "uneven padding"),
]


def run(a: Operands, direction: str, tile: SlideTile | None = None, **options: Any) -> Any:
    layouts = (a.x_layout, a.y_layout) if direction == "forward" else (a.y_layout, a.x_layout)
    inputs, values = options.pop("inputs", ()), options.pop("values", ())
    spec, pack = slide_spec(a.conv, direction, *layouts, a.machine, **options)  # type: ignore[arg-type]
    if tile is not None:
        spec = replace(spec, tile=tile)
        pack = slide.Shape(spec, a.machine).pack
    source = a.lab.stored(spec.input, a.x if direction == "forward" else a.dy)
    output = a.lab.stored(spec.output, np.full((a.case.images, *spec.output.shape), np.nan))
    operands = [source, a.packed(replace(pack, tasks=3)), *inputs, output]
    return a.lab.loaded(spec.output, a.lab.run(spec, a.machine, operands, a.case.images, values)[-1])


def wanted(a: Operands, direction: str) -> Any:
    return ops.conv(a.x, a.w, a.conv) if direction == "forward" else ops.conv_dx(a.dy, a.w, a.conv)


@pytest.mark.parametrize(("direction", "name"), BOTH)
def test_integers(lab: Any, some_machine: Machine, direction: str, name: str) -> None:
    a = Operands(lab, some_machine, CONVOLUTIONS[name])
    same(run(a, direction), wanted(a, direction))


@pytest.mark.parametrize(("direction", "name"), FEW)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_float64_and_arrays_without_padding(
    lab: Any, machine: Machine, direction: str, name: str, padded: bool
) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name], "float64" if padded else "float32", padded)
    same(run(a, direction), wanted(a, direction))


@given(case=cases(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_geometry_and_tile(lab: Any, case: Case, data: st.DataObject) -> None:
    case = replace(case, channels=case.channels // case.groups, filters=case.filters // case.groups, groups=1)
    for direction in DIRECTIONS:
        if not sliding.refusal(case.conv, direction):
            a = Operands(lab, lab.host[0], case)
            outer = case.filters if direction == "forward" else case.channels
            tile = SlideTile(data.draw(st.integers(1, 5)), data.draw(st.integers(1, outer)))
            same(run(a, direction, tile), wanted(a, direction))


@pytest.mark.parametrize(("direction", "name"), FEW)
def test_bits_are_those_of_any_tile_and_vector_width(lab: Any, direction: str, name: str) -> None:
    found = []
    for machine in (m for m in (AVX512, AVX2) if m in lab.host):
        a = Operands(lab, machine, CONVOLUTIONS[name], real=True)
        found += [run(a, direction, tile) for tile in (None, SlideTile(1, 3), SlideTile(3, 2))]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize(("direction", "name"), FEW)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_epilogues(lab: Any, machine: Machine, direction: str, name: str, padded: bool) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name], padded=padded)
    out, n = (a.y_layout if direction == "forward" else a.x_layout), a.case.images
    layouts = (Layout(1, 1, out.channels, out.channels, batched=False), out)
    bias, gate = (
        lab.integers(9 + i, n if each.batched else 1, *each.shape) for i, each in enumerate(layouts)
    )
    expr = where(Operand(2) <= 0, Scalar("scale"), Operand(0) + Operand(1))
    result = run(
        a, direction, epilogue=Epilogue(expr, layouts), scalars=("n", "scale"), values=(float(n), 0.5),
        inputs=(lab.stored(layouts[0], bias), lab.stored(layouts[1], gate)),
    )  # fmt: skip
    same(result, np.where(gate <= 0, 0.5, wanted(a, direction) + bias))


@pytest.mark.parametrize(("direction", "name"), BOTH)
def test_meetings_are_in_order(direction: str, name: str) -> None:
    """Every row of outputs meets its input rows ascending, whatever the tile: that is what bits depend on."""
    slide_ = sliding.Slide(CONVOLUTIONS[name].conv, direction)
    for rows in (1, 3, slide_.height):
        met: dict[int, list[int]] = {}
        for run_ in slide_.runs(rows):
            for tile in range(run_.count):
                for meeting in run_.meetings:
                    for t, p in meeting.rows:
                        output = run_.first + tile * run_.height + t
                        met.setdefault(output, []).append(run_.source + tile * run_.advance + p)
        assert all(each == sorted(set(each)) for each in met.values())


# (size, channels read, channels written, kernel): layers that it is for.
LAYERS = {"5 x 5": (14, 16, 6, 5), "grey first": (28, 1, 6, 5), "3 x 3": (16, 40, 8, 3)}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_inner_loops(lab: Any, any_machine: Machine, name: str, direction: str) -> None:
    size, inner, outer, kernel = LAYERS[name]
    c, k = (inner, outer) if direction == "forward" else (outer, inner)
    conv = Conv(window((size, size), kernel, 1, "same"), c, k)
    x, y = (Layout(size, size, n, any_machine.pitch(n, "float32")) for n in (c, k))
    source, target = (x, y) if direction == "forward" else (y, x)
    spec, _ = slide_spec(conv, direction, source, target, any_machine)  # type: ignore[arg-type]
    found = [body for body in bodies(lab.assembly(spec, any_machine), any_machine) if body.products >= 12]
    loads, spills = (1.1, 0.0) if any_machine.fma else (2.0, 0.3)
    for body in found:
        about = f"{spec.tile}: {body.products} products\n{body.text}"
        assert body.count(r"\(%rsp|\[sp\b") <= spills * body.products, about
        assert body.products <= 300, about
    if found:
        largest = max(found, key=lambda body: body.products)
        assert largest.loads <= loads * largest.products, f"{spec.tile}\n{largest.text}"


def test_what_it_serves() -> None:
    """Groups, dilated columns, strided columns forward and single columns are the gather's; and it says so."""
    wide = window((9, 9), 3)
    refused = [
        (Conv(wide, 4, 4, 2), "groups"),
        (Conv(window((9, 9), 3, dilation=(1, 2)), 4, 4), "dilated"),
        (Conv(window((9, 9), 3, stride=(1, 2)), 4, 4), "strided"),
        (Conv(window((9, 9), (3, 1)), 4, 4), "neighbouring"),
    ]
    for conv, reason in refused:
        p, q = conv.window.out_size
        spec, _ = slide_spec(conv, "forward", Layout(9, 9, 4, 16), Layout(p, q, 4, 16), AVX512)
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal)
        assert reason in answer.reason


def test_thin_outputs_take_it_and_the_plan_says_why() -> None:
    conv = Conv(window((14, 14), 5), 6, 16)
    x, y = Layout(14, 14, 6, 16), Layout(10, 10, 16, 16)
    kinds = {}
    for direction, source, target in (("forward", x, y), ("dx", y, x)):
        for machine in (AVX512, AVX2):
            found = gather(
                conv, direction, source, target, machine, epilogue=Epilogue(), scalars=(), images=4, batch=64,
                direct_by_blocks=False, algorithm="auto",
            )  # type: ignore[arg-type]  # fmt: skip
            kinds[direction, machine.isa] = (type(found.spec).__name__, found.refused[-1].split(":")[0])
    assert set(kinds.values()) == {("ConvSpec", "conv.winograd"), ("SlideDxSpec", "conv_dx.direct")}
