"""Winograd's F(4 × 4, 3 × 3), weight gradient: dW = Gᵀ [Σ (A dy Aᵀ) ∘ (Bᵀ x B)] G over all tiles of all images.

Loops: blocks of tiles → x and dy into the Winograd domain → plane → register tiles of input channels × vectors of
output channels → tiles. The 36 sums of each pair of channels lie in scratch from the first tile to the last, and
come back from the domain once. Where a task's tiles are one block, x goes into the domain once, and output channels follow
in turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vecgrad.kernels import _winograd_steps as steps
from vecgrad.kernels._ahead import Ahead
from vecgrad.kernels._cases import cases
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._prologue import operands
from vecgrad.kernels._prologue_patches import ProloguePatches
from vecgrad.kernels._prologue_patches import refusal as left
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels._slab import moved, reached
from vecgrad.kernels._unpooled import UnpooledPatches
from vecgrad.kernels._winograd_cost import dw_cycles, refusal, seconds
from vecgrad.kernels._winograd_grid import PLANES, Grid, Needed
from vecgrad.kernels._winograd_tiles import Domain, Interleaved, Patches, apart
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.kernel import WinogradDwSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.winograd import INPUTS, OUTPUTS, TAPS

_LINE = 64


@dataclass(frozen=True)
class Shape:
    """What the generator needs to know about a spec, and where scratch lies."""

    spec: WinogradDwSpec
    machine: Machine

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.dy.dtype]

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.spec.dy.dtype)

    @property
    def grid(self) -> Grid:
        return Grid(*self.spec.conv.window.out_size)

    @property
    def x(self) -> Patches:
        (top, _), (left, _) = self.spec.conv.window.padding
        place, prologue = (self.spec.input, self.grid, INPUTS, -top, -left), self.spec.prologue
        return ProloguePatches(*place, steps.inputs, self.spec.c_block, self.item, prologue)

    @property
    def dy(self) -> Patches:
        return UnpooledPatches(
            self.spec.dy,
            self.grid,
            OUTPUTS,
            0,
            0,
            steps.gradients,
            self.spec.filters,
            self.item,
            self.spec.unpool,
        )

    @property
    def inputs(self) -> Interleaved:
        return Interleaved(self.spec.tile.block, self.spec.c_block, self.item)

    @property
    def gradients(self) -> Interleaved:
        return Interleaved(self.spec.tile.block, self.spec.filters, self.item)

    @property
    def sums(self) -> Domain:
        """Rows are input channels."""
        return Domain(self.spec.c_block, self.spec.filters, self.item)

    @property
    def zeros_bytes(self) -> int:
        """What a register tile's sums begin as."""
        return self.spec.tile.scalars * self.sums.tile

    @property
    def one_block(self) -> bool:
        """Whether a task's tiles are one block: its sums are stored once, and never loaded."""
        spec = self.spec
        return spec.mode == "blocks" and spec.images_per_group * self.grid.tiles <= spec.tile.block

    @property
    def places(self) -> tuple[int, ...]:
        """Where in scratch lie: memory of x's and of dy's patches, both in the domain, sums, columns, zeros; then the end."""
        sizes = (
            self.x.scratch_bytes,
            self.dy.scratch_bytes,
            self.inputs.nbytes,
            self.gradients.nbytes,
            self.sums.nbytes,
            TAPS * INPUTS * _LINE,
            self.zeros_bytes,
        )
        places = [0]
        for size in sizes:
            places.append(places[-1] + apart(size))
        return tuple(places)


