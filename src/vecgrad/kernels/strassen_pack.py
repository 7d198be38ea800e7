"""Quadrants of weights and their sums for Strassen's products, once per update."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from vecgrad.kernels._seven import CHAINS, QUADRANTS, right
from vecgrad.kernels._transpose import transposed
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.spec.kernel import StrassenPackSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine

# Rows from one that is packed to the one whose lines are fetched.
_ROWS = 2


def offer(spec: StrassenPackSpec, machine: Machine) -> Offer:
    """Any weights whose halves are whole vectors are served."""
    size = ITEM_BYTES[spec.dtype]
    read, written = spec.inner * spec.outer * size, spec.entries * size
    return Offer("strassen.pack", 0, read, written, predicted(machine, 0, read + written, spec.dtype, 0.5))


def generate(spec: StrassenPackSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    b = Builder(machine, spec.dtype)
    each = 1 if spec.direction == "forward" else b.lanes
    rows = spec.inner // 2 // each
    total = spec.blocks * rows
    start = b.div(b.mul(b.begin, total), spec.tasks)
    end = b.div(b.mul(b.add(b.begin, 1), total), spec.tasks)
    with b.loop(start, end) as unit, b.loop(0, spec.block // b.lanes) as vector:
        if spec.direction == "forward":
            number, block = b.div(unit.i, spec.blocks), b.rem(unit.i, spec.blocks)
        else:
            block, number = b.div(unit.i, rows), b.rem(unit.i, rows)
        lane = b.mul(vector.i, b.lanes)
        column, row = b.add(b.mul(block, spec.block), lane), b.mul(number, each)
        place = b.add(b.mul(block, spec.block_entries), b.add(b.mul(row, spec.block), lane))
        (_forward if spec.direction == "forward" else _dx)(b, spec, row, column, b.entry(b.operand(1), place))
    return b.function(spec.name)


def _forward(b: Builder, spec: StrassenPackSpec, row: Value, column: Value, target: Value) -> None:
    """A vector of filters, from ``column`` on, of input channel ``row`` of either half."""
    half, k = spec.inner // 2, spec.conv.channels_out
    here = b.opaque(b.entry(b.operand(0), b.add(b.mul(row, k), column)))
    quadrants = {(i, j): (i * half * k + j * (k // 2)) * b.item for i, j in QUADRANTS}
    _fetch(b, here, quadrants.values(), _ROWS * k * b.item)
    planes = [number * spec.plane * b.item for number in range(CHAINS)]
    _fetch(b, target, planes, _ROWS * spec.block * b.item)
    found = {name: b.load(b.vector, b.at(here, offset), b.item) for name, offset in quadrants.items()}
    for make, plane in zip(right(b, lambda i, j: found[i, j]), planes, strict=True):
        b.store(make(), b.at(target, plane), b.item)


def _dx(b: Builder, spec: StrassenPackSpec, row: Value, column: Value, target: Value) -> None:
    """A square of a vector of input channels, from ``column`` on, by a vector of filters, from ``row`` on, of either half: W is
    transposed."""
    c, k = spec.conv.channels_in, spec.conv.channels_out
    here = b.opaque(b.entry(b.operand(0), b.add(b.mul(column, k), row)))
    target = b.opaque(target)

    def place(lane: int, i: int, j: int) -> int:
        return ((j * (c // 2) + lane) * k + i * (k // 2)) * b.item

    def line(lane: int, i: int, j: int) -> Value:
        return b.load(b.vector, b.at(here, place(lane, i, j)), b.item)

    _fetch(b, here, (place(lane, i, j) for i, j in QUADRANTS for lane in range(b.lanes)), b.lanes * b.item)
    for number in range(CHAINS):
        lines = [right(b, partial(line, lane))[number]() for lane in range(b.lanes)]
        places = [(number * spec.plane + lane * spec.block) * b.item for lane in range(b.lanes)]
        _fetch(b, target, places, b.lanes * spec.block * b.item)
        for values, offset in zip(transposed(b, lines), places, strict=True):
            b.store(values, b.at(target, offset), b.item)


def _fetch(b: Builder, start: Value, offsets: Iterable[int], ahead: int) -> None:
    """What lies ``ahead`` bytes behind the places that are read or written: many streams of short pieces, which hardware does not
    follow."""
    for offset in offsets:
        b.prefetch(b.around(start, offset + ahead))
