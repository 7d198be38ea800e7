"""Filters that would fill little of a vector, with input channels in their lanes.

49 filters are three vectors and one lane of a fourth, which would cost as much as each of the three. Here a pixel's vectors of x
meet single entries of dy: the same chain for every entry, for the price of one filter. The sums lie in scratch, (tap, filter, input
channel), until the last image is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vecgrad.kernels._cases import cut
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._dw_ahead import Following, Rows
from vecgrad.kernels._dw_shape import DwShape
from vecgrad.kernels._dw_tile import turned_tile
from vecgrad.kernels._frame import Frame
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels._slab import reached
from vecgrad.kernels.builder import Builder, Index, Value


@dataclass(frozen=True)
class Turned:
    """The turned filters of a weight gradient's tile; where there are none, nothing is written."""

    b: Builder
    shape: DwShape
    dy: Value

    @property
    def filters(self) -> int:
        return self.shape.spec.tile.turned

    def clear(self) -> None:
        """Zeros in the sums."""
        _, start, end = self.shape.places
        fill_run(self.b, self.b.at(self.b.scratch, start), (end - start) // self.shape.item)

    def _sums(self, channel: Value) -> Value:
        """Those of the block of input channels from ``channel`` on."""
        b, s = self.b, self.shape
        start = b.at(b.scratch, s.places[1])
        if s.spec.mode == "blocks":
            return start
        return b.at(start, b.mul(b.div(channel, s.spec.tile.c_block), s.turned_block))

    def add(
        self, following: Following, frame: Frame, x: Value, met: Callable[[Value, int], tuple[Rows, Index]]
    ) -> None:
        """A block of rows. ``met``: those of the rows that kernel rows meet, as in the generator."""
        if not self.filters:
            return
        b, s, rows, part = self.b, self.shape, following.rows, following.part
        lanes, dy = s.lanes, s.spec.dy
        sums = self._sums(part.channel)
        source = b.add(b.mul(rows.image, dy.entries), b.mul(rows.row, dy.row))
        source = b.entry(self.dy, b.add(source, s.straight))
        vectors, line = -(-part.channels // lanes), s.turned_line * s.item
        tv, tf = turned_tile(vectors, self.filters, s.machine)
        # What lies behind an operand may not be read; vectors that would are a tile of their own.
        inside = frame.staged or -(-s.channels // lanes) * lanes <= s.spec.input.pitch
        last = 0 if inside else part.channels % lanes
        alone = (vectors - 1) % tv + 1 if last else 0
        runs = [(*run, 0) for run in cut(vectors - alone, tv)] if vectors > alone else []
        runs += [(vectors - alone, vectors, alone, last)] if alone else []
        height, width = s.spec.conv.window.kernel
        with b.loop(0, height) as r, b.loop(0, width) as q:
            now, skipped = met(r.i, 1)
            here = b.at(
                x, b.mul(b.add(b.mul(r.i, s.rows.tap_step), b.mul(skipped, s.rows.advance)), frame.row_bytes)
            )
            here = b.at(here, b.mul(q.i, s.cols.tap_step * frame.pixel_bytes))
            there = b.at(source, b.mul(skipped, dy.row * s.item))
            tap = b.mul(b.add(b.mul(r.i, width), q.i), self.filters * line)
            for v0, v1, count, entries in runs:
                for f0, f1, filters in cut(self.filters, tf):
                    with b.loop(v0, v1, step=count) as v, b.loop(f0, f1, step=filters) as f:
                        place = b.add(b.add(tap, b.mul(f.i, line)), b.mul(v.i, lanes * s.item))
                        offsets = [n * s.item for n in range(filters)]
                        streams = []
                        if not s.k_tiles and not f0:  # else the straight filters' visits fetch
                            done = b.mul(b.add(b.mul(r.i, width), q.i), part.channels)
                            done = b.add(b.add(following.done(b.int64(0)), done), b.mul(v.i, lanes))
                            streams = following.streams(done, count * lanes)
                        tile = Contraction(
                            b, offsets, count, 1, s.item, streams=streams, last=entries, hidden=True
                        )
                        scalars, vector = b.entry(there, f.i), b.at(here, b.mul(v.i, lanes * s.item))
                        self._tile(tile, now, frame, scalars, vector, b.at(sums, place))

    def _tile(self, tile: Contraction, rows: Rows, frame: Frame, dy: Value, x: Value, place: Value) -> None:
        """One register tile: load its sums, walk the pixels, store them."""
        b, s, layout = self.b, self.shape, self.shape.spec.dy
        width = s.lanes * s.item
        at = [
            [n * s.turned_line * s.item + v * width for v in range(tile.vectors)]
            for n in range(len(tile.offsets))
        ]
        sums: Accumulators = [[b.load(b.vector, b.at(place, entry), s.item) for entry in row] for row in at]
        levels = [
            Level(rows.images, layout.nbytes, frame.image_bytes),
            Level(rows.count, layout.row * s.item, s.rows.advance * frame.row_bytes),
            Level(s.cols.count, layout.pitch * s.item, s.cols.advance * frame.pixel_bytes),
        ]
        for where, values in zip(at, tile.run(sums, dy, x, levels), strict=True):
            for entry, value in zip(where, values, strict=True):
                b.store(value, b.at(place, entry), s.item)

    def finish(self, slab: Value, channel: Value, channels: int) -> None:
        """The sums of ``channels`` input channels from ``channel`` on to the slab."""
        if not self.filters or not channels:
            return
        b, s = self.b, self.shape
        rows, k = s.spec.slab_shape
        line, sums = s.turned_line, self._sums(channel)
        with b.loop(0, s.spec.conv.window.taps) as tap, b.loop(0, channels) as c:
            here = b.entry(sums, b.add(b.mul(tap.i, self.filters * line), c.i))
            row = b.add(b.add(b.mul(tap.i, rows), channel), c.i)
            there = reached(b, slab, b.add(b.mul(row, k), s.straight))
            for n in range(self.filters):
                b.store(b.load(b.real, b.entry(here, n * line), s.item), b.entry(there, n), s.item)
