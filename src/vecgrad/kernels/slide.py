"""Convolutions with few output channels: a window of sums slides along each row of outputs.

One input pixel meets a kernel row of neighbouring outputs. With few channels these fit a vector or two: lanes are
(column, channel) of a kernel row, and no lane idles but the last few. Column by column of the input, its products
are added to the window; then the window's first pixel is finished, is stored, and all others move down by a pixel's channels.
Nothing is scattered to memory, and no tap on padding is multiplied.

Loops: images → block of output channels → tile of rows of outputs → input columns → input channels → kernel rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vecgrad.kernels import access
from vecgrad.kernels._contract import unrolled
from vecgrad.kernels._epilogue import Places, Writer
from vecgrad.kernels._slide_tile import Run, Slide, held, refusal, slide_cycles, vectors
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.kernel import SlideDxSpec, SlidePackSpec, SlideSpec
from vecgrad.spec.machine import AVX512, ITEM_BYTES, Machine

# Multiply-adds in the body of the innermost loop, and steps in it at most.
_BODY = 160
_TURNS = 8


@dataclass(frozen=True)
class Shape:
    """What the generator needs to know about a spec."""

    spec: SlideSpec
    machine: Machine

    @property
    def direction(self) -> Literal["forward", "dx"]:
        return "dx" if isinstance(self.spec, SlideDxSpec) else "forward"

    @property
    def slide(self) -> Slide:
        return Slide(self.spec.conv, self.direction)

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.spec.output.dtype)

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.output.dtype]

    @property
    def vectors(self) -> int:
        """Of a window."""
        return vectors(self.slide, self.spec.tile, self.lanes)

    @property
    def pack(self) -> SlidePackSpec:
        """The order of the weights."""
        width = self.vectors * self.lanes
        dtype = self.spec.output.dtype
        return SlidePackSpec(self.spec.conv, self.direction, self.spec.tile.channels, width, dtype=dtype)


def offer(spec: SlideSpec, machine: Machine) -> Offer | Refusal:
    """One group, columns side by side."""
    shape = Shape(spec, machine)
    name = "conv_dx.slide" if shape.direction == "dx" else "conv.slide"
    reason = refusal(spec.conv, shape.direction)
    if reason:
        return Refusal(name, reason)
    inputs = sum(layout.nbytes for layout in spec.epilogue.inputs if layout.batched)
    cycles = slide_cycles(spec.conv, shape.direction, spec.output.dtype)
    seconds = cycles * AVX512.vector_bits / 8 / (machine.gflops * 1e9)
    read, written = spec.input.nbytes + inputs, spec.output.nbytes
    return Offer(name, spec.conv.flops, read, written, seconds, f"windows of {shape.vectors} vectors")


def generate(spec: SlideSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(Shape(spec, machine)).module()


class _Generator:
    def __init__(self, shape: Shape) -> None:
        self.shape, self.spec, self.slide = shape, shape.spec, shape.slide
        self.b = Builder(shape.machine, shape.spec.output.dtype)
        self.input, self.weights = self.b.operand(0), self.b.operand(1)
        self.writer = Writer(self.b, self.spec.epilogue, self.spec.output, self.spec.scalars, 2)
        self.width = shape.lanes * shape.item
        self.step_bytes = self.spec.conv.window.rows.kernel * shape.vectors * self.width

    def module(self) -> str:
        b, s = self.b, self.shape
        runs = self.slide.runs(self.spec.tile.rows)
        row = self.spec.input.row * s.item
        with b.loop(0, b.images) as image, b.loop(0, s.pack.blocks) as block:
            source = b.at(self.input, b.mul(image.i, self.spec.input.nbytes))
            weights = b.at(self.weights, b.mul(block.i, s.pack.block_entries * s.item))
            for run in runs:
                with b.loop(0, run.count) as tile:
                    place = Places(
                        image.i,
                        b.add(b.mul(tile.i, run.height), run.first),
                        b.int64(0),
                        b.mul(block.i, self.spec.tile.channels),
                        [(0, t, 0) for t in range(run.height)],
                    )
                    here = b.at(source, b.add(b.mul(tile.i, run.advance * row), run.source * row))
                    self._columns(run, here, weights, place, block.i)
        return b.function(self.spec.name)

    def _columns(self, run: Run, source: Value, weights: Value, place: Places, block: Value) -> None:
        """A tile's rows of outputs from left to right."""
        b, slide = self.b, self.slide
        sums = [b.zero()] * (run.height * self.shape.vectors)
        if slide.start > 0:
            with b.loop(0, min(slide.start, slide.width)) as empty:
                self._finished(run, sums, empty.i, place, block)
        with b.loop(0, slide.columns, carried=[*sums, source]) as loop:
            *sums, pixel = loop.carried
            sums = self._channels(run, sums, pixel, weights)
            first = b.add(b.mul(loop.i, slide.stride), slide.start)
            for n in range(slide.stride):
                sums = self._finished(run, sums, b.add(first, n), place, block)
            loop.again(*sums, b.at(pixel, self.spec.input.pitch * self.shape.item))
        reached = slide.columns * slide.stride + slide.start
        if reached < slide.width:
            with b.loop(reached, slide.width, carried=loop.results[:-1]) as rest:
                rest.again(*self._finished(run, rest.carried, rest.i, place, block))

    def _channels(self, run: Run, sums: list[Value], pixel: Value, weights: Value) -> list[Value]:
        """The products of one column of inputs."""
        b, count = self.b, self.slide.inner
        if not run.meetings:
            return sums
        most = max(min(_BODY // (run.products * self.shape.vectors), _TURNS), 1)
        turns = unrolled(count, most)
        if count == turns:
            return self._steps(run, sums, pixel, weights, turns)
        with b.loop(0, count // turns, carried=[*sums, pixel, weights]) as loop:
            *now, a, w = loop.carried
            now = self._steps(run, now, a, w, turns)
            loop.again(*now, b.at(a, turns * self.shape.item), b.at(w, turns * self.step_bytes))
        *sums, pixel, weights = loop.results
        return self._steps(run, sums, pixel, weights, count % turns)

    def _steps(
        self, run: Run, sums: Sequence[Value], pixel: Value, weights: Value, count: int
    ) -> list[Value]:
        result = list(sums)
        for step in range(count):
            a, w = self.b.at(pixel, step * self.shape.item), self.b.at(weights, step * self.step_bytes)
            self._step(run, result, a, w)
        return result

    def _step(self, run: Run, sums: list[Value], pixel: Value, weights: Value) -> None:
        """One input channel: every kernel row's weights meet the rows of inputs that are theirs."""
        b, v = self.b, self.shape.vectors
        row = self.spec.input.row * self.shape.item
        keeps = held(run, v, self.shape.machine)
        scalars = {p: b.load_splat(b.at(pixel, p * row)) for p in run.inputs} if keeps else {}
        for meeting in run.meetings:
            line = b.at(weights, meeting.tap * v * self.width)
            if keeps or len(meeting.rows) <= v:
                # All inputs at hand: each vector of weights is loaded when it is needed.
                here = [scalars[p] if keeps else b.load_splat(b.at(pixel, p * row)) for _, p in meeting.rows]
                for n in range(v):
                    vector = b.load(b.vector, b.at(line, n * self.width), self.width)
                    self._add(
                        sums, [(t * v + n, a) for (t, _), a in zip(meeting.rows, here, strict=True)], vector
                    )
            else:
                held_weights = [b.load(b.vector, b.at(line, n * self.width), self.width) for n in range(v)]
                for t, p in meeting.rows:
                    scalar = b.load_splat(b.at(pixel, p * row))
                    for n, vector in enumerate(held_weights):
                        sums[t * v + n] = b.fma(scalar, vector, sums[t * v + n])
                    self._pin(sums, range(t * v, t * v + v))

    def _add(self, sums: list[Value], terms: list[tuple[int, Value]], vector: Value) -> None:
        for n, scalar in terms:
            sums[n] = self.b.fma(scalar, vector, sums[n])
        self._pin(sums, [n for n, _ in terms])

    def _pin(self, sums: list[Value], which: Sequence[int]) -> None:
        for n, value in zip(which, self.b.pinned([sums[n] for n in which]), strict=True):
            sums[n] = value

    def _finished(
        self, run: Run, sums: Sequence[Value], col: Value, place: Places, block: Value
    ) -> list[Value]:
        """The windows' first pixels to output column ``col``, if there is one; the windows a pixel further."""
        b, s = self.b, self.shape
        v, channels = s.vectors, self.spec.tile.channels
        windows = [list(sums[t * v : (t + 1) * v]) for t in range(run.height)]
        pixels = [window[: -(-channels // b.lanes)] for window in windows]
        overwrite = s.pack.blocks == 1 and access.whole(b, self.spec.output)
        last = s.pack.blocks - 1
        rest = s.pack.outer - last * channels
        inside = b.icmp("ult", col, self.slide.width)
        with b.when(inside):
            there = Places(place.image, place.row, col, place.channel, place.pixels)
            self.writer.write(pixels, there, block, last, rest, overwrite, channels)
        return [value for window in windows for value in self._shifted(window, channels)]

    def _shifted(self, window: list[Value], lanes: int) -> list[Value]:
        """The window without its first ``lanes`` lanes, zeros behind."""
        b = self.b
        whole, part = divmod(lanes, b.lanes)
        longer = [*window, *[b.zero()] * (whole + 1)]
        if not part:
            return longer[whole : whole + len(window)]
        mask = ", ".join(f"i32 {part + n}" for n in range(b.lanes))
        return [
            b.let(b.vector, f"shufflevector {longer[n]}, {longer[n + 1]}, <{b.lanes} x i32> <{mask}>")
            for n in range(whole, whole + len(window))
        ]
