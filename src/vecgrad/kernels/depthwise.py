"""Depthwise convolution, forward and data gradient: lanes are channels, and each has a filter of its own.

A tile of neighbouring outputs is held in registers; each input vector is loaded once and added to all outputs of the tile
that it meets, with weights that are vectors of channels too. Which taps meet an image is known for every tile when code is written,
so no product with padding is formed and nothing is staged. Weights are read as they are.

Loops: images → tile of rows → tile of columns → vector of channels → inputs, so that memory is read in the order in which it lies;
where weights are too many for registers: images → row → tile of columns → vector of channels → kernel rows → inputs of a row.
Of large images a tile fetches its part of the rows that the next row of tiles reads and writes. Behind a prologue rows of inputs
are made once and stay in a ring of as many as a tile meets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from vecgrad.kernels import access
from vecgrad.kernels._ahead import FAR
from vecgrad.kernels._depthwise_tile import Line, Run, depthwise_tile, lines, met_rows, near, refusal
from vecgrad.kernels._epilogue import Places, Writer
from vecgrad.kernels._prologue import Reader, Ring, operands
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.kernels.taps import AxisClass, GatherAxis, gather_axes
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import DepthwiseDxSpec, DepthwiseSpec, Epilogue
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout

_PLAIN = Epilogue()
# Which output of a tile, or which tap: (row, column).
_Cell = tuple[int, int]


def depthwise_spec(
    conv: Conv, dx: bool, input: Layout, output: Layout, machine: Machine, *,
    epilogue: Epilogue = _PLAIN, scalars: tuple[str, ...] = (),
) -> DepthwiseSpec:  # fmt: skip
    """The kernel of a direction."""
    kind = DepthwiseDxSpec if dx else DepthwiseSpec
    return kind(conv, input, output, depthwise_tile(conv, dx, machine), epilogue, scalars)


def offer(spec: DepthwiseSpec, machine: Machine) -> Offer | Refusal:
    """One filter for each channel."""
    name = "conv_dx.depthwise" if isinstance(spec, DepthwiseDxSpec) else "conv.depthwise"
    reason = refusal(spec.conv)
    if not reason and spec.prologue is not None:
        reason = _not_in_a_ring(spec, machine)
    if reason:
        return Refusal(name, reason)
    inputs, written = spec.epilogue.traffic(spec.output)
    read = spec.input.nbytes + inputs
    seconds = predicted(machine, spec.conv.flops, read + written, spec.output.dtype, 0.6)
    tile = spec.tile
    held = "all weights" if tile.held else "a kernel row of weights"
    return Offer(
        name,
        spec.conv.flops,
        read,
        written,
        seconds,
        f"{tile.rows} × {tile.cols} outputs and {held} in registers",
    )


def _not_in_a_ring(spec: DepthwiseSpec, machine: Machine) -> str:
    if isinstance(spec, DepthwiseDxSpec):
        return "a gradient has no prologue"
    if not (spec.tile.held and near(spec.conv, False, machine)):
        return "rows of inputs behind a prologue exceed the first-level cache, or weights the registers"
    return ""


def scratch_bytes(spec: DepthwiseSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses: the ring of rows behind a prologue."""
    if spec.prologue is None:
        return 0
    dtype = spec.input.dtype
    return Ring.nbytes(spec.input, met_rows(spec), machine.lanes(dtype), ITEM_BYTES[dtype])


