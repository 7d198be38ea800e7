"""Weights into the order in which tiles read them, once per update: less than a hundredth of a step."""

from __future__ import annotations

from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels._transpose import transposed
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.spec.kernel import PackSpec, WinogradPackSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine


def units(spec: PackSpec, machine: Machine) -> int:
    """The parts that tasks share: weight rows (forward), squares of a vector by a vector in each group (dx)."""
    conv, lanes = spec.conv, machine.lanes(spec.dtype)
    if spec.direction == "forward":
        return conv.window.taps * (conv.channels_in // conv.groups)
    return conv.groups * spec.blocks * (spec.block // lanes) * -(-(conv.channels_out // conv.groups) // lanes)


def generate(spec: PackSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    b = Builder(machine, spec.dtype)
    total = units(spec, machine)
    start = b.div(b.mul(b.begin, total), spec.tasks)
    end = b.div(b.mul(b.add(b.begin, 1), total), spec.tasks)
    (_forward if spec.direction == "forward" else _dx)(b, spec, start, end)
    return b.function(spec.name)


def offer(spec: PackSpec, machine: Machine) -> Offer:
    """Any weights are served."""
    size = ITEM_BYTES[spec.dtype]
    r, s, c, k = spec.conv.weight_shape
    read, written = r * s * c * k * size, spec.entries * size
    return Offer("conv.pack", 0, read, written, predicted(machine, 0, read + written, spec.dtype, 0.5))


def _forward(b: Builder, spec: PackSpec, start: Value, end: Value) -> None:
    """Rows (r, c, s) start … end of the packed blocks."""
    conv, item = spec.conv, b.item
    source, target = b.operand(0), b.operand(1)
    channels, filters = conv.channels_in // conv.groups, conv.channels_out // conv.groups
    columns = conv.window.cols.kernel
    whole, rest = divmod(filters, spec.block)

    def rows(source_block: Value, target_block: Value, count: int) -> None:
        with b.loop(start, end) as row:
            s, outer = b.rem(row.i, columns), b.div(row.i, columns)
            c, r = b.rem(outer, channels), b.div(outer, channels)
            origin = b.add(b.mul(b.add(b.mul(r, columns), s), channels), c)
            line = b.at(source_block, b.mul(origin, conv.channels_out * item))
            place = b.at(target_block, b.mul(row.i, spec.block * item))
            copy_run(b, place, line, count)
            fill_run(b, b.at(place, count * item), spec.block - count)

    with b.loop(0, conv.groups) as group:
        line = b.at(source, b.mul(group.i, filters * item))
        blocks = b.at(target, b.mul(group.i, spec.blocks * spec.block_entries * item))
        with b.loop(0, whole) as block:
            rows(
                b.at(line, b.mul(block.i, spec.block * item)),
                b.at(blocks, b.mul(block.i, spec.block_entries * item)),
                spec.block,
            )
        if rest:
            rows(b.at(line, whole * spec.block * item), b.at(blocks, whole * spec.block_entries * item), rest)


def _dx(b: Builder, spec: PackSpec, start: Value, end: Value) -> None:
    """Units ((group · blocks + block) · vectors of c + vector of c) · vectors of k + vector of k, start … end:
    for every tap a square of channels × filters, written with the channels in the lanes."""
    conv, item = spec.conv, b.item
    filters, channels = conv.channels_out // conv.groups, conv.channels_in // conv.groups
    height, width = conv.window.kernel
    vectors, inner = -(-filters // b.lanes), spec.block // b.lanes
    source, target = b.operand(0), b.operand(1)
    with b.loop(start, end) as unit:
        vector, rest = b.rem(unit.i, vectors), b.div(unit.i, vectors)
        part, block = b.rem(rest, inner), b.div(rest, inner)
        group, within = b.div(block, spec.blocks), b.rem(block, spec.blocks)
        k = b.mul(vector, b.lanes)
        c = b.add(b.mul(within, spec.block), b.mul(part, b.lanes))
        w = b.entry(source, b.add(b.mul(c, conv.channels_out), b.add(b.mul(group, filters), k)))
        packed = b.entry(target, b.add(b.mul(block, spec.block_entries), b.mul(part, b.lanes)))
        packed = b.entry(packed, b.mul(k, width * spec.block))
        square = Square(b, spec, b.sub(channels, c), b.sub(filters, k))
        with b.loop(0, height) as r, b.loop(0, width) as q:
            tap = b.add(b.mul(r.i, width), q.i)
            lines = b.at(w, b.mul(tap, channels * conv.channels_out * item))
            line = b.add(b.mul(b.sub(height - 1, r.i), filters * width), b.sub(width - 1, q.i))
            square.write(lines, b.at(packed, b.mul(line, spec.block * item)), width * spec.block * item)


class Square:
    """A vector by a vector of weights, of which ``channels`` × ``filters`` exist: the rest is zeros, and unwritten.

    Only a square that may reach beyond the weights is masked; the masks are runtime values, so that one body
    serves all squares.
    """

    def __init__(
        self, b: Builder, spec: PackSpec | WinogradPackSpec, channels: Value, filters: Value
    ) -> None:
        self.b = b
        self.row = spec.conv.channels_out * b.item
        self.partial_rows = (spec.conv.channels_in // spec.conv.groups) % spec.block != 0
        self.partial_columns = (spec.conv.channels_out // spec.conv.groups) % b.lanes != 0
        self.channels, self.filters = channels, filters
        self.columns = self._first(filters) if self.partial_columns else b.first_lanes(b.lanes)

    def _first(self, count: Value) -> Value:
        """A mask whose first ``count`` lanes are on."""
        b = self.b
        numbers = Value("<" + ", ".join(f"i64 {n}" for n in range(b.lanes)) + ">", f"<{b.lanes} x i64>")
        return b.let(f"<{b.lanes} x i1>", f"icmp slt {numbers}, {b.splat(count).text}")

    def write(self, source: Value, target: Value, stride: int) -> None:
        """Reads rows of filters at ``source``, writes columns of channels at ``target``, ``stride`` bytes apart."""
        b = self.b
        source, target = b.opaque(source), b.opaque(target)
        lines = [self._line(b.at(source, lane * self.row), lane) for lane in range(b.lanes)]
        for lane, values in enumerate(transposed(b, lines)):
            place = b.at(target, lane * stride)
            if self.partial_columns:
                with b.when(b.icmp("slt", lane, self.filters)):
                    b.store(values, place, b.lanes * b.item)
            else:
                b.store(values, place, b.lanes * b.item)

    def _line(self, place: Value, lane: int) -> Value:
        """The filters of channel ``lane``; zeros where there is no such filter or channel."""
        b = self.b
        if not (self.partial_rows or self.partial_columns):
            return b.load(b.vector, place, b.item)
        mask = self.columns
        if self.partial_rows:
            there = b.icmp("slt", lane, self.channels)
            mask = b.let(mask.type, f"select {there}, {mask}, {mask.type} zeroinitializer")
        return b.load_masked(place, mask)
