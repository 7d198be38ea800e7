"""Weight gradients: turned filters, rows of padding left out, pixels in one column, and what is fetched meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import CONVOLUTIONS, Case
from tests.kernels.test_conv import Operands, cases, same

from vecgrad.kernels import registry
from vecgrad.kernels._dw_ahead import Region
from vecgrad.kernels._dw_shape import DwShape
from vecgrad.kernels._dw_tile import dw_blocks, dw_tile, pixelwise
from vecgrad.kernels.choose import dw_spec
from vecgrad.kernels.summed import weight_gradient
from vecgrad.kernels.taps import gather_axes
from vecgrad.plan.accumulate import image_groups
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import ConvDwSpec, DwTile
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, Machine
from vecgrad.spec.tensor import Layout

TURNED = {
    "one channel in, one filter out": Case((5, 4), 1, 1, 3, padding=1),
    "one filter more than a vector": Case((9, 7), 17, 17, 1, images=3),
    "several blocks of channels": Case((6, 5), 70, 35, (2, 3), padding=((1, 0), (0, 2))),
    "one-sided padding": Case((6, 7), 33, 5, 3, padding=((0, 2), (1, 0))),
    "stride 3": Case((11, 10), 19, 18, (5, 4), stride=3, padding=2),
    "kernel larger than the image": Case((3, 4), 20, 9, 5, padding=3),
    "dilated": Case((9, 11), 18, 7, 3, padding="same", dilation=2),
    "one image": Case((8, 8), 40, 3, 3, padding=1, images=1),
    "no images": Case((8, 8), 40, 3, 3, padding=1, images=0),
}


def turned(a: Operands, filters: int, **changes: Any) -> DwTile:
    """The tile of a convolution with its last filters turned."""
    tile = dw_spec(a.conv, a.x_layout, a.y_layout, a.machine).tile
    return replace(tile, rowwise=False, turned=filters, **changes)


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_turned_filters(lab: Any, some_machine: Machine, name: str, padded: bool) -> None:
    a = Operands(lab, some_machine, TURNED[name], padded=padded)
    rest = a.conv.channels_out % some_machine.lanes("float32") or a.conv.channels_out
    for filters in {rest, a.conv.channels_out}:
        same(a.dw(turned(a, filters)), ops.conv_dw(a.x, a.dy, a.conv))
        same(a.dw(turned(a, filters, c_block=16)), ops.conv_dw(a.x, a.dy, a.conv))


def test_turned_filters_read_nothing_behind_an_array(lab: Any) -> None:
    a = Operands(lab, lab.host[0], TURNED["one filter more than a vector"], padded=False)
    same(a.dw(turned(a, 1)), ops.conv_dw(a.x, a.dy, a.conv))


@given(case=cases(), data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_geometry_with_turned_filters(lab: Any, case: Case, data: st.DataObject) -> None:
    case = replace(case, groups=1)
    a = Operands(lab, lab.host[0], case, padded=data.draw(st.booleans()))
    sides = [data.draw(st.integers(1, most)) for most in (2, 2, 3, 5, 7)]
    tile = DwTile(*sides, images=2, k_block=64, c_block=data.draw(st.sampled_from((5, 16, 32))))
    tile = replace(tile, turned=data.draw(st.integers(0, case.filters)))
    same(a.dw(tile), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", ["several blocks of channels", "stride 3", "one image"])
def test_bits_are_those_of_straight_filters(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, TURNED[name], real=True)
    straight = a.dw(DwTile(1, 1, 1, 2, 1, k_block=64, c_block=8))
    for filters in (1, 3):
        np.testing.assert_array_equal(a.dw(turned(a, filters)).view(np.uint32), straight.view(np.uint32))


def test_filters_are_turned_where_lanes_would_be_idle() -> None:
    def of(c: int, k: int, kernel: int, size: int, machine: Machine = AVX512) -> int:
        conv = Conv(window((size, size), kernel, padding="same"), c, k)
        x = Layout(size, size, c, -(-c // 16) * 16)
        return dw_tile(conv, x, Layout(size, size, k, -(-k // 16) * 16), machine).turned

    assert of(76, 49, 1, 59) == 1
    assert of(63, 67, 6, 15) == 3
    assert of(64, 64, 3, 32) == of(64, 63, 3, 32) == 0
    assert of(84, 10, 1, 1) == 0, "a single pixel: the way back would take longer than the sum"
    assert of(76, 49, 1, 59, BASELINE) == 0, "no part of a vector can be read there"


def test_few_filters_beyond_a_block_join_it() -> None:
    def blocks(k: int, machine: Machine) -> int:
        layout = Layout(16, 16, k, -(-k // 16) * 16)
        conv = Conv(window((16, 16), 5, padding="same"), 64, k)
        return dw_spec(conv, layout, layout, machine, mode="blocks").k_blocks

    for k, wanted in ((64, 1), (67, 1), (80, 1), (81, 2), (128, 2), (144, 2), (145, 3), (256, 4), (512, 8)):
        assert blocks(k, AVX512) == blocks(k, AVX2) == wanted


@pytest.mark.parametrize(
    ("case", "groups", "tasks", "block"),
    [
        (Case((4, 4), 512, 512, 1, images=64), 1, 32, (64, 128)),
        (Case((4, 4), 256, 512, 1, images=64), 1, 32, (64, 64)),
        (Case((2, 2), 1024, 1024, 1, images=64), 1, 64, (64, 256)),
        (Case((14, 14), 512, 1024, 1, stride=2, images=8), 1, 32, (64, 256)),
        (Case((8, 8), 256, 512, 3, stride=2, padding=1, images=32), 1, 32, (32, 128)),
    ],
    ids=str,
)
def test_tasks_take_blocks_together_and_groups_stay(
    case: Case, groups: int, tasks: int, block: tuple[int, int]
) -> None:
    """Which images are summed together is a matter of bits, and of the convolution and the batch alone; how many channels a
    task takes is not."""
    for machine in (AVX512, AVX2, BASELINE):
        conv, n = case.conv, case.images
        x = Layout(*case.size, case.channels, case.channels)
        p, q = conv.window.out_size
        dy = Layout(p, q, case.filters, case.filters)
        spec = weight_gradient(
            conv, x, dy, machine, images=n, batch=n, algorithm="direct",
            groups=lambda blocks, least, most: image_groups(blocks, case.images, least, most),
        ).spec  # fmt: skip
        assert isinstance(spec, ConvDwSpec)
        assert (spec.image_groups, spec.tasks) == (groups, tasks)
        assert (spec.tile.c_block, spec.tile.k_block) == block


def test_groups_are_counted_in_narrow_blocks() -> None:
    """What ``image_groups`` is asked for: a change of these numbers would change bits."""

    def of(c: int, k: int, kernel: int, stride: int) -> tuple[int, int]:
        return dw_blocks(Conv(window((16, 16), kernel, stride, padding=kernel // 2), c, k))

    assert of(512, 512, 1, 1) == (8, 4)
    assert of(512, 512, 1, 2) == (8, 16)
    assert of(96, 1040, 3, 1) == (13, 3)
    assert of(31, 80, 5, 1) == (1, 1)


@pytest.mark.parametrize("wide", [1, 2, 4])
@pytest.mark.parametrize(
    "case",
    [
        Case((9, 8), 300, 150, 1, stride=2, images=3),
        Case((3, 4), 260, 290, 1, images=5),
        Case((6, 5), 70, 161, (2, 3), padding=((1, 0), (0, 2)), images=4),
    ],
    ids=str,
)
def test_tasks_of_several_blocks(lab: Any, some_machine: Machine, case: Case, wide: int) -> None:
    a = Operands(lab, some_machine, case)
    for groups in (1, 2):
        same(a.dw_by_blocks(groups, wide), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("stride", [2, 3])
def test_strided_pixels_without_padding(lab: Any, some_machine: Machine, stride: int) -> None:
    a = Operands(lab, some_machine, Case((7, 11), 40, 17, 1, stride=stride, images=3))
    same(a.dw(), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize(
    "case",
    [
        Case((4, 5), 16, 16, 5, padding=2),
        Case((5, 60), 6, 39, 4, stride=3, padding=2),
        Case((3, 4), 4, 32, 5, padding=3, images=5),
        Case((7, 3), 17, 17, 3, padding=((2, 0), (0, 1)), dilation=(3, 1)),
        Case((6, 6), 3, 16, (4, 2), padding=((3, 3), (1, 1)), stride=(2, 1), images=0),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_rows_of_padding_are_left_out(lab: Any, some_machine: Machine, case: Case, rows: int) -> None:
    a = Operands(lab, some_machine, case)
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, some_machine)
    tile = replace(spec.tile, rowwise=False, rows=rows, row_block=rows)
    assert rows > 1 or DwShape.of(replace(spec, tile=tile), some_machine).leaves_out
    same(a.dw(tile), ops.conv_dw(a.x, a.dy, a.conv))


@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(1, 3),
)
def test_rows_met(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> None:
    reach = dilation * (kernel - 1) + 1
    size = max(size, reach - before - after, 1)
    conv = Conv(window((size, 3), (kernel, 1), stride, ((before, after), (0, 0)), (dilation, 1)), 4, 16)
    layout = Layout(*conv.window.out_size, 16, 16)
    shape = DwShape.of(dw_spec(conv, Layout(size, 3, 4, 16), layout, AVX512), AVX512)
    axis = conv.window.rows
    for first in range(kernel):
        for count in range(1, kernel - first + 1):
            low, end = shape.rows_met(first, count)
            for p in range(axis.out):
                needed = any(axis.source(p, r) is not None for r in range(first, first + count))
                assert low <= p < end or not needed
                assert needed or count > 1 or not low <= p < end


def test_pixels_in_one_column(lab: Any, machine: Machine) -> None:
    """A 1 × 1 convolution that meets every pixel: blocks of rows need not end at an image's rows."""
    a = Operands(lab, machine, Case((13, 11), 17, 21, 1, images=3))
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, machine)
    assert spec.conv.window.in_size == (143, 1)
    same(a.dw(replace(spec.tile, row_block=40)), ops.conv_dw(a.x, a.dy, a.conv))
    for other in (
        Case((4, 5), 3, 4, 1, stride=2),
        Case((4, 5), 3, 4, 1, padding=1),
        Case((4, 5), 3, 4, (2, 1)),
    ):
        layouts = Layout(4, 5, 3, 3), Layout(*other.conv.window.out_size, 4, 4)
        assert pixelwise(other.conv, *layouts) == (other.conv, *layouts)