def scratch_bytes(spec: WinogradDwSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return Shape(spec, machine).places[-1]


def offer(spec: WinogradDwSpec, machine: Machine) -> Offer | Refusal:
    """3 × 3 kernels, stride 1, one group, float32."""
    name = "conv_dw.winograd"
    reason = refusal(spec.conv, spec.dy.dtype) or left(spec.prologue, spec.k_blocks, machine)
    if reason:
        return Refusal(name, reason)
    read = spec.input.nbytes + (spec.unpool or spec.dy).nbytes
    images = max(1, spec.images_per_group)
    return Offer(
        name, spec.conv.flops, read, 0, seconds(dw_cycles(spec.conv, images), machine), "36 products for 144"
    )


def generate(spec: WinogradDwSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(Shape(spec, machine)).module()


class _Generator:
    def __init__(self, shape: Shape) -> None:
        self.shape, self.spec = shape, shape.spec
        self.b = Builder(shape.machine, shape.spec.dy.dtype)
        x_end = 1 + operands(self.spec.prologue)
        dy_end = x_end + (2 if self.spec.unpool else 1)
        self.x = tuple(self.b.operand(n) for n in range(x_end))
        self.dy = tuple(self.b.operand(n) for n in range(x_end, dy_end))
        self.slab = self.b.operand(dy_end)
        self.fetched = [self.b.operand(dy_end + 1 + n) for n in range(self.spec.fetched)]
        self.memory = [self.b.at(self.b.scratch, place) for place in shape.places[:-1]]

    def module(self) -> str:
        b, s, spec = self.b, self.shape, self.spec
        s.x.prepare(b, self.memory[0])
        s.dy.prepare(b, self.memory[1])
        if not s.one_block:
            fill_run(b, self.memory[6], s.zeros_bytes // s.item)
        if spec.mode == "images":
            self._sum(b.int64(0), b.images, b.int64(0), b.int64(0))
        else:
            c_block, task = b.rem(b.begin, spec.c_blocks), b.div(b.begin, spec.c_blocks)
            k_block, part = b.rem(task, spec.k_blocks), b.div(task, spec.k_blocks)
            self.slab = b.entry(self.slab, b.mul(part, spec.slab_stride))
            n = b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")
            start = b.mul(part, spec.images_per_group)
            c, k = b.mul(c_block, spec.c_block), b.mul(k_block, spec.k_block)
            self.slab = moved(b, spec, self.slab, c, k)
            first = b.mul(c, spec.conv.channels_out)
            self.fetched = [b.entry(array, first) for array in self.fetched]
            end = b.least(n, b.add(start, spec.images_per_group))
            self._sum(start, end, c, k)
        return b.function(spec.name)

    def _sum(self, start: Value, end: Value, c: Value, k: Value) -> None:
        """The gradient of the blocks of channels that begin at c and k, over images start … end."""
        b, s, spec = self.b, self.shape, self.spec
        begin, last = b.mul(start, s.grid.tiles), b.mul(end, s.grid.tiles)
        needed = Needed(s.grid)
        if s.one_block:
            count = b.most(0, b.sub(last, begin))  # a smaller batch leaves groups without images
            self._transform_x(c, begin, count, needed)
            with b.loop(0, spec.k_block, step=spec.filters) as turn:
                first = b.add(k, turn.i)
                self._add(c, first, begin, count, needed, begin, last)
                self._write(c, first)
            return
        with b.when(b.icmp("sle", end, start)):
            fill_run(b, self.memory[4], s.sums.nbytes // s.item)
        with b.loop(begin, last, step=spec.tile.block) as loop:
            count = b.least(spec.tile.block, b.sub(last, loop.i))
            self._transform_x(c, loop.i, count, needed)
            self._add(c, k, loop.i, count, needed, begin, last)
        self._write(c, k)

    def _transform_x(self, c: Value, tile: Value, count: Value, needed: Needed) -> None:
        b, s = self.b, self.shape
        s.x.transform(b, self.memory[0], self.x, c, tile, count, self.memory[2], s.inputs, needed)

    def _add(
        self, c: Value, k: Value, tile: Value, count: Value, needed: Needed, begin: Value, last: Value
    ) -> None:
        """The products of ``count`` tiles of the task's from ``begin`` to ``last``, whose x is in the domain."""
        b, s = self.b, self.shape
        s.dy.transform(b, self.memory[1], self.dy, k, tile, count, self.memory[3], s.gradients, needed)
        ends = needed.before(b, b.add(tile, count))
        counts = {kind: b.sub(ends[kind], place) for kind, place in needed.before(b, tile).items()}
        new = b.icmp("sle", tile, begin)
        is_last = b.icmp("sge", b.add(tile, self.spec.tile.block), last)
        with b.loop(0, PLANES) as plane:
            x = s.inputs.at(b, self.memory[2], plane.i)
            dy = s.gradients.at(b, self.memory[3], plane.i)
            sums = b.at(self.memory[4], b.mul(plane.i, s.sums.plane))
            if not self.spec.own:
                with b.when(is_last):
                    self._fetch_slab(plane.i, c, k)
            met = needed.of_plane(b, plane.i, counts)
            if s.one_block:
                self._products(x, dy, sums, met, new, plane.i, is_last, k)
            else:
                with b.when(b.icmp("sgt", b.select(new, b.int64(1), met), 0)):
                    self._products(x, dy, sums, met, new, plane.i, is_last, k)

    def _fetch_slab(self, plane: Value, c: Value, k: Value) -> None:
        """A quarter of the lines of a tap, in each of the 36 planes."""
        b, s, spec = self.b, self.shape, self.spec
        quarters = PLANES // (TAPS * TAPS)
        rows = -(-spec.c_block // quarters)
        line = spec.conv.channels_out * s.item
        tap, quarter = b.div(plane, quarters), b.rem(plane, quarters)
        first = b.add(b.mul(tap, spec.conv.channels_in), b.add(c, b.mul(quarter, rows)))
        place = b.around(self.slab, b.add(b.mul(first, line), b.mul(k, s.item)))
        Ahead(rows, spec.filters * s.item, line, 1, write=True).fetch(b, place, 0)

    def _fetch(self, plane: Value, c: Value, k: Value, channels: int, filters: int) -> None:
        """What the next call changes, of the channels of a register tile: in each plane a quarter of a tap."""
        b, s, spec = self.b, self.shape, self.spec
        quarters = PLANES // (TAPS * TAPS)
        rows, line = -(-channels // quarters), spec.conv.channels_out * s.item
        row = b.add(c, b.mul(b.rem(plane, quarters), rows))
        row = b.add(b.mul(b.div(plane, quarters), spec.conv.channels_in), row)
        ahead = Ahead(rows, filters * s.item, line, 1, write=True)
        for array in self.fetched:
            ahead.fetch(b, b.around(array, b.add(b.mul(row, line), b.mul(k, s.item))), 0)

    def _products(
        self, x: Value, dy: Value, sums: Value, count: Value, new: Value, plane: Value, is_last: Value, k: Value
    ) -> None:  # fmt: skip
        """One plane: every pair of channels, of output channels those from k on. Channels that do not exist are multiplied too,
        and not read. new: sums begin."""
        b, s, tile = self.b, self.shape, self.spec.tile
        width = tile.vectors * b.lanes
        with b.loop(0, self.spec.filters, step=width) as filters:
            there = b.entry(dy, filters.i)
            for first, end, channels in balanced(self.spec.c_block, tile.scalars):
                with b.loop(first, end, step=channels) as c:
                    place = b.entry(b.at(sums, b.mul(c.i, s.sums.tile)), filters.i)
                    if self.fetched:
                        with b.when(is_last):
                            self._fetch(plane, c.i, b.add(k, filters.i), channels, width)
                    self._tile(b.entry(x, c.i), there, place, channels, count, new)

    def _tile(self, x: Value, dy: Value, place: Value, channels: int, count: Value, new: Value) -> None:
        b, s, vectors = self.b, self.shape, self.spec.tile.vectors
        width = b.lanes * s.item
        at = [[n * s.sums.tile + v * width for v in range(vectors)] for n in range(channels)]
        contraction = Contraction(b, [n * s.item for n in range(channels)], vectors, 1, s.item)
        sums: Accumulators = contraction.zeros()
        if not s.one_block:
            old = b.select(new, self.memory[6], place)
            sums = [[b.load(b.vector, b.at(old, each), s.item) for each in row] for row in at]
        sums = contraction.run(sums, x, dy, [Level(count, s.inputs.tile, s.gradients.tile)])
        for row, values in zip(at, sums, strict=True):
            for each, value in zip(row, values, strict=True):
                b.store(value, b.at(place, each), s.item)

    def _write(self, c: Value, k: Value) -> None:
        """The sums back from the Winograd domain, to the slab."""
        b, s, conv = self.b, self.shape, self.spec.conv
        channels = self._real(c, self.spec.c_block, conv.channels_in)
        total = -(-conv.channels_out // b.lanes)
        start = b.div(k, b.lanes)
        vectors = self._real(start, self.spec.filters // b.lanes, total)
        rest = conv.channels_out - (total - 1) * b.lanes
        with b.loop(0, channels) as channel, b.loop(0, vectors) as vector:
            number = b.add(start, vector.i)
            source = b.at(self.memory[4], b.mul(channel.i, s.sums.tile))
            self._columns(b.at(source, b.mul(vector.i, b.lanes * s.item)))
            line = b.mul(b.add(c, channel.i), self.spec.slab_shape[1])
            target = reached(b, self.slab, b.add(line, b.mul(number, b.lanes)))
            for lanes in cases(b, number, total - 1, b.lanes, rest):
                self._rows(target, lanes)

    def _real(self, first: Value, block: int, total: int) -> Index:
        """How many of a block from ``first`` on exist."""
        return block if total % block == 0 else self.b.least(block, self.b.sub(total, first))

    def _columns(self, source: Value) -> None:
        b, s = self.b, self.shape
        for j in range(INPUTS):
            places = (b.at(source, (i * INPUTS + j) * s.sums.plane) for i in range(INPUTS))
            column = [b.load(b.vector, place, s.item) for place in places]
            for r, value in enumerate(steps.weight_gradients(b, column)):
                b.store(value, b.at(self.memory[5], (r * INPUTS + j) * _LINE), s.item)

    def _rows(self, target: Value, lanes: int) -> None:
        b, s = self.b, self.shape
        tap = math.prod(self.spec.slab_shape) * s.item
        for r in range(TAPS):
            places = (b.at(self.memory[5], (r * INPUTS + j) * _LINE) for j in range(INPUTS))
            row = [b.load(b.vector, place, s.item) for place in places]
            for q, value in enumerate(steps.weight_gradients(b, row)):
                b.store_lanes(value, b.at(target, (r * TAPS + q) * tap), lanes)
