"""Work inside one image: how a convolution is cut into tasks where there are no other images to share among threads.

An output entry is one chain of multiply-adds whoever computes it, so cutting changes no bits, and whether to cut follows
from shapes alone: the same plan serves any number of threads.
"""

from __future__ import annotations

from dataclasses import replace

from vecgrad.kernels import _winograd_cost as cost
from vecgrad.kernels._conv_shape import gather
from vecgrad.kernels._winograd_tiles import Grid
from vecgrad.spec.kernel import ConvDxSpec, ConvSpec, WinogradSpec
from vecgrad.spec.machine import Machine

# Cycles below which a layer stays whole: a task and the barriers around it cost two to three thousand, a second thread
# saves half of the rest.
_LEAST = 20_000.0
# Cycles that a task should have, and the most tasks: enough for the threads of a laptop.
_EACH, _MOST = 10_000.0, 8
# Tiles that a task of Winograd's should have: fewer leave the weights too little to do.
_TILES = 8


def tasks(cycles: float) -> int:
    """How many tasks work of so many cycles is worth: 1, or 2 to 8, even.

    >>> tasks(12_000.0), tasks(25_000.0), tasks(50_000.0), tasks(1e9)
    (1, 2, 4, 8)
    """
    return 1 if cycles < _LEAST else min(_MOST, max(2, int(cycles / _EACH) // 2 * 2))


def direct(spec: ConvSpec | ConvDxSpec, cycles: float, machine: Machine) -> tuple[ConvSpec | ConvDxSpec, int]:
    """The kernel of one image as tasks, and their number: 0 where it stays as it is.

    Blocks of channels where there are several and the weights outweigh the image, which every task stages for itself; else
    rows, each of whose tasks reads all weights.
    """
    wanted, found = tasks(cycles), gather(spec, machine)
    if wanted == 1:
        return spec, 0
    blocks, rows, tall = found.groups * found.blocks, found.rows.count, spec.tile.rows
    weights = spec.conv.window.taps * found.channels_in * found.channels_out * found.groups * found.item
    if blocks % 2 == 0 and weights > spec.input.nbytes:
        return replace(spec, mode="blocks"), blocks
    each = -(-rows // wanted)
    block = min(-(-each // tall) * tall, spec.tile.row_block)
    if block >= rows:
        return spec, 0
    return replace(spec, mode="rows", tile=replace(spec.tile, row_block=block)), -(-rows // block)


def winograd(spec: WinogradSpec, cycles: float, machine: Machine) -> tuple[WinogradSpec, int]:
    """As ``direct``: tasks are blocks of tiles."""
    total = Grid(spec.output.height, spec.output.width).tiles
    wanted = min(tasks(cycles), total // _TILES)
    if wanted < 2:
        return spec, 0
    conv, each = spec.conv, -(-total // wanted)
    sides = (conv.channels_in, conv.channels_out)
    inner, outer = sides if type(spec) is WinogradSpec else sides[::-1]
    # Its block is a whole number of register tiles, which may be more than was asked for.
    tile = cost.gather_tile(inner, outer, each, machine)
    if tile.block >= total:
        return spec, 0
    return replace(spec, mode="tiles", tile=tile), -(-total // tile.block)