@pytest.mark.parametrize(("sides", "stride", "each"), [((4, 4), 1, 4), ((7, 8), 2, 4), ((8, 8), 1, 1)])
def test_tasks_of_one_tap_sum_about_64_pixels_from_zero(
    lab: Any, machine: Machine, sides: tuple[int, int], stride: int, each: int
) -> None:
    """To the bit what the chains of ``each`` images give, one after the other, on any machine; the last block has one image."""
    case = Case(sides, 17, 96, 1, stride=stride, images=2 * each + 1)
    a = Operands(lab, machine, case)
    rng = np.random.default_rng(0)
    a.x, a.dy = (rng.standard_normal(v.shape).astype("f") for v in (a.x, a.dy))
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, machine, mode="blocks", images_per_group=case.images)
    assert spec.sections
    assert spec.tile.images == each
    total = np.zeros(a.w.shape, np.float32)
    for first in range(0, case.images, each):
        part = Operands(lab, machine, replace(case, images=min(each, case.images - first)))
        part.x, part.dy = a.x[first : first + each], a.dy[first : first + each]
        total += part.dw()
    np.testing.assert_array_equal(a.dw_by_blocks(1), total)


def test_sections_within_an_image(lab: Any, machine: Machine) -> None:
    """143 pixels are 72 and 71, image by image."""
    case = Case((13, 11), 17, 96, 1, images=2)
    a = Operands(lab, machine, case)
    rng = np.random.default_rng(0)
    a.x, a.dy = (rng.standard_normal(v.shape).astype("f") for v in (a.x, a.dy))
    total = np.zeros(a.w.shape, np.float32)
    for n in range(case.images):
        for first, count in ((0, 72), (72, 71)):
            part = Operands(lab, machine, Case((count, 1), 17, 96, 1, images=1))
            part.x, part.dy = (v[n].reshape(1, 143, 1, -1)[:, first : first + count] for v in (a.x, a.dy))
            total += part.dw()
    np.testing.assert_array_equal(a.dw_by_blocks(1), total)