def generate(spec: DepthwiseSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(spec, machine).module()


@dataclass(frozen=True)
class _Strip:
    """A row of tiles and a vector of channels: where the rows of inputs begin, the first weight's address, ``count`` lanes.

    source: of the first row; behind a prologue of each row that a tile meets.
    """

    source: list[Value]
    weights: Value
    place: Places
    count: int


@dataclass(frozen=True)
class _Rows:
    """What a row of outputs of a class reads: from input row ``first`` on, its taps ``begin`` … ``end`` − 1 within the image."""

    axis: GatherAxis
    each: AxisClass
    first: Value
    begin: Value
    end: Value


class _Generator:
    def __init__(self, spec: DepthwiseSpec, machine: Machine) -> None:
        self.spec = spec
        self.dx = isinstance(spec, DepthwiseDxSpec)
        self.rows, self.cols = lines(spec.conv, self.dx)
        self.b = b = Builder(machine, spec.output.dtype)
        self.item = ITEM_BYTES[spec.output.dtype]
        read = 1 + operands(spec.prologue)
        self.input, self.w = b.operand(0), b.operand(read)
        self.row_bytes, self.pixel_bytes = spec.input.row * self.item, spec.input.pitch * self.item
        self.ring = None
        if spec.prologue is not None:
            self.ring = Ring(b, Reader(b, spec.prologue, 1), spec.input, met_rows(spec))
            self.pixel_bytes = self.ring.pixel_bytes
        self.far = max(spec.input.nbytes, spec.output.nbytes) >= FAR
        self.tap_bytes = spec.conv.channels_in * self.item
        self.writer = Writer(b, spec.epilogue, spec.output, spec.scalars, read + 1)

    def module(self) -> str:
        b = self.b
        with b.loop(0, b.images) as image:
            source = b.at(self.input, b.mul(image.i, self.spec.input.nbytes))
            (self._tiles_of_rows if self.spec.tile.held else self._single_rows)(image.i, source)
        return b.function(self.spec.name)

    # --- all weights in registers ---------------------------------------------------------------------
    def _tiles_of_rows(self, image: Value, source: Value) -> None:
        b = self.b
        made = b.int64(0)
        for run in self.rows.runs(self.spec.tile.rows):
            with b.loop(0, run.count, carried=[made] if self.ring else []) as tile:
                row = b.add(b.mul(tile.i, run.size), run.first)
                if self.ring:
                    first = b.add(b.mul(tile.i, run.advance), run.source)
                    end = b.add(first, run.inputs[-1] + 1 if run.inputs else 0)
                    tile.again(self.ring.reach(source, tile.carried[0], end))
                    found = [self.ring.row(b.add(first, i)) for i in run.inputs]
                else:
                    moved = b.add(b.mul(tile.i, run.advance * self.row_bytes), run.source * self.row_bytes)
                    found = [b.at(source, moved)]
                self._along(found, image, row, partial(self._held, run))
            if self.ring:
                made = tile.results[0]

    def _held(self, run: Run, strip: _Strip, right: Run, tile: Value) -> None:
        taps = {(m.tap, n.tap) for m in run.meetings for n in right.meetings}
        weights = {tap: self._weight(strip, strip.weights, *tap) for tap in sorted(taps)}
        pixels = [self._pixel(source, right, tile) for source in strip.source]
        if run.inputs and not self.ring:
            self._fetch(pixels[0], run.inputs[-1] + 1, self._moved(self.rows, run.size), right)
        sums = self._zeros(run.size, right.size)
        for n, i in enumerate(run.inputs):
            line = pixels[n] if self.ring else self.b.at(pixels[0], i * self.row_bytes)
            down = [(m.t, m.tap) for m in run.at(i)]
            sums = self._row(sums, right, line, down, weights, strip.count)
        self._write(sums, strip, right, tile, run.size)

    # --- one kernel row of weights in registers -----------------------------------------------------------
    def _single_rows(self, image: Value, source: Value) -> None:
        b = self.b
        axis = gather_axes(self.spec.conv.window, "dx" if self.dx else "forward")[0]
        for each in axis.classes:
            with b.loop(0, each.count) as n:
                row = b.add(b.mul(n.i, axis.step), each.start)
                first = b.add(b.mul(n.i, axis.advance), each.first)
                begin = b.div(b.most(b.sub(axis.tap_step - 1, first), 0), axis.tap_step)
                last = b.div(b.most(b.add(b.sub(axis.size, first), axis.tap_step - 1), 0), axis.tap_step)
                rows = _Rows(axis, each, first, begin, b.least(last, each.taps))
                self._along([source], image, row, partial(self._row_by_row, rows))

    def _row_by_row(self, rows: _Rows, strip: _Strip, right: Run, tile: Value) -> None:
        b, kernel = self.b, self.spec.conv.window.kernel
        start, step = rows.each.place, rows.axis.place_step
        if self.dx:
            start, step = kernel[0] - 1 - start, -step
        pixel = self._pixel(strip.source[0], right, tile)
        last = b.add(rows.first, (rows.each.taps - 1) * rows.axis.tap_step)
        self._fetch(pixel, b.add(last, 1), rows.axis.advance, right)
        sums = self._zeros(1, right.size)
        with b.loop(rows.begin, rows.end, carried=list(sums.values())) as tap:
            now = dict(zip(sums, tap.carried, strict=True))
            met = b.add(b.mul(tap.i, rows.axis.tap_step), rows.first)
            line = b.at(pixel, b.mul(met, self.row_bytes))
            there = b.mul(b.add(b.mul(tap.i, step), start), kernel[1] * self.tap_bytes)
            of_row = b.at(strip.weights, there)
            weights = {
                (0, s): self._weight(strip, of_row, 0, s) for s in sorted({m.tap for m in right.meetings})
            }
            now = self._row(now, right, line, [(0, 0)], weights, strip.count)
            tap.again(*now.values())
        self._write(dict(zip(sums, tap.results, strict=True)), strip, right, tile, rows.axis.step)

    # --- both -------------------------------------------------------------------------------------------
    def _along(
        self, source: list[Value], image: Value, row: Value, body: Callable[[_Strip, Run, Value], None]
    ) -> None:
        """``body`` for each tile of columns of the rows of outputs from ``row`` on, and each vector of channels."""
        b, channels = self.b, self.spec.conv.channels_in
        rest = channels % b.lanes
        for right in self.cols.runs(self.spec.tile.cols):
            with b.loop(0, right.count) as tile:
                with b.loop(0, channels - rest, step=b.lanes) as channel:
                    body(self._strip(source, image, row, channel.i, b.lanes), right, tile.i)
                if rest:
                    strip = self._strip(source, image, row, b.int64(channels - rest), rest)
                    body(strip, right, tile.i)

    def _strip(self, source: list[Value], image: Value, row: Value, channel: Value, count: int) -> _Strip:
        b = self.b
        place = Places(image, row, b.int64(0), channel, ())
        return _Strip([b.entry(each, channel) for each in source], b.entry(self.w, channel), place, count)

    def _weight(self, strip: _Strip, weights: Value, r: int, s: int) -> Value:
        tap = r * self.cols.axis.kernel + s
        return self.b.load_lanes(self.b.at(weights, tap * self.tap_bytes), strip.count)

    def _pixel(self, source: Value, right: Run, tile: Index) -> Value:
        b = self.b
        moved = b.add(b.mul(tile, right.advance * self.pixel_bytes), right.source * self.pixel_bytes)
        return b.opaque(b.at(source, moved))

    def _moved(self, line: Line, outputs: int) -> int:
        """Inputs from one tile of so many outputs to the next."""
        stride = line.axis.stride
        return -(-outputs // stride) if self.dx else outputs * stride

    def _fetch(self, pixel: Value, row: Index, count: int, right: Run) -> None:
        """The ``count`` rows of inputs from ``row`` on, which the next row of tiles is the first to meet: a tile's part of them.

        Only of large images: smaller ones are still near, or hardware foresees them.
        """
        b = self.b
        if not self.far:
            return
        first = b.around(pixel, b.mul(row, self.row_bytes))
        for n in range(count):
            line = b.around(first, n * self.row_bytes)
            for j in right.inputs[: self._moved(self.cols, right.size)]:
                b.prefetch(b.around(line, j * self.pixel_bytes))

    def _zeros(self, rows: int, cols: int) -> dict[_Cell, Value]:
        return {(t, u): self.b.zero() for t in range(rows) for u in range(cols)}

    def _row(
        self,
        sums: dict[_Cell, Value],
        right: Run,
        line: Value,
        down: list[_Cell],
        weights: dict[_Cell, Value],
        count: int,
    ) -> dict[_Cell, Value]:
        """The products of one row of inputs; ``down``: the rows of outputs that it meets, through which kernel rows."""
        b, sums = self.b, dict(sums)
        count = b.lanes if self.ring or access.whole(b, self.spec.input) else count
        for j in right.inputs:
            x = b.load_lanes(b.at(line, j * self.pixel_bytes), count)
            met = [((t, m.t), (r, m.tap)) for t, r in down for m in right.at(j)]
            for cell, tap in met:
                sums[cell] = b.fma(x, weights[tap], sums[cell])
            cells = [cell for cell, _ in met]
            for cell, value in zip(cells, b.pinned([sums[cell] for cell in cells]), strict=True):
                sums[cell] = value
        return sums

    def _write(self, sums: dict[_Cell, Value], strip: _Strip, right: Run, tile: Value, below: int) -> None:
        """below: rows to the next row of tiles, whose places are fetched."""
        b = self.b
        col = b.add(b.mul(tile, right.size), right.first)
        place = replace(strip.place, col=col, pixels=[(0, t, u) for t, u in sums])
        whole = access.whole(b, self.spec.output)
        if self.far:
            self.writer.fetch(place, below)
        self.writer.write(
            [[value] for value in sums.values()], place, b.int64(0), 0, strip.count, whole, strip.count
        )
