"""Weights in the order in which a sliding window reads them, once per update."""

from __future__ import annotations

from vecgrad.kernels._cases import cases
from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.spec.kernel import SlidePackSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine


def offer(spec: SlidePackSpec, machine: Machine) -> Offer:
    """Any weights are served."""
    size = ITEM_BYTES[spec.dtype]
    r, s, c, k = spec.conv.weight_shape
    read, written = r * s * c * k * size, spec.entries * size
    return Offer("slide.pack", 0, read, written, predicted(machine, 0, read + written, spec.dtype, 0.2))


def generate(spec: SlidePackSpec, machine: Machine) -> str:
    """LLVM IR of the kernel: tasks share (block, channel that is summed over)."""
    b = Builder(machine, spec.dtype)
    total = spec.blocks * spec.inner
    start = b.div(b.mul(b.begin, total), spec.tasks)
    end = b.div(b.mul(b.add(b.begin, 1), total), spec.tasks)
    source, target = b.operand(0), b.operand(1)
    height, width = spec.conv.window.kernel
    line = spec.width * b.item
    with b.loop(start, end) as unit:
        block, channel = b.div(unit.i, spec.inner), b.rem(unit.i, spec.inner)
        with b.loop(0, height) as row:
            place = b.at(target, b.mul(b.add(b.mul(unit.i, height), row.i), line))
            fill_run(b, place, spec.width)
            with b.loop(0, width) as col:
                tap = b.add(b.mul(row.i, width), col.i)
                w = b.entry(source, b.mul(tap, spec.conv.channels_in * spec.conv.channels_out))
                if spec.direction == "forward":
                    here = b.at(place, b.mul(b.sub(width - 1, col.i), spec.block * b.item))
                    _forward(b, spec, w, here, block, channel)
                else:
                    here = b.at(place, b.mul(col.i, spec.block * b.item))
                    _dx(b, spec, w, here, block, channel)
    return b.function(spec.name)


def _forward(b: Builder, spec: SlidePackSpec, w: Value, place: Value, block: Value, channel: Value) -> None:
    """One channel's filters of the block."""
    here = b.entry(w, b.add(b.mul(channel, spec.outer), b.mul(block, spec.block)))
    last = spec.blocks - 1
    for count in cases(b, block, last, spec.block, spec.outer - last * spec.block):
        copy_run(b, place, here, count)


def _dx(b: Builder, spec: SlidePackSpec, w: Value, place: Value, block: Value, filter: Value) -> None:
    """One filter's channels of the block, each from a line of its own."""
    first = b.mul(block, spec.block)
    here = b.entry(w, b.add(b.mul(first, spec.inner), filter))
    with b.loop(0, b.least(spec.block, b.sub(spec.outer, first))) as c:
        value = b.load(b.real, b.at(here, b.mul(c.i, spec.inner * b.item)), b.item)
        b.store(value, b.at(place, b.mul(c.i, b.item)), b.item)