def test_which_weight_gradients_keep_one_chain() -> None:
    """Chunks of images, which have few pixels, several taps, groups, filters that are turned somewhere, dense layers."""
    for case, mode in (
        (Case((4, 4), 32, 64, 1), "images"),
        (Case((4, 4), 32, 64, 3), "blocks"),
        (Case((4, 4), 32, 64, 1, groups=2), "blocks"),
        (Case((4, 4), 32, 49, 1), "blocks"),
        (Case((1, 1), 32, 64, 1), "blocks"),
    ):
        layouts = Layout(*case.conv.in_shape, 32), Layout(*case.conv.out_shape, 64)
        assert not dw_spec(case.conv, *layouts, AVX512, mode=mode).sections  # type: ignore[arg-type]


def test_what_is_fetched() -> None:
    """Runs of lines where all of the pixels are wanted; pixel by pixel where only some of them or of their channels are."""
    layout = Layout(12, 10, 64, 64)

    def region(kernel: int, stride: int, channels: int) -> Region:
        rows, cols = gather_axes(window((12, 10), kernel, stride, "same"), "forward")
        return Region.of(layout, rows, cols, 2, channels)

    assert region(3, 1, 64) == Region(2, 2560, 40, 1, 64)
    assert region(3, 2, 64) == Region(4, 2560, 40, 1, 64)
    assert region(3, 2, 32) == Region(4, 2560, 10, 2, 256)
    assert region(1, 2, 64) == Region(2, 5120, 5, 4, 512)


@pytest.mark.parametrize("name", ["same", "stride 2", "one of everything"])
def test_fetches_are_written(name: str) -> None:
    conv = CONVOLUTIONS[name].conv
    x, y = Layout(*conv.in_shape, 16), Layout(*conv.out_shape, 32)
    text = registry.generate(dw_spec(conv, x, y, AVX512), AVX512)
    assert ("llvm.prefetch" in text) == (name != "one of everything")
