"""Un-pooling (4.5) where a gradient is read: tiles take dy and the index of a max pooling in place of the larger map."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels import access
from vecgrad.kernels._choice import integers, ordinal, wide
from vecgrad.kernels._winograd_tiles import Lines, Patches
from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.kernel import Unpooling


@dataclass(frozen=True)
class UnpooledPatches(Patches):
    """``source`` is the layout of the map that is never stored; read are ``unpool.dy`` and ``unpool.index``."""

    unpool: Unpooling | None = None

    def lines(
        self, b: Builder, zeros: Value, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> Lines:
        if self.unpool is None:
            return super().lines(b, zeros, source, image, row, col)
        window, dy = self.unpool.window, self.unpool.dy
        (tall, wide_), (height, width) = window.kernel, window.out_size
        left = b.add(col, self.left)
        begin, turns = self.columns_inside(b, left, width * wide_)
        first = b.add(left, begin)
        across = b.mul(b.div(first, wide_), dy.pitch)
        tile_row = b.div(row, tall)
        pixels: list[Value] = []
        indices: list[Value] = []
        cells = [divmod(self.top + r, tall) for r in range(self.size)]
        for window_row in dict.fromkeys(down for down, _ in cells):
            number = b.add(tile_row, window_row)
            inside = b.icmp("ult", number, height)
            entry = b.add(b.add(b.mul(image, dy.entries), b.mul(number, dy.row)), across)
            pixels.append(b.select(inside, b.entry(source[0], entry), zeros))
            indices.append(b.select(inside, b.at(source[1], entry), zeros))
        return _UnpooledLines(begin, turns, pixels, dy.pitch, self.item, self.unpool, first, indices, cells)


@dataclass(frozen=True)
class _UnpooledLines(Lines):
    """pixels, indices: for each row of windows the place of the first column's window. cells: (row of windows, row within
    it) of each row of the patch, the former counted from the tile's first one. first: the first column's number."""

    unpool: Unpooling
    first: Value
    indices: list[Value]
    cells: list[tuple[int, int]]

    def start(self, b: Builder, vector: Value) -> Value:
        return self.first

    def read(self, b: Builder, at: Value, vector: Value, lanes: int) -> list[Value]:
        tall, wide_ = self.unpool.window.kernel
        moved = b.sub(b.div(at, wide_), b.div(self.first, wide_))
        entry = b.add(b.mul(moved, self.pitch), b.mul(vector, b.lanes))
        column = ordinal(b, b.mul(b.rem(at, wide_), tall))
        top = self.cells[0][0]
        windows = []
        for pixel, index in zip(self.pixels, self.indices, strict=True):
            chosen = wide(b, access.raw_lanes(b, b.at(index, entry), self.unpool.index.dtype, lanes))
            row = b.let(integers(b), f"sub {chosen}, {column.text}")
            windows.append((b.load_lanes(b.entry(pixel, entry), lanes), row))
        values = []
        for down, r in self.cells:
            dy, row = windows[down - top]
            here = b.let(f"<{b.lanes} x i1>", f"icmp eq {row}, {ordinal(b, r).text}")
            values.append(b.select(here, dy, b.zero()))
        return values

    def after(self, b: Builder, at: Value) -> Value:
        return b.add(at, 1)
