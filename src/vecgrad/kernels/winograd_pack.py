"""Weights into the Winograd domain: G w Gᵀ, once per update."""

from __future__ import annotations

from vecgrad.kernels import _winograd_steps as steps
from vecgrad.kernels._winograd_tiles import PLANES
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.kernels.pack import Square
from vecgrad.spec.kernel import WinogradPackSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.winograd import INPUTS, TAPS

_TAPS = TAPS * TAPS


def scratch_bytes(spec: WinogradPackSpec, machine: Machine) -> int:
    """Bytes of scratch: the columns between the two passes, and for dx a square of weights transposed."""
    lanes, vector = machine.lanes(spec.dtype), machine.vector_bits // 8
    squares = _TAPS * lanes * vector if spec.direction == "dx" else 0
    return INPUTS * TAPS * vector + squares


def offer(spec: WinogradPackSpec, machine: Machine) -> Offer:
    """Any 3 × 3 weights are served."""
    size = ITEM_BYTES[spec.dtype]
    r, s, c, k = spec.conv.weight_shape
    read, written = r * s * c * k * size, spec.entries * size
    return Offer("winograd.pack", 0, read, written, predicted(machine, 0, read + written, spec.dtype, 0.5))


def generate(spec: WinogradPackSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    b = Builder(machine, spec.dtype)
    packing = Packing(b, spec, b.operand(0), b.scratch)
    total = spec.blocks * packing.units
    start = b.div(b.mul(b.begin, total), spec.tasks)
    end = b.div(b.mul(b.add(b.begin, 1), total), spec.tasks)
    target = b.operand(1)
    with b.loop(start, end) as unit:
        block, within = b.div(unit.i, packing.units), b.rem(unit.i, packing.units)
        packing.unit(block, within, b.at(target, b.mul(block, spec.block_entries * b.item)))
    return b.function(spec.name)


class Packing:
    """Blocks of weights, unit by unit: one input channel's filters (forward), or those of a vector of filters (dx).

    plane: entries from a plane to the next, where it is not the spec's.
    """

    def __init__(
        self, b: Builder, spec: WinogradPackSpec, source: Value, scratch: Value, plane: int | None = None
    ) -> None:
        self.b, self.spec, self.source = b, spec, source
        self.plane = (spec.plane if plane is None else plane) * b.item
        self.columns = scratch
        self.square = b.at(scratch, INPUTS * TAPS * b.lanes * b.item)
        self.vectors = spec.block // b.lanes

    @property
    def units(self) -> int:
        """Units of a block."""
        if self.spec.direction == "forward":
            return self.spec.inner
        return -(-self.spec.inner // self.b.lanes)

    def unit(self, block: Value, unit: Value, target: Value, first: Index = 0) -> None:
        """To ``target``, where the lines of channels ``first`` … (of those that are summed over) lie."""
        (self._forward if self.spec.direction == "forward" else self._dx)(block, unit, target, first)

    def _forward(self, block: Value, c: Value, target: Value, first: Index) -> None:
        b, conv = self.b, self.spec.conv
        line = b.entry(self.source, b.mul(c, conv.channels_out))
        row = conv.channels_out * b.item
        tap = conv.channels_in * row
        place = b.entry(target, b.mul(b.sub(c, first), self.spec.block))
        with b.loop(0, self.vectors) as vector:
            k = b.add(b.mul(block, self.spec.block), b.mul(vector.i, b.lanes))
            here = b.entry(line, k)
            self._fetch(b.around(here, row), _TAPS, tap)
            there = b.entry(place, b.mul(vector.i, b.lanes))
            full, rest = divmod(conv.channels_out, b.lanes)
            number = b.div(k, b.lanes)
            with b.when(b.icmp("slt", number, full)):
                self._write(here, tap, False, b.lanes, there)
            with b.when(b.icmp("sge", number, full + (1 if rest else 0))):
                self._zeros(there)
            if rest:
                with b.when(b.icmp("eq", number, full)):
                    self._write(here, tap, False, rest, there)

    def _dx(self, block: Value, unit: Value, target: Value, first: Index) -> None:
        """Squares of a vector of channels by a vector of filters, transposed into scratch."""
        b, conv = self.b, self.spec.conv
        k = b.mul(unit, b.lanes)
        row = conv.channels_out * b.item
        tap = conv.channels_in * row
        width = b.lanes * b.item
        with b.loop(0, self.vectors) as vector:
            c = b.add(b.mul(block, self.spec.block), b.mul(vector.i, b.lanes))
            w = b.entry(self.source, b.add(b.mul(c, conv.channels_out), k))
            square = Square(b, self.spec, b.sub(conv.channels_in, c), b.sub(conv.channels_out, k))
            with b.loop(0, _TAPS) as n:
                here = b.at(w, b.mul(n.i, tap))
                self._fetch(b.around(here, b.lanes * row), b.lanes, row)
                square.write(here, b.at(self.square, b.mul(n.i, b.lanes * width)), width)
            with b.loop(0, b.least(b.lanes, b.sub(conv.channels_out, k))) as lane:
                line = b.mul(b.add(b.sub(k, first), lane.i), self.spec.block)
                line = b.add(line, b.mul(vector.i, b.lanes))
                source = b.at(self.square, b.mul(lane.i, width))
                self._write(source, b.lanes * width, True, b.lanes, b.entry(target, line))

    def _fetch(self, start: Value, count: int, step: int) -> None:
        """What the next turn reads: hardware does not follow lines whole rows of filters, or whole taps, apart."""
        here = self.b.opaque(start)
        for number in range(count):
            self.b.prefetch(self.b.around(here, number * step))

    def _write(self, source: Value, tap: int, turned: bool, lanes: int, target: Value) -> None:
        """One vector: nine taps, ``tap`` bytes apart, to 36 planes. ``turned``: the last tap first."""
        b = self.b
        width = b.lanes * b.item
        source, target = b.opaque(source), b.opaque(target)

        def load(r: int, s: int) -> Value:
            number = r * TAPS + s
            number = _TAPS - 1 - number if turned else number
            return b.load_lanes(b.at(source, number * tap), lanes)

        for s in range(TAPS):
            column = steps.weights(b, [load(r, s) for r in range(TAPS)])
            for i, value in enumerate(column):
                b.store(value, b.at(self.columns, (i * TAPS + s) * width), b.item)
        for i in range(INPUTS):
            row = [b.load(b.vector, b.at(self.columns, (i * TAPS + s) * width), b.item) for s in range(TAPS)]
            for j, value in enumerate(steps.weights(b, row)):
                b.store(value, b.at(target, (i * INPUTS + j) * self.plane), b.item)

    def _zeros(self, target: Value) -> None:
        b = self.b
        for n in range(PLANES):
            b.store(b.zero(), b.at(target, n * self.plane), b.item)
