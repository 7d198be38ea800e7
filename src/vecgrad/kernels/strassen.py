"""1 × 1 convolutions, forward and data gradient, by seven products of quadrants for eight (Strassen, in Winograd's form).

Loops: blocks of pairs of pixels → sums of their inputs → block of channels of both halves → register tiles of pairs × channels →
seven chains. What a tile's four blocks of outputs share stays in registers or, between two chains, in a few lines of scratch: of
the algorithm's fifteen sums those of weights are made when weights change, those of inputs once for all outputs, and those of
outputs are where the next chain begins. With a prologue the quadrants that chains read as they are are copied beside these sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vecgrad.kernels import _strassen_cost as cost
from vecgrad.kernels._ahead import Stream
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._epilogue import Places, Writer
from vecgrad.kernels._prologue import Reader, operands
from vecgrad.kernels._seven import QUADRANTS, SUMS, Quadrant, left_sums
from vecgrad.kernels._winograd_tiles import apart
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import StrassenDxSpec, StrassenPackSpec, StrassenSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import size

# Register tiles that are kept for a while.
_KEPT = 3
# What a chain reads: a pixel of the pair and a half of its channels, or one of the sums.
_SOURCES: tuple[Quadrant | int, ...] = ((0, 0), (0, 1), 1, 2, (1, 1), 0, 3)
# Quadrants that are read as they are.
_AS_THEY_ARE: tuple[Quadrant, ...] = ((0, 0), (0, 1), (1, 1))
# Chains behind which nothing is stored: meanwhile the inputs of the following pairs are fetched.
_FETCHING = (0, 2, 3)
# The part of the second-level cache that weights may have for the next block of them to be found there; else each chain fetches
# its part of the plane that it will read then.
_WEIGHTS = 2
_LINE = 64


def pack(spec: StrassenSpec, machine: Machine) -> StrassenPackSpec:
    """The order of a kernel's packed weights."""
    direction: Literal["forward", "dx"] = "dx" if isinstance(spec, StrassenDxSpec) else "forward"
    return StrassenPackSpec(spec.conv, direction, spec.tile.vectors * machine.lanes(spec.output.dtype))


@dataclass(frozen=True)
class _Shape:
    """What the generator needs to know about a spec. Sizes in bytes."""

    spec: StrassenSpec
    machine: Machine

    @property
    def pack(self) -> StrassenPackSpec:
        return pack(self.spec, self.machine)

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.output.dtype]

    @property
    def pairs(self) -> int:
        """Of an image."""
        return size(self.spec.conv.window.in_size) // 2

    @property
    def pixel(self) -> int:
        return self.spec.input.pitch * self.item

    @property
    def half(self) -> int:
        """From a channel of the first half to that of the second."""
        return self.pack.inner // 2 * self.item

    @property
    def sum_row(self) -> int:
        """From a pair's sum to the next one's."""
        return apart(self.half)

    @property
    def sums(self) -> int:
        """From a kind of sums to the next."""
        return self.spec.tile.block * self.sum_row

    @property
    def copied(self) -> tuple[Quadrant, ...]:
        """Quadrants that lie behind the sums: the inputs' own memory does not hold them."""
        return _AS_THEY_ARE if self.spec.prologue else ()

    @property
    def kept(self) -> int:
        """A register tile that is kept."""
        return self.spec.tile.vectors * self.spec.tile.scalars * self.machine.vector_bits // 8

    @property
    def streamed(self) -> bool:
        """Whether weights come from beyond the second-level cache, block by block."""
        return self.pack.entries * self.item > self.machine.l2 // _WEIGHTS

    @property
    def operands(self) -> int:
        """The block's operands in scratch, in bytes: the sums, and what is copied."""
        return (SUMS + len(self.copied)) * self.sums

    @property
    def scratch(self) -> int:
        return self.operands + _KEPT * self.kept


