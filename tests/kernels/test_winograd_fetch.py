"""What Winograd's transforms fetch: a wrong address is no wrong result, only slow. So the code runs with its fetches noted."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import algorithm, registry, summed
from vecgrad.kernels._winograd_grid import Grid
from vecgrad.kernels._winograd_shape import Shape as Gathered
from vecgrad.kernels.winograd_dw import Shape
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import KernelSpec, Unpooling
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

IMAGES, SIDES, CHANNELS, FILTERS = 3, (10, 9), 40, 20
MOST = 1 << 16
_NOTES = f"""
@noted = global [{MOST} x ptr] zeroinitializer
@count = global i64 0
define void @note(ptr %address, i32 %write, i32 %locality, i32 %kind) {{
  %n = load i64, ptr @count
  %place = getelementptr ptr, ptr @noted, i64 %n
  store ptr %address, ptr %place
  %next = add i64 %n, 1
  store i64 %next, ptr @count
  ret void
}}
"""


def noting(spec: KernelSpec, machine: Machine) -> str:
    """The kernel's code with a note in place of each fetch."""
    text = re.sub(r"declare void @llvm\.prefetch.*\n", "", registry.generate(spec, machine))
    return text.replace("@llvm.prefetch.p0(", "@note(") + _NOTES


def fetched(
    lab: Any, spec: KernelSpec, machine: Machine, operands: list[Any], images: int = IMAGES
) -> set[int]:
    """The addresses that the kernel fetches while it works on ``operands``."""
    return set(fetches(lab, spec, machine, operands, images))


def fetches(
    lab: Any, spec: KernelSpec, machine: Machine, operands: list[Any], end: int, scalars: tuple[float, ...] = (0.0,)
) -> list[int]:  # fmt: skip
    """As many as there are, of images, or tasks, 0 … end − 1."""
    function = lab.function(spec, machine, noting)
    engine = lab.engine(spec, machine, noting)
    count = ctypes.c_int64.from_address(engine.get_global_value_address("count"))
    count.value = 0
    pointers = (ctypes.c_void_p * len(operands))(*(each.ctypes.data for each in operands))
    scratch = np.zeros(registry.scratch_bytes(spec, machine) + 64, np.uint8)
    start = scratch.ctypes.data + -scratch.ctypes.data % 64
    function(pointers, (ctypes.c_double * len(scalars))(*scalars), start, 0, end)
    assert 0 < count.value < MOST
    noted = (ctypes.c_int64 * count.value).from_address(engine.get_global_value_address("noted"))
    return list(noted)


def pixels(
    layout: Layout, start: int, rows: range, cols: range, lanes: int, grid: Grid, soon: int
) -> set[int]:
    """Where the vectors of rows × cols pixels lie, counted from each tile's first output, of the tiles from number ``soon`` on."""
    item = layout.nbytes // layout.entries
    tiles = range(soon, IMAGES * grid.tiles + soon)
    places = ((t // grid.tiles, t % grid.tiles // grid.cols * 4, t % grid.cols * 4) for t in tiles)
    return {
        start + image * layout.nbytes + ((row + r) * layout.row + (col + c) * layout.pitch + channel) * item
        for image, row, col in places
        for r in rows
        for c in cols
        for channel in range(0, layout.channels, lanes)
    }


def filled(entries: int, dtype: Any = np.float32) -> Any:
    """An array far from all others, and aligned: what is fetched beyond its end, or before its beginning, lies in none of them."""
    apart = 1 << 18
    memory = np.ones(entries + 2 * apart, dtype)
    start = apart + -memory.ctypes.data % 64 // memory.itemsize
    return memory[start : start + entries]


def within(addresses: set[int], array: Any) -> set[int]:
    return {each for each in addresses if 0 <= each - array.ctypes.data < array.nbytes}


def made(machine: Machine) -> Any:
    conv = Conv(window(SIDES, 3, padding="same"), CHANNELS, FILTERS)
    x, dy = (Layout(*SIDES, c, machine.pitch(c, "float32")) for c in (CHANNELS, FILTERS))
    return summed.winograd_dw_spec(conv, x, dy, machine, images=IMAGES, by_blocks=False)


def test_pixels_of_tiles_shortly_behind(lab: Any, machine: Machine) -> None:
    """Of x all but the row and the column that the tiles before them have read, of dy all."""
    spec = made(machine)
    lanes, shape = machine.lanes("float32"), Shape(spec, machine)
    x = filled(IMAGES * spec.input.entries)
    dy = filled(IMAGES * spec.dy.entries)
    found = fetched(lab, spec, machine, [x, dy, filled(9 * CHANNELS * FILTERS)])
    inner = range(5)  # a patch begins a row and a column before its tile
    for array, layout, sides, soon in [
        (x, spec.input, inner, shape.x.soon), (dy, spec.dy, range(4), shape.dy.soon),
    ]:  # fmt: skip
        wanted = pixels(layout, array.ctypes.data, sides, sides, lanes, shape.grid, soon)
        assert within(wanted, array)
        assert within(wanted, array) == within(found, array)


def test_pooled_gradients_and_their_index(lab: Any, machine: Machine) -> None:
    """Windows of 2 × 2: a tile of gradients is un-pooled from 2 × 2 of them."""
    spec = made(machine)
    windows = window(SIDES, 2, 2)
    pooled = replace(spec.dy, height=SIDES[0] // 2, width=SIDES[1] // 2)
    spec = replace(spec, unpool=Unpooling(windows, pooled, replace(pooled, dtype="uint8")))
    lanes, shape = machine.lanes("float32"), Shape(spec, machine)
    x = filled(IMAGES * spec.input.entries)
    dy = filled(IMAGES * pooled.entries)
    index = filled(IMAGES * pooled.entries, np.uint8)
    found = fetched(lab, spec, machine, [x, dy, index, filled(9 * CHANNELS * FILTERS)])
    grid = shape.grid
    for array, item in ((dy, 4), (index, 1)):
        wanted = {
            array.ctypes.data
            + (t // grid.tiles * pooled.entries
               + (t % grid.tiles // grid.cols * 2 + r) * pooled.row
               + (t % grid.cols * 2 + c) * pooled.pitch + channel) * item
            for t in range(shape.dy.soon, IMAGES * grid.tiles + shape.dy.soon)
            for r in range(2)
            for c in range(2)
            for channel in range(0, FILTERS, lanes)
        }  # fmt: skip
        assert within(wanted, array)
        assert within(wanted, array) == within(found, array)


@pytest.mark.parametrize(("channels", "tiles"), [(16, 6), (32, 6), (64, 3), (128, 2), (512, 2)])
def test_fewer_channels_more_tiles(machine: Machine, channels: int, tiles: int) -> None:
    """Memory needs the same time wherever it is asked for, and a tile of few channels takes little."""
    layout = Layout(8, 8, channels, channels)
    conv = Conv(window((8, 8), 3, padding="same"), channels, channels)
    spec = algorithm.winograd_spec(conv, "forward", layout, layout, machine, images=8)[0]
    assert Gathered(spec, machine).patches.soon == tiles
