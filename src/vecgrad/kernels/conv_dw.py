"""Direct weight gradient: no matrix of windows, no transposes.

Loops: images → block of rows → group → block of input channels (staged) → tile of output channels → taps →
tile of input channels → pixels. A tile's sums stay in registers over a block of rows that fits L1, and
lie in the slab between blocks: the chain of an entry is the same for any block.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vecgrad.kernels._ahead import Stream
from vecgrad.kernels._cases import cases, cut
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._dw_ahead import Following, Part, Rows
from vecgrad.kernels._dw_shape import DwShape
from vecgrad.kernels._dw_tile import compared
from vecgrad.kernels._dw_turned import Turned
from vecgrad.kernels._frame import Frame
from vecgrad.kernels._prologue import Reader, operands
from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels._slab import moved, reached
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import ConvDwSpec
from vecgrad.spec.machine import Machine


def scratch_bytes(spec: ConvDwSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return DwShape.of(spec, machine).places[-1]


def offer(spec: ConvDwSpec, machine: Machine) -> Offer | Refusal:
    """Any geometry is served."""
    conv = spec.conv
    if spec.tile.rowwise:
        direct, rowwise = compared(conv, spec.dy.dtype, machine)
        reason = f"{direct / 1e3:.1f} against {rowwise / 1e3:.1f} thousand cycles an image"
        return Refusal("conv_dw.direct", reason)
    read = spec.input.nbytes + spec.dy.nbytes
    shape = DwShape.of(spec, machine)
    if spec.prologue is not None and not shape.x_staged:
        return Refusal("conv_dw.direct", "x is read in place, and behind a prologue it would be a copy")
    straight = -(-shape.straight // shape.lanes) * shape.lanes
    share = 0.85 * shape.filters / max(straight + spec.tile.turned, 1)
    seconds = predicted(machine, conv.flops, read, spec.dy.dtype, share)
    return Offer("conv_dw.direct", conv.flops, read, 0, seconds, "sums in registers over blocks of rows")


def generate(spec: ConvDwSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(DwShape.of(spec, machine)).module()


@dataclass(frozen=True)
class _Dy:
    """Some channels of a block of rows of dy: the first pixel, bytes from an image, row and pixel to the next.

    kept: where whoever reads them copies them to; None: nowhere.
    """

    start: Value
    steps: tuple[int, int, int]
    kept: Value | None = None


class _Generator:
    def __init__(self, shape: DwShape) -> None:
        self.shape = shape
        self.spec = shape.spec
        self.tile = shape.spec.tile
        self.b = Builder(shape.machine, shape.spec.dy.dtype)
        prologue = self.spec.prologue
        read = 1 + operands(prologue)
        self.x, self.dy, self.slab = (self.b.operand(n) for n in (0, read, read + 1))
        self.reader = Reader(self.b, prologue, 1) if prologue else None
        self.turned = Turned(self.b, shape, self.dy)

    def module(self) -> str:
        (self._all if self.spec.mode == "images" else self._task)()
        return self.b.function(self.spec.name)

    # --- what to do: everything for a range of images, or one task ------------------------------------
    def _all(self) -> None:
        b, s = self.b, self.shape
        r, c, k, f = self.spec.conv.weight_shape
        fill_run(b, self.slab, r * c * k * f)
        self.turned.clear()
        whole, rest = divmod(s.channels, self.tile.c_block)

        def body(rows: Rows) -> None:
            with b.loop(0, self.spec.conv.groups) as group:
                tiles = s.straight // s.k_tile
                with b.loop(0, whole) as block:
                    channel = b.mul(block.i, self.tile.c_block)
                    self._part(rows, Part(group.i, channel, self.tile.c_block, 0, tiles), b.int64(1))
                if rest:
                    channel = b.int64(whole * self.tile.c_block)
                    self._part(rows, Part(group.i, channel, rest, 0, tiles), b.int64(1))

        self._walk(b.int64(0), b.images, body)
        with b.loop(0, whole) as block:
            self.turned.finish(self.slab, b.mul(block.i, self.tile.c_block), self.tile.c_block)
        self.turned.finish(self.slab, b.int64(whole * self.tile.c_block), rest)

    def _task(self) -> None:
        b, s, spec = self.b, self.shape, self.spec
        c_block, task = b.rem(b.begin, spec.c_blocks), b.div(b.begin, spec.c_blocks)
        k_block, task = b.rem(task, spec.k_blocks), b.div(task, spec.k_blocks)
        group, part = b.rem(task, spec.conv.groups), b.div(task, spec.conv.groups)
        slab = b.entry(self.slab, b.mul(part, spec.slab_stride))
        n = b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")
        start = b.mul(part, spec.images_per_group)
        end = b.least(n, b.add(start, spec.images_per_group))
        first = b.mul(k_block, s.tiles_per_block)
        tiles = b.least(b.add(first, s.tiles_per_block), s.straight // s.k_tile)
        is_last = b.let("i64", f"zext {b.icmp('eq', k_block, spec.k_blocks - 1)} to i64")
        last_channels = s.channels - (spec.c_blocks - 1) * self.tile.c_block
        for channels in cases(b, c_block, spec.c_blocks - 1, self.tile.c_block, last_channels):
            channel = b.mul(c_block, self.tile.c_block)
            self.slab = moved(b, spec, slab, channel, b.mul(k_block, self.tile.k_block))
            work = Part(group, channel, channels, first, tiles)
            self._clear(work, k_block)
            self.turned.clear()
            self._walk(start, end, functools.partial(self._part, part=work, with_rest=is_last))
            with b.when(b.icmp("ne", is_last, 0)):
                self.turned.finish(self.slab, channel, channels)

    def _clear(self, part: Part, k_block: Value) -> None:
        """Zeros in the task's block of the slab."""
        b, s, spec = self.b, self.shape, self.spec
        last = s.filters - (spec.k_blocks - 1) * self.tile.k_block
        for count in cases(b, k_block, spec.k_blocks - 1, self.tile.k_block, last):
            block = self._entry(part, b.mul(k_block, self.tile.k_block))
            with b.loop(0, spec.conv.window.taps) as tap, b.loop(0, part.channels) as channel:
                line = b.add(b.mul(tap.i, spec.slab_shape[0]), channel.i)
                fill_run(b, b.at(block, b.mul(line, spec.slab_shape[1] * s.item)), count)

    def _entry(self, part: Part, k: Index) -> Value:
        """The slab's entry (0, 0, first channel, k) of the part."""
        b, s = self.b, self.shape
        column = b.add(b.mul(part.group, s.filters), k)
        return reached(b, self.slab, b.add(b.mul(part.channel, self.spec.slab_shape[1]), column))

    # --- the walk over blocks of rows -----------------------------------------------------------------
    def _walk(self, start: Value, end: Value, body: Callable[[Rows], None]) -> None:
        """``body`` for each block of rows, or of several images where those are small."""
        b, s = self.b, self.shape
        with b.loop(start, end, step=s.images) as image:
            images = b.least(s.images, b.sub(end, image.i)) if s.images > 1 else 1
            if s.row_block == s.rows.count:
                body(Rows(image.i, images, 0, s.row_block))
                return
            with b.loop(0, s.rows.count, step=s.row_block) as row:
                exact = s.rows.count % s.row_block == 0
                rest = s.row_block if exact else b.least(s.row_block, b.sub(s.rows.count, row.i))
                body(Rows(image.i, images, row.i, rest))

    def _part(self, rows: Rows, part: Part, with_rest: Value) -> None:
        """One block of rows and of input channels: stage x, then each tile of k."""
        b, s = self.b, self.shape
        frame = s.frame(part.channels)
        source = b.at(self.x, b.mul(rows.image, self.spec.input.nbytes))
        channel = b.add(b.mul(part.group, s.channels), part.channel)
        source = b.entry(source, channel)
        copy = None
        if self.reader is not None:
            copy = functools.partial(self.reader.copy, offset=b.mul(channel, b.item))
        x = frame.stage(b, b.scratch, source, rows.row, rows.count, rows.images, copy)
        if s.straight >= s.k_tile:
            with b.loop(part.first, part.end, at_least_once=False) as tile:
                self._k_tile(rows, part, frame, x, b.mul(tile.i, s.k_tile), s.k_tile)
        rest = s.straight % s.k_tile
        if rest or self.tile.turned:
            with b.when(b.icmp("ne", with_rest, 0)):
                if rest:
                    self._k_tile(rows, part, frame, x, b.int64(s.straight - rest), rest)
                following = Following(b, s, (self.x, self.dy), rows, part)
                self.turned.add(following, frame, x, functools.partial(self._met, rows))

    def _k_tile(self, rows: Rows, part: Part, frame: Frame, x: Value, k: Value, count: int) -> None:
        """``count`` output channels from ``k`` on of the group: every tap and input channel of the part."""
        b, s, spec = self.b, self.shape, self.spec
        sources = self._sources(rows, part, k, count)
        block = self._entry(part, k)
        following = Following(b, s, (self.x, self.dy), rows, part)
        done = following.done(k)
        kernel_rows, kernel_cols = spec.conv.window.kernel
        for r0, r1, tr in cut(kernel_rows, self.tile.rows):
            for s0, s1, ts in cut(kernel_cols, self.tile.cols):
                with b.loop(r0, r1, step=tr) as r, b.loop(s0, s1, step=ts) as q:
                    met, skipped = self._met(rows, r.i, tr)
                    here = b.at(x, b.mul(r.i, s.rows.tap_step * frame.row_bytes))
                    here = b.at(here, b.mul(skipped, s.rows.advance * frame.row_bytes))
                    here = b.at(here, b.mul(q.i, s.cols.tap_step * frame.pixel_bytes))
                    tap = b.add(b.mul(r.i, kernel_cols), q.i)
                    visited = b.add(b.mul(r.i, kernel_cols), b.mul(q.i, tr))
                    visited = b.add(done, b.mul(visited, part.channels))
                    line = b.at(block, b.mul(tap, math.prod(spec.slab_shape) * s.item))
                    for dy, (c0, c1, tc) in self._tiles(sources, part.channels):
                        with b.loop(c0, c1, step=tc) as c:
                            self._tile(
                                met,
                                frame,
                                b.entry(here, c.i),
                                replace(dy, start=b.at(dy.start, b.mul(skipped, dy.steps[1]))),
                                b.at(line, b.mul(c.i, spec.slab_shape[1] * s.item)),
                                (tr, ts, tc),
                                count,
                                following.streams(b.add(visited, b.mul(c.i, tr * ts)), tr * ts * tc),
                            )

    def _tiles(self, sources: list[_Dy], channels: int) -> Iterator[tuple[_Dy, tuple[int, int, int]]]:
        """Runs of tiles of input channels, and from where each reads dy: the first one where it lies, if it copies it."""
        for first, end, width in cut(channels, self.tile.channels):
            if first == 0 and len(sources) > 1:
                yield sources[0], (0, width, width)
                first = width
            if first < end:
                yield sources[-1], (first, end, width)

    def _met(self, rows: Rows, r: Value, count: int) -> tuple[Rows, Index]:
        """Those of the rows whose products through kernel rows r … r + count − 1 are not all with padding; how many come before.

        A product with padding adds 0, so bits are the same.
        """
        b, s, axis = self.b, self.shape, self.spec.conv.window.rows
        if not s.leaves_out:
            return rows, 0
        reach = b.mul(r, axis.dilation)
        low = b.most(b.sub(axis.before - axis.dilation * (count - 1) + axis.stride - 1, reach), 0)
        end = b.most(b.sub(axis.size - 1 + axis.before + axis.stride, reach), 0)
        low, end = (b.sub(b.div(each, axis.stride), rows.row) for each in (low, end))
        low = b.least(b.most(low, 0), rows.count)
        end = b.least(b.most(end, low), rows.count)
        return replace(rows, count=b.sub(end, low)), low

    def _sources(self, rows: Rows, part: Part, k: Value, count: int) -> list[_Dy]:
        """dy's channels k … k + count of the block of rows: where it lies, copied, or both, the copy being made by what reads it
        first."""
        b, s, dy = self.b, self.shape, self.spec.dy
        source = b.at(self.dy, b.mul(rows.image, dy.nbytes))
        source = b.at(source, b.mul(rows.row, dy.row * s.item))
        source = b.entry(source, b.add(b.mul(part.group, s.filters), k))
        here = _Dy(source, (dy.nbytes, dy.row * s.item, dy.pitch * s.item))
        if not s.dy_staged:
            return [here]
        pixel = -(-count // s.lanes) * s.lanes * s.item
        line = s.cols.count * pixel
        copy = _Dy(b.at(b.scratch, s.places[0]), (s.row_block * line, line, pixel))
        if s.dy_passes(count):
            return [replace(here, kept=copy.start), copy]
        with b.loop(0, rows.images) as image, b.loop(0, rows.count) as row:
            there = b.at(copy.start, b.add(b.mul(image.i, copy.steps[0]), b.mul(row.i, line)))
            read = b.at(source, b.add(b.mul(image.i, here.steps[0]), b.mul(row.i, here.steps[1])))
            with b.loop(0, s.cols.count) as col:
                place = b.at(there, b.mul(col.i, pixel))
                copy_run(b, place, b.at(read, b.mul(col.i, here.steps[2])), count)
                fill_run(b, b.at(place, count * s.item), pixel // s.item - count)
        return [copy]

    def _tile(
        self,
        rows: Rows,
        frame: Frame,
        x: Value,
        dy: _Dy,
        slab: Value,
        shape: tuple[int, int, int],
        count: int,
        streams: list[Stream],
    ) -> None:
        """One register tile: load its sums, walk the pixels, store them."""
        b, s, conv = self.b, self.shape, self.spec.conv
        tr, ts, tc = shape
        taps = [(r, q, c) for r in range(tr) for q in range(ts) for c in range(tc)]
        row_step, col_step = s.rows.tap_step * frame.row_bytes, s.cols.tap_step * frame.pixel_bytes
        vectors = -(-count // s.lanes)
        tile = Contraction(
            b,
            [r * row_step + q * col_step + c * s.item for r, q, c in taps],
            vectors,
            self.tile.share,
            s.item,
            streams=streams,
            kept=dy.kept,
            hidden=True,
        )
        channels, filters = self.spec.slab_shape
        place = [((r * conv.window.cols.kernel + q) * channels + c) * filters * s.item for r, q, c in taps]
        real = [min(count - v * s.lanes, s.lanes) for v in range(vectors)]
        width = s.lanes * s.item

        def summed() -> Accumulators:
            return [
                [b.load_lanes(b.at(slab, at + v * width), real[v]) for v in range(vectors)] for at in place
            ]

        sums = tile.zeros() if self.spec.sections else summed()
        levels = [
            Level(rows.images, frame.image_bytes, dy.steps[0]),
            Level(rows.count, s.rows.advance * frame.row_bytes, dy.steps[1]),
            Level(s.cols.count, s.cols.advance * frame.pixel_bytes, dy.steps[2]),
        ]
        sums = tile.run(sums, x, dy.start, levels)
        if self.spec.sections:
            sums = [
                [b.fadd(*pair) for pair in zip(*rows, strict=True)]
                for rows in zip(summed(), sums, strict=True)
            ]
        for at, row in zip(place, sums, strict=True):
            for v, value in enumerate(row):
                b.store_lanes(value, b.at(slab, at + v * width), real[v])
