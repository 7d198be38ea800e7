"""Direct convolution, forward and data gradient: one gather kernel.

Loops: images → block of rows (staged, or read where they lie) → group → block of output channels → class of outputs → register
tiles → kernel rows → input channels → kernel columns. A tile's weights are read once, one behind the other; what it writes has
been summed in registers from the first tap to the last.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from fractions import Fraction

from vecgrad.kernels import access
from vecgrad.kernels._ahead import FAR, Region, Stream
from vecgrad.kernels._contract import Accumulators, Contraction, Level, room
from vecgrad.kernels._conv_shape import Gather, GatherSpec, balanced, gather, image_tiles
from vecgrad.kernels._epilogue import Places
from vecgrad.kernels._pooled import writer
from vecgrad.kernels._rim import Cut, Live, Pass
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.kernels.taps import AxisClass
from vecgrad.spec.kernel import SECTION, ConvSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine


def scratch_bytes(spec: GatherSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return gather(spec, machine).frame.scratch_bytes


# A group and a block of its output channels.
_Block = tuple[Value, Value]

# Steps of a tile's products that are over before a line comes from memory.
_FEW_STEPS = 16


class _Generator:
    def __init__(self, g: Gather) -> None:
        self.g = g
        self.spec = g.spec
        self.b = Builder(g.machine, g.spec.output.dtype)
        self.frame = g.frame
        self.item = g.item
        self.input = self.b.operand(0)
        self.packed = self.b.operand(1)
        self.writer = writer(self.b, self.spec.epilogue, self.spec.output, self.spec.scalars, 2)

    def module(self) -> str:
        b, g = self.b, self.g
        if self.spec.mode == "blocks":
            self._images(self._given(), (b.div(b.begin, g.blocks), b.rem(b.begin, g.blocks)))
        elif self.spec.mode == "rows":
            turns = -(-g.rows.count // g.row_block)
            image = b.div(b.begin, turns)
            with b.loop(image, b.least(self._given(), b.add(image, 1))):
                self._row_block(image, 1, b.mul(b.rem(b.begin, turns), g.row_block), None)
        elif g.weights_first:
            with b.loop(0, g.groups) as group, b.loop(0, g.blocks) as block:
                self._images(b.images, (group.i, block.i))
        else:
            self._images(b.images, None)
        return b.function(self.spec.name)

    def _given(self) -> Value:
        """How many images there are."""
        b = self.b
        return b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")

    def _images(self, count: Value, block: _Block | None) -> None:
        """All images: tiles of several images first, then what is left of the batch."""
        b = self.b
        start: Index = 0
        for size in image_tiles(self.spec.tile.images):
            end = count if size == 1 else b.sub(count, b.rem(b.sub(count, start), size))
            each, deep = (self._together(size), 1) if self.spec.tile.joined else (self, size)
            with (
                b.loop(start, end, step=size) as loop,
                b.loop(0, each.g.rows.count, step=each.g.row_block) as rows,
            ):
                each._row_block(loop.i, deep, rows.i, block)
            start = end

    def _together(self, images: int) -> _Generator:
        found = copy.copy(self)
        found.g = self.g.together(images)
        found.frame = found.g.frame
        return found

    def _row_block(self, image: Value, images: int, row: Value, block: _Block | None) -> None:
        b, g = self.b, self.g
        source = b.at(self.input, b.mul(image, self.spec.input.nbytes))
        if block is not None:
            source = b.at(source, b.mul(block[0], g.channels_in * self.item))
        exact = g.rows.count % g.row_block == 0
        outputs = g.row_block if exact else b.least(g.row_block, b.sub(g.rows.count, row))
        frame = self.frame.stage(b, b.scratch, source, row, outputs, images)
        if block is not None:
            self._classes(frame, image, images, row, *block)
        else:
            with b.loop(0, g.groups) as group, b.loop(0, g.blocks) as each:
                here = b.at(frame, b.mul(group.i, g.channels_in * self.item))
                self._classes(here, image, images, row, group.i, each.i)

    def _classes(
        self, frame: Value, image: Value, images: int, row: Value, group: Value, block: Value
    ) -> None:
        """One block of rows, one block of channels: every class of outputs."""
        b, g = self.b, self.g
        entries = self.spec.conv.window.taps * g.channels_in * g.block
        packed = b.at(self.packed, b.mul(b.add(b.mul(group, g.blocks), block), entries * self.item))
        channel = b.add(b.mul(group, g.channels_out), b.mul(block, g.block))
        for rows in g.rows.classes:
            for cols in g.cols.classes:
                line = self.spec.conv.window.cols.kernel * g.channels_in
                weights = b.at(packed, (rows.place * line + cols.place) * g.block * self.item)
                _Tiles(self, rows, cols, frame, weights, image, images, row, channel, block).emit()


@dataclass
class _Tiles:
    """The register tiles of one class of outputs within a block of rows."""

    owner: _Generator
    rows: AxisClass
    cols: AxisClass
    frame: Value
    weights: Value
    image: Value
    images: int
    row: Value
    channel: Value
    block: Value

    def emit(self) -> None:
        b, g = self.owner.b, self.owner.g
        tall = min(self.owner.spec.tile.rows, g.row_block, self.rows.count)
        height = self._height(self.rows)
        if isinstance(height, int):
            full: Index = height - height % tall
        else:
            full = b.sub(height, b.rem(height, tall)) if tall > 1 else height
        with b.loop(0, full, step=tall) as loop:
            self._row_of_tiles(loop.i, tall)
        if full != height:
            unit = self.owner.spec.epilogue.unit[0]
            with b.loop(full, height, step=unit) as loop:
                self._row_of_tiles(loop.i, unit)

    def _height(self, rows: AxisClass) -> Index:
        """Rows of this class in the block."""
        b, g = self.owner.b, self.owner.g
        if g.row_block == g.rows.count:
            return rows.count
        if rows.count % g.row_block == 0 and rows.count == g.rows.count:
            return g.row_block
        return b.most(0, b.least(g.row_block, b.sub(rows.count, self.row)))

    def _row_of_tiles(self, i: Value, rows: int) -> None:
        b, spec, cut = self.owner.b, self.owner.spec, self._cut()
        passes = self._passes(cut, i, rows)
        for first, end, width in balanced(self.cols.count, spec.tile.cols, spec.epilogue.unit[1]):
            for start, stop, live in cut.tiles(first, end, width):
                with b.loop(start, stop, step=width) as loop:
                    self._tile(i, loop.i, rows, width, passes, live)

    def _cut(self) -> Cut:
        """The products with padding that are left out."""
        g = self.owner.g
        return Cut.of(g.rows, g.cols, self.rows, self.cols, g.channels_in, self.owner.frame.staged)

    def _passes(self, cut: Cut, i: Value, rows: int) -> list[Pass]:
        """The rows of taps of a tile of ``rows`` rows."""
        b, g = self.owner.b, self.owner.g
        everything = tuple(range(rows))
        if cut.rows is None:
            return [Pass(0, self.rows.taps, everything)] if self.rows.taps else []
        if cut.whole(rows) and g.row_block == g.rows.count:
            return list(cut.rows.passes())
        return [Pass(*cut.rows.bounds(b, b.add(i, self.row), rows), everything)]

    def _tile(self, i: Value, j: Value, rows: int, cols: int, passes: list[Pass], live: Live | None) -> None:
        """live: of the tile's columns; None: all take part in all products."""
        b, v = self.owner.b, self.owner.spec.tile.vectors
        pixels = [(n, r, c) for n in range(self.images) for r in range(rows) for c in range(cols)]
        sums = [[b.zero() for _ in range(v)] for _ in pixels]
        places = self._places(i, j, pixels)
        if self._steps:
            first = self._first_input(i, j)
            for number, each in enumerate(passes):
                streams = self._following(i, j, rows, cols, number, len(passes))
                if number == 0 and not self._in_sections:
                    streams += self._places_ahead(places, rows, len(passes))
                self._pass(sums, pixels, each, first, live, streams)
        self._write(sums, places)

    def _places_ahead(self, places: Places, rows: int, passes: int) -> list[Stream]:
        """The tile's own places, fetched between its products; where these are over before memory answers, at once those of the
        tile below."""
        writer, output, v = self.owner.writer, self.owner.spec.output, self.owner.spec.tile.vectors
        if self._steps < _FEW_STEPS and output.nbytes >= FAR and not self.owner.spec.epilogue.pool:
            writer.fetch(places, rows, v)
            return []
        return writer.streams(places, v, Fraction(self._steps, passes))

    @property
    def _steps(self) -> int:
        """Of a tile's products."""
        return self.rows.taps * self.owner.g.channels_in * self.cols.taps

    @property
    def _in_sections(self) -> bool:
        return self.owner.spec.conv.dense and self.owner.g.channels_in > SECTION

    def _following(self, i: Value, j: Value, rows: int, cols: int, number: int, passes: int) -> list[Stream]:
        """A tile's part in fetching what only the next row of tiles reads, in pass ``number`` of ``passes``.

        Rows that are read once, in pieces as wide as a tile, would else come at memory's latency. Where products take much
        longer than memory, nothing is fetched.
        """
        b, g, frame, tile = self.owner.b, self.owner.g, self.owner.frame, self.owner.spec.tile
        alone = self.images == g.groups == len(g.rows.classes) == len(g.cols.classes) == 1
        if frame.staged or not alone or self.owner.spec.input.nbytes < FAR:
            return []
        region = Region.of(self.owner.spec.input, g.rows, g.cols, rows, g.channels_in)
        steps = self._steps
        lines = Fraction(region.all_lines * cols, g.cols.count * steps)
        if lines * room(rows * cols, tile.vectors) < Fraction(1, 2):
            return []
        behind = max(g.rows.reach(rows), rows * g.rows.advance) * frame.row_bytes
        start = b.around(self._first_input(i, b.int64(0)), behind)
        done = b.add(b.mul(j, passes), number * cols)
        return [region.stream(b, start, done, cols, passes * g.cols.count, Fraction(steps, passes))]

    def _pass(
        self, sums: Accumulators, pixels: list[tuple[int, int, int]], each: Pass, first: Value, live: Live | None,
        streams: list[Stream],
    ) -> None:  # fmt: skip
        """Adds the products of some rows of taps to the sums of those pixels that they concern."""
        b, g, frame, tile = self.owner.b, self.owner.g, self.owner.frame, self.owner.spec.tile
        row_step, col_step = g.rows.advance * frame.row_bytes, g.cols.advance * frame.pixel_bytes
        columns = set(range(self.cols.count)) if live is None else set().union(*live)
        some = [n for n, (_, r, c) in enumerate(pixels) if r in each.outputs and c in columns]
        if not some:
            return
        steps = None
        if live is not None and self.cols.taps > 1:
            steps = [[m for m, n in enumerate(some) if pixels[n][2] in tap] for tap in live]
        row, channel, column = self._levels()
        places = [
            pixels[n][0] * frame.image_bytes + pixels[n][1] * row_step + pixels[n][2] * col_step for n in some
        ]
        # From the first place that is read on, so that no address in between lies outside of the image.
        lowest = min(places)
        if steps is not None:
            lowest = min(places[m] + s * column.a_step for s, here in enumerate(steps) for m in here)
        contraction = Contraction(
            b,
            [place - lowest for place in places],
            tile.vectors,
            tile.share,
            b.lanes * b.item,
            steps,
            streams=streams,
        )
        a = b.around(first, b.add(b.mul(each.first, row.a_step), lowest))
        w = b.at(self.weights, b.mul(each.first, row.b_step))
        levels = [replace(row, count=each.count), channel, column]
        if self._in_sections:
            found = contraction.in_sections([sums[n] for n in some], a, w, channel, SECTION)
        else:
            found = contraction.run([sums[n] for n in some], a, w, levels)
        for n, result in zip(some, found, strict=True):
            sums[n] = result

    def _first_input(self, i: Value, j: Value) -> Value:
        """What tap (0, 0) of the tile's first pixel reads."""
        b, g, frame = self.owner.b, self.owner.g, self.owner.frame
        offset = (self.rows.first - g.rows.low) * frame.row_bytes
        offset += (self.cols.first - g.cols.low) * frame.pixel_bytes
        moved = b.around(self.frame, b.mul(i, g.rows.advance * frame.row_bytes))
        return b.around(b.around(moved, b.mul(j, g.cols.advance * frame.pixel_bytes)), offset)

    def _levels(self) -> list[Level]:
        g, frame = self.owner.g, self.owner.frame
        tap = g.block * g.item
        channel = self.owner.spec.conv.window.cols.kernel * tap
        return [
            Level(
                self.rows.taps, g.rows.tap_step * frame.row_bytes, g.rows.place_step * g.channels_in * channel
            ),
            Level(g.channels_in, g.item, channel),
            Level(self.cols.taps, g.cols.tap_step * frame.pixel_bytes, g.cols.place_step * tap),
        ]

    def _places(self, i: Value, j: Value, pixels: list[tuple[int, int, int]]) -> Places:
        b, g = self.owner.b, self.owner.g
        row = b.add(b.mul(b.add(i, self.row), g.rows.step), self.rows.start)
        col = b.add(b.mul(j, g.cols.step), self.cols.start)
        steps = [(n, r * g.rows.step, c * g.cols.step) for n, r, c in pixels]
        return Places(self.image, row, col, self.channel, steps)

    def _write(self, sums: Accumulators, places: Places) -> None:
        g = self.owner.g
        rest = g.channels_out - (g.blocks - 1) * g.block
        whole = g.groups == 1 and access.whole(self.owner.b, self.owner.spec.output)
        self.owner.writer.write(sums, places, self.block, g.blocks - 1, rest, whole)


def generate(spec: GatherSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(gather(spec, machine)).module()


def offer(spec: GatherSpec, machine: Machine) -> Offer:
    """Any geometry is served."""
    conv, size = spec.conv, ITEM_BYTES[spec.output.dtype]
    weights = conv.window.taps * conv.channels_in // conv.groups * conv.channels_out * size
    inputs, written = spec.epilogue.traffic(spec.output)
    read = spec.input.nbytes + inputs
    g = gather(spec, machine)
    share = 0.9 * g.channels_out / (g.blocks * g.block)
    seconds = predicted(machine, conv.flops, read + written, spec.output.dtype, share)
    name = "conv.direct" if isinstance(spec, ConvSpec) else "conv_dx.direct"
    return Offer(name, conv.flops, read, written, seconds, f"register tile, {weights} bytes of weights")
