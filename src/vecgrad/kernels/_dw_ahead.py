"""What a weight gradient reads in its next block of rows, fetched while this one is summed.

A block's products read x and dy from the first two caches many times, and from memory once: before this, at its latency. Each
visit of a register tile fetches its share of the next block's pixels, in their order. Nothing else knows of it: what is fetched may
be wrong at an image's or a task's end, and is then of no use.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels._ahead import Region, Stream
from vecgrad.kernels._dw_shape import DwShape
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.taps import forward_axis
from vecgrad.spec.geometry import Axis

# Images that a chunk usually has at most: a sixteenth of a batch.
_CHUNK = 8


@dataclass(frozen=True)
class Part:
    """What one pass over the pixels covers: a group's block of input channels, k tiles first … end.

    channels: of the block.
    """

    group: Value
    channel: Value
    channels: int
    first: Index
    end: Index


@dataclass(frozen=True)
class Rows:
    """The block of rows in work: ``images`` images from ``image`` on, ``count`` rows from ``row`` on."""

    image: Value
    images: Index
    row: Index
    count: Index


@dataclass(frozen=True)
class Following:
    """What the block of rows after ``rows`` reads: in tasks the part's channels, else all of them.

    operands: x and dy.
    """

    b: Builder
    shape: DwShape
    operands: tuple[Value, Value]
    rows: Rows
    part: Part

    @property
    def _whole(self) -> bool:
        """Whether a block is whole images."""
        return self.shape.row_block == self.shape.rows.count

    @property
    def _last(self) -> bool:
        """Whether the block is a chunk's or a task's only one, as far as that is known."""
        spec = self.shape.spec
        images = spec.images_per_group if spec.mode == "blocks" else _CHUNK
        return self._whole and images <= self.shape.images

    def done(self, k: Value) -> Value:
        """Products of a pixel (of a scalar and a tile of k) before those of the part's tile at ``k``."""
        b, s, part = self.b, self.shape, self.part
        tile, taps = b.div(k, s.k_tile), s.spec.conv.window.taps
        if s.spec.mode == "blocks":
            return b.mul(b.sub(tile, part.first), taps * part.channels)
        before = b.mul(b.add(b.mul(part.group, s.channels), part.channel), max(s.k_tiles, 1) * taps)
        return b.add(before, b.mul(tile, taps * part.channels))

    def streams(self, done: Value, work: int) -> list[Stream]:
        """What a visit of ``work`` such products fetches after ``done`` of them; nothing where a task has one block."""
        b, s, spec, part = self.b, self.shape, self.shape.spec, self.part
        taps, image = spec.conv.window.taps, self.rows.image
        if self._last:
            return []
        if spec.mode == "images":
            all_work = spec.conv.channels_in * max(s.k_tiles, 1) * taps
            c, k, channels, filters = b.int64(0), b.int64(0), spec.conv.channels_in, spec.conv.channels_out
        else:
            all_work = part.channels * s.tiles_per_block * taps  # more where the last block is smaller
            c = b.add(b.mul(part.group, s.channels), part.channel)
            k = b.add(b.mul(part.group, s.filters), b.mul(part.first, s.k_tile))
            channels, filters = part.channels, min(s.filters, spec.tile.k_block)
        row: Index = 0 if self._whole else b.add(self.rows.row, s.row_block)
        if self._whole:
            image = b.add(image, s.images)
        outputs = s.images * s.row_block
        own = forward_axis(Axis(s.rows.count, 1)), forward_axis(Axis(s.cols.count, 1))
        streams = []
        for operand, layout, (down, across), count, first in (
            (self.operands[0], spec.input, (s.rows, s.cols), channels, c),
            (self.operands[1], spec.dy, own, filters, k),
        ):
            line = b.mul(b.add(b.mul(row, down.advance), down.low), layout.row)
            left = across.low * layout.pitch if across.advance > across.span else 0
            place = b.add(b.mul(image, layout.nbytes), b.mul(b.add(line, b.add(first, left)), s.item))
            region = Region.of(layout, down, across, outputs, count)
            start, steps = b.around(operand, place), outputs * s.cols.count
            streams.append(region.stream(b, start, done, work, all_work, steps))
        return streams
