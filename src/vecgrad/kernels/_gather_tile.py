"""Which tile a forward convolution or data gradient gets."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from vecgrad.kernels._ahead import FAR
from vecgrad.kernels._conv_shape import balanced, image_tiles
from vecgrad.kernels._cost import MOST_SHARED, MOST_VECTORS, bundle_cycles, distinct, most_scalars
from vecgrad.kernels._rim import Cut, Live, exact
from vecgrad.kernels.taps import AxisClass, GatherAxis, gather_axes
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Pooling, Tile
from vecgrad.spec.machine import AVX512, ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout, size

# Cycles to begin and end a tile: addresses, a branch guessed wrong. Then for each vector stored: caches fetch
# lines in pairs, so that half of the traffic is lost on tiles one line wide where outputs are wider.
_TILE_CYCLES = 24
_STORE_CYCLES = 1.0
_LINES = 128
# Of an image's vector copied into a frame, once.
_STAGED_CYCLES = 8.0
# Pixels that joined images should have: few are left over for tiles of less than the best width.
_JOINED = 64


@functools.lru_cache(maxsize=1024)
def gather_tile(
    conv: Conv,
    direction: str,
    input: Layout,
    output: Layout,
    machine: Machine,
    images: int,
    pool: Pooling | None = None,
) -> Tile:
    """The tile with the least predicted time for ``images`` images; with a ``pool`` one of whole windows."""
    if pool is None and images > 1 and _joins(conv, input):
        pixels = size(conv.window.out_size)
        together = min(images, -(-_JOINED // pixels))
        row = replace(conv, window=window((1, together * pixels), 1))
        model = _model(row, direction, output.dtype, machine, 1, None)
        best = min(map(model.placed, model.candidates()), key=model.cycles)
        return replace(best, images=together, joined=True)
    model = _model(conv, direction, output.dtype, machine, images, pool)
    best = min(map(model.placed, model.candidates()), key=model.cycles)
    return replace(best, row_block=_row_block(best, model.rows, model.cols, input, machine))


@functools.lru_cache(maxsize=1024)
def gather_cycles(conv: Conv, direction: str, dtype: str, images: int) -> float:
    """Of an image in chunks of ``images``, with the best tile, on one fixed processor."""
    model = _model(conv, direction, dtype, AVX512, images, None)
    return conv.groups * min(map(model.cycles, map(model.placed, model.candidates()))) / images


def _joins(conv: Conv, input: Layout) -> bool:
    """Whether all pixels are alike, and an image so small that nothing needs to be fetched ahead by rows."""
    w = conv.window
    alike = w.kernel == w.stride == (1, 1) and 1 < size(w.in_size) == size(w.out_size)
    return alike and input.nbytes < FAR


def _model(
    conv: Conv, direction: str, dtype: str, machine: Machine, images: int, pool: Pooling | None
) -> _Model:
    rows, cols = gather_axes(conv.window, direction)
    unit = (1, 1)
    if pool is not None:
        rows, cols, unit = rows.only(pool.covered[0]), cols.only(pool.covered[1]), pool.window.kernel
    sides = (conv.channels_in // conv.groups, conv.channels_out // conv.groups)
    c, k = sides if direction == "forward" else sides[::-1]
    lanes = machine.lanes(dtype)
    return _Model(rows, cols, c, -(-k // lanes), lanes, machine, images, unit)


@dataclass(frozen=True)
class _Model:
    """What a tile costs. channels: read, of a group; vectors: written, of a group; images: of a chunk.
    unit: rows and columns that a tile takes together."""

    rows: GatherAxis
    cols: GatherAxis
    channels: int
    vectors: int
    lanes: int
    machine: Machine
    images: int
    unit: tuple[int, int]

    def candidates(self) -> Iterator[Tile]:
        """Tiles that fit the registers: of part of a row, of whole rows, of whole images."""
        height, width = self.rows.count, self.cols.count
        down, right = self.unit
        taps = max(each.taps for each in self.cols.classes)
        for v in range(1, min(self.vectors, MOST_VECTORS) + 1):
            for share in range(1, max(1, min(taps, MOST_SHARED)) + 1):
                most = most_scalars(self.machine, v, share)
                for wide in range(right, min(width, most // down) + 1, right):
                    if self._shares(wide, share):
                        yield Tile(v, 1, down, wide, 1, share)
                if not self._shares(width, share):
                    continue
                for high in range(2 * down, min(height, most // width) + 1, down):
                    yield Tile(v, 1, high, width, 1, share)
                for many in range(2, min(self.images, most // (width * height)) + 1):
                    yield Tile(v, many, height, width, 1, share)

    def _shares(self, wide: int, share: int) -> bool:
        """Whether taps of neighbouring pixels have scalars in common: if not, they only take registers from each other."""
        return share == 1 or distinct(wide, self.cols.advance, share, self.cols.tap_step) < wide * share

    def placed(self, tile: Tile) -> Tile:
        """The tile, with inputs read where they lie if they can be."""
        padded = not (self.rows.inside and self.cols.inside)
        return replace(tile, staged=padded and not exact(self.rows, self.cols, tile.rows))

    def cycles(self, tile: Tile) -> float:
        """The model's time for all images."""
        width = tile.vectors * self.machine.vector_bits // 8
        block = self.channels * width
        narrow = tile.vectors < self.vectors and width < _LINES
        store = _STORE_CYCLES * tile.vectors * (2 if narrow else 1)
        total = 0.0
        if tile.staged:
            pixels = self.rows.reach(self.rows.count) * self.cols.reach(self.cols.count)
            total = _STAGED_CYCLES * self.images * pixels * -(-self.channels // self.lanes)
        for a, b, cut in self._cuts[tile.staged]:
            streams = block * a.taps * b.taps > self.machine.l1 // 2
            columns = [
                (wide, (end - first) // wide, live)
                for start, stop, wide in balanced(b.count, tile.cols, self.unit[1])
                for first, end, live in cut.tiles(start, stop, wide)
            ]
            tiles = sum(count for _, count, _ in columns)
            tall = min(tile.rows, a.count)
            full = a.count // tall * tall
            for n, deep in self._images(tile.images):
                for first, end, high in ((0, full, tall), (full, a.count, self.unit[0])):
                    for turns, lines in cut.turns(a, first, end, high):
                        one = sum(
                            count * self._line(tile, deep * lines, wide, b.taps, live, streams)
                            for wide, count, live in columns
                        )
                        total += n * turns * self.channels * one
                    total += n * (end - first) * (tiles * _TILE_CYCLES / high + store * deep * b.count)
        return total * -(-self.vectors // tile.vectors)

    @cached_property
    def _cuts(self) -> list[list[tuple[AxisClass, AxisClass, Cut]]]:
        """Each class of rows with each of columns, and what is left out where inputs are not staged, and where they are."""
        return [
            [
                (a, b, Cut.of(self.rows, self.cols, a, b, self.channels, staged))
                for a in self.rows.classes
                for b in self.cols.classes
            ]
            for staged in (False, True)
        ]

    def _images(self, most: int) -> list[tuple[int, int]]:
        """(how many, of how many images): the tiles that share a chunk's images."""
        found, left = [], self.images
        for each in image_tiles(most):
            found.append((left // each, each))
            left %= each
        return found

    def _line(self, tile: Tile, lines: int, wide: int, taps: int, live: Live | None, streams: bool) -> float:
        """A row of taps of a tile, one channel."""
        vector = self.machine.vector_bits // 8
        advance, step = self.cols.advance, self.cols.tap_step
        total = 0.0
        for first in range(0, taps, tile.share):
            share = min(tile.share, taps - first)
            weights = share * tile.vectors * vector if streams else 0
            if live is None:
                products, loads = share * wide, distinct(wide, advance, share, step)
            else:
                here = live[first : first + share]
                products = sum(map(len, here))
                loads = len({n * advance + s * step for s, outputs in enumerate(here) for n in outputs})
            total += bundle_cycles(lines * products / share, tile.vectors, share, lines * loads, weights)
        return total


def _row_block(tile: Tile, rows: GatherAxis, cols: GatherAxis, input: Layout, machine: Machine) -> int:
    """As many rows as the staged frame has room for, in equal blocks, whole tiles high.

    Frames get an eighth of L2, most of which belongs to the weights: scalars come slowly enough from there.
    """
    line = cols.reach(cols.count) * input.channels * ITEM_BYTES[input.dtype] * tile.images
    room = max(machine.l2 // 8, machine.l1) // max(line, 1)
    most = max((room - rows.span) // rows.advance + 1, tile.rows)
    if most >= rows.count:
        return rows.count
    block = -(-rows.count // -(-rows.count // most))
    return -(-block // tile.rows) * tile.rows