def scratch_bytes(spec: StrassenSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return _Shape(spec, machine).scratch


def offer(spec: StrassenSpec, machine: Machine) -> Offer | Refusal:
    """1 × 1 kernels, stride 1, one group, float32, halves of channels in whole vectors."""
    direction = "dx" if isinstance(spec, StrassenDxSpec) else "forward"
    name = "conv.strassen" if direction == "forward" else "conv_dx.strassen"
    reason = cost.refusal(spec.conv, spec.output.dtype)
    if reason:
        return Refusal(name, reason)
    inputs, written = spec.epilogue.traffic(spec.output)
    read = spec.input.nbytes + inputs
    seconds = predicted(machine, spec.conv.flops * 7 / 8, read + written, spec.output.dtype, 0.9)
    note = f"7 products for 8, {pack(spec, machine).entries * 4} bytes of weights"
    return Offer(name, spec.conv.flops, read, written, seconds, note)


def generate(spec: StrassenSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(_Shape(spec, machine)).module()


class _Generator:
    def __init__(self, shape: _Shape) -> None:
        self.shape, self.spec = shape, shape.spec
        self.b = Builder(shape.machine, shape.spec.output.dtype)
        prologue = self.spec.prologue
        read = 1 + operands(prologue)
        self.input, self.weights = self.b.operand(0), self.b.operand(read)
        self.reader = Reader(self.b, prologue, 1) if prologue else None
        self.writer = Writer(self.b, self.spec.epilogue, self.spec.output, self.spec.scalars, read + 1)
        self.kept = [
            self.b.at(self.b.scratch, shape.operands + number * shape.kept) for number in range(_KEPT)
        ]

    def module(self) -> str:
        b, spec, pairs, blocks = self.b, self.spec, self.shape.pairs, self.shape.pack.blocks
        if spec.mode == "images":
            self._pairs(b.int64(0), b.mul(b.images, pairs), 0, blocks)
        else:
            n = b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")
            part, group = b.rem(b.begin, spec.parts), b.div(b.begin, spec.parts)
            start = b.mul(group, spec.images_per_group)
            end = b.least(n, b.add(start, spec.images_per_group))
            first = b.div(b.mul(part, blocks), spec.parts)
            last = b.div(b.mul(b.add(part, 1), blocks), spec.parts)
            self._pairs(b.mul(start, pairs), b.mul(end, pairs), first, last)
        return b.function(spec.name)

    def _pairs(self, start: Value, end: Value, first: Index, last: Index) -> None:
        """Pairs start … end of all images', a block at a time; blocks first … last of their channels."""
        b, tile = self.b, self.spec.tile
        with b.loop(start, end, step=tile.block) as loop:
            count = b.least(tile.block, b.sub(end, loop.i))
            x = b.at(self.input, b.mul(loop.i, 2 * self.shape.pixel))
            self._sum(x, count)
            runs = self._runs(count)
            following = b.around(x, tile.block * 2 * self.shape.pixel)
            with b.loop(first, last) as block:
                coming = b.around(following, b.mul(b.sub(block.i, first), self.share * tile.block))
                w = self._weights(block.i)
                # Behind the last block the first one is met again, by the next pairs or in the next task.
                after = b.add(block.i, 1)
                after = b.select(b.icmp("slt", after, last), after, b.add(first, 0))
                for width, begin, stop in runs:
                    with b.loop(begin, stop, step=width) as each:
                        _Tile(
                            self, x, (w, self._weights(after)), coming, loop.i, each.i, block.i, width
                        ).emit()

    def _weights(self, block: Value) -> Value:
        """Of a block of channels."""
        return self.b.at(self.weights, self.b.mul(block, self.shape.pack.block_entries * self.b.item))

    @property
    def share(self) -> int:
        """Bytes of a following pair that are fetched while one meets a block of channels, in whole lines."""
        blocks = -(-self.shape.pack.blocks // self.spec.parts)
        return -(-2 * self.shape.pixel // blocks // _LINE) * _LINE

    def _runs(self, count: Value) -> list[tuple[int, Index, Index]]:
        """(pairs of a register tile, from which pair on, to which), so that next to none holds a single pair: the fewest tiles,
        as equal as can be, where there are pairs enough for it."""
        b, wide = self.b, self.spec.tile.scalars
        if wide == 1:
            return [(1, 0, count)]
        tiles = b.div(b.add(count, wide - 1), wide)
        missing = b.sub(b.mul(tiles, wide), count)
        narrow = b.select(b.icmp("sle", missing, tiles), missing, b.int64(0))
        whole = b.select(b.icmp("sle", missing, tiles), b.sub(tiles, narrow), b.div(count, wide))
        first = b.mul(whole, wide)
        second = b.add(first, b.mul(narrow, wide - 1))
        runs: list[tuple[int, Index, Index]] = [(wide, 0, first), (wide - 1, first, second)]
        return [*runs, (1, second, count)] if wide > 2 else [(wide, 0, first), (1, first, count)]

    def _sum(self, x: Value, count: Value) -> None:
        """The four sums of the inputs of ``count`` pairs from ``x`` on, and the inputs that are copied."""
        b, s = self.b, self.shape
        width = b.lanes * b.item
        with b.loop(0, count) as pair:
            pixels = b.at(x, b.mul(pair.i, 2 * s.pixel))
            sums = b.at(b.scratch, b.mul(pair.i, s.sum_row))
            with b.loop(0, s.half, step=width) as channel:
                here, there = b.at(pixels, channel.i), b.at(sums, channel.i)
                values = {
                    (i, j): b.load(b.vector, b.at(here, i * s.pixel + j * s.half), b.item)
                    for i, j in QUADRANTS
                }
                if self.reader:
                    halves = [self.reader.vectors(b.add(channel.i, j * s.half), b.lanes) for j in range(2)]
                    values = {(i, j): self.reader.apply(x, halves[j]) for (i, j), x in values.items()}
                copied = (values[quadrant] for quadrant in s.copied)
                for number, value in enumerate((*left_sums(b, values), *copied)):
                    b.store(value, b.at(there, number * s.sums), width)


class _Tile:
    """``width`` pairs from number ``pair`` of a block on, by a block of channels of both halves.

    weights: the block's, and the next one's. coming: inputs of the following block of pairs, of which those that lie behind as many
    pairs are fetched meanwhile.
    """

    def __init__(
        self, owner: _Generator, x: Value, weights: tuple[Value, Value], coming: Value, first: Value, pair: Value, block: Value,
        width: int,
    ) -> None:  # fmt: skip
        self.owner, self.b, self.kept = owner, owner.b, owner.kept
        self.vectors = owner.spec.tile.vectors
        self.x, self.coming = x, coming
        self.w, self.next = weights
        self.first, self.pair, self.block, self.width = first, pair, block, width

    def emit(self) -> None:
        """y₁₁ = p₁ + p₂; with u = p₁ + p₆ and v = u + p₇: y₂₁ = v − p₄, y₂₂ = v + p₅, y₁₂ = u + p₅ + p₃."""
        first, second, third = self.kept
        sums = self._chain(self._zeros(), 0)
        self._keep(sums, first)
        self._write(self._chain(sums, 1, (0, 0)), (0, 0))
        sums = self._chain(self._again(first), 2)
        self._keep(sums, first)
        sums = self._chain(sums, 3)
        self._keep(sums, second)
        self._write(self._chain(sums, 4, (1, 0)), (1, 0))
        sums = self._chain(self._zeros(), 5, (1, 1))
        self._keep(sums, third)
        self._write(self._plus(sums, second), (1, 1))
        sums = self._plus(self._again(third), first)
        self._write(self._chain(sums, 6, (0, 1)), (0, 1))

    def _zeros(self) -> Accumulators:
        return [[self.b.zero() for _ in range(self.vectors)] for _ in range(self.width)]

    def _lines(self, memory: Value) -> list[list[Value]]:
        """Where a kept register tile's vectors lie."""
        line = self.b.lanes * self.b.item
        return [
            [self.b.at(memory, (n * self.vectors + v) * line) for v in range(self.vectors)]
            for n in range(self.width)
        ]

    def _keep(self, sums: Accumulators, memory: Value) -> None:
        for row, line in zip(sums, self._lines(memory), strict=True):
            for value, place in zip(row, line, strict=True):
                self.b.store(value, place, self.b.lanes * self.b.item)

    def _again(self, memory: Value) -> Accumulators:
        b = self.b
        return [[b.load(b.vector, place, b.lanes * b.item) for place in line] for line in self._lines(memory)]

    def _plus(self, sums: Accumulators, memory: Value) -> Accumulators:
        return [
            [self.b.fadd(value, other) for value, other in zip(row, line, strict=True)]
            for row, line in zip(sums, self._again(memory), strict=True)
        ]

    def _chain(self, sums: Accumulators, number: int, written: Quadrant | None = None) -> Accumulators:
        """The sums with the products of chain ``number``. written: outputs whose places are fetched meanwhile."""
        b, s = self.b, self.owner.shape
        inner = s.pack.inner // 2
        source = _SOURCES[number]
        if not isinstance(source, int) and s.copied:
            source = SUMS + s.copied.index(source)
        if isinstance(source, int):
            step = s.sum_row
            a = b.at(b.at(b.scratch, source * s.sums), b.mul(self.pair, step))
        else:
            step = 2 * s.pixel
            a = b.at(b.at(self.x, source[0] * s.pixel + source[1] * s.half), b.mul(self.pair, step))
        streams = []
        if written is not None:
            streams = self.owner.writer.streams(self._places(written), self.vectors, inner)
        elif number in _FETCHING:
            streams = [self._following(_FETCHING.index(number))]
        if s.streamed:
            streams.append(self._next(number))
        offsets = [n * step for n in range(self.width)]
        contraction = Contraction(b, offsets, self.vectors, 1, b.lanes * b.item, streams=streams)
        w = b.at(self.w, number * s.pack.plane * b.item)
        return contraction.run(sums, a, w, [Level(inner, b.item, s.pack.block * b.item)])

    def _following(self, number: int) -> Stream:
        """The part of the ``number``-th of the chains that fetch."""
        b, share = self.b, self.owner.share
        lines = -(-self.width * share // _LINE // len(_FETCHING))
        start = b.add(b.mul(self.pair, share), number * lines * _LINE)
        return Stream(b.around(self.coming, start), 1, _LINE, lines, self.owner.shape.pack.inner // 2)

    def _next(self, number: int) -> Stream:
        """The part of as many pairs of the next block's plane for chain ``number``."""
        b, s = self.b, self.owner.shape
        each = -(-s.pack.plane * b.item // self.owner.spec.tile.block // _LINE)
        start = b.add(b.mul(self.pair, each * _LINE), number * s.pack.plane * b.item)
        return Stream(b.around(self.next, start), 1, _LINE, self.width * each, s.pack.inner // 2)

    def _places(self, quadrant: Quadrant) -> Places:
        """Of the outputs of a quadrant: all images' pixels are one row."""
        b, pack = self.b, self.owner.shape.pack
        pixel = b.add(b.mul(b.add(self.first, self.pair), 2), quadrant[0])
        channel = b.add(b.mul(self.block, pack.block), quadrant[1] * (pack.outer // 2))
        zero = b.int64(0)
        return Places(zero, zero, pixel, channel, [(0, 0, 2 * n) for n in range(self.width)])

    def _write(self, sums: Accumulators, quadrant: Quadrant) -> None:
        pack = self.owner.shape.pack
        places = self._places(quadrant)
        self.owner.writer.write(sums, places, self.block, pack.blocks - 1, pack.block, overwrite=True)
