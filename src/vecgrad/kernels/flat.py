"""Kernels over the flat parameter arrays: update rules, and the sum of partial gradients.

Both are called once per record of a table of 64-bit integers (source, slab stride, slabs, destination,
length, parameter, update length), all counted in entries, and the factors of the parameter's group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vecgrad.kernels import access
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.maps import turns
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import RECORD_BYTES, RECORD_FIELDS, FlatMapSpec, SlabSumSpec, WeightBlocks
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.scalar import scalars

_SOURCE, _STRIDE, _SLABS, _DESTINATION, _LENGTH, _PARAMETER, _UPDATE_LENGTH, _RATE, _DECAY = range(
    RECORD_FIELDS
)
_COUNTS = (1, 2, 4, 8, 16)


def offer_map(spec: FlatMapSpec, machine: Machine) -> Offer | Refusal:
    """Price per entry of the arrays."""
    if spec.dtype not in access.REAL:
        return Refusal("flat.map", f"{spec.dtype} is not a real type")
    item = ITEM_BYTES[spec.dtype]
    work, read, written = cost(spec.exprs), item * spec.inputs, item * len(spec.exprs)
    seconds = predicted(machine, 2 * work, read + written, spec.dtype)
    return Offer("flat.map", work, read, written, seconds, "one run per record")


def generate_map(spec: FlatMapSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    operands = spec.inputs + len(spec.exprs)
    formula = Formula(b, spec.exprs, spec.scalars, _given(b, spec, 1 + operands))
    arrays = [b.operand(1 + n) for n in range(operands)]
    parameter = _field(b, _PARAMETER, every=spec.blocks is not None)
    if spec.blocks is None:
        _run(b, spec, formula, arrays, parameter, _field(b, _DESTINATION), _field(b, _UPDATE_LENGTH), 1)
    else:
        _block(b, spec, spec.blocks, formula, arrays, parameter)
    return b.function(spec.name)


def _run(
    b: Builder, spec: FlatMapSpec, formula: Formula, arrays: Sequence[Value],
    parameter: Value, gradient: Value, length: Value, unit: int,
) -> None:  # fmt: skip
    """The rule on a run of entries, a multiple of ``unit``, which begin at ``parameter`` and, of the gradient, at ``gradient``."""
    starts = [b.entry(a, gradient if n == spec.gradient else parameter) for n, a in enumerate(arrays)]

    def body(places: list[Value], mask: Value | None) -> None:
        rows = ([access.load_run(b, b.entry(a, i), mask) for a in starts[: spec.inputs]] for i in places)
        for i, values in zip(places, formula.side_by_side(rows), strict=True):
            for array, value in zip(starts[spec.inputs :], values, strict=True):
                access.store_run(b, value, b.entry(array, i), mask)

    access.each_vector(b, length, turns(formula), unit, body)


def _block(
    b: Builder, spec: FlatMapSpec, blocks: WeightBlocks, formula: Formula, arrays: Sequence[Value], parameter: Value
) -> None:  # fmt: skip
    """The rule on this task's block of weights, run by run."""
    c = b.mul(b.rem(b.begin, blocks.c_blocks), blocks.c_block)
    k = b.mul(b.div(b.begin, blocks.c_blocks), blocks.k_block)
    channels = b.least(blocks.c_block, b.sub(blocks.channels_in, c))
    filters = b.least(blocks.k_block, b.sub(blocks.channels_out, k))
    unit = math.gcd(blocks.k_block, blocks.channels_out)
    with b.loop(0, blocks.taps) as tap, b.loop(0, channels) as channel:
        row = b.add(b.mul(tap.i, blocks.channels_in), b.add(c, channel.i))
        there = b.add(parameter, b.add(b.mul(row, blocks.channels_out), k))
        here = b.mul(b.add(b.mul(tap.i, blocks.c_block), channel.i), blocks.k_block)
        _run(b, spec, formula, arrays, there, here, filters, unit)


def offer_slabs(spec: SlabSumSpec, machine: Machine) -> Offer | Refusal:
    """Price per entry of the destination and slab."""
    if spec.dtype not in access.REAL:
        return Refusal("flat.slabs", f"{spec.dtype} is not a real type")
    item = ITEM_BYTES[spec.dtype]
    return Offer(
        "flat.slabs", 1, item, item, predicted(machine, 1, 2 * item, spec.dtype), "a tree over slabs"
    )


def generate_slabs(spec: SlabSumSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    source = b.entry(b.operand(1), _field(b, _SOURCE))
    target = b.entry(b.operand(2), _field(b, _DESTINATION))
    stride, length, slabs = _field(b, _STRIDE), _field(b, _LENGTH), _field(b, _SLABS)
    for count in _COUNTS:
        with b.when(b.icmp("eq", slabs, count)):
            _sum_slabs(b, count, source, stride, target, length)
    return b.function(spec.name)


def _sum_slabs(b: Builder, count: int, source: Value, stride: Value, target: Value, length: Value) -> None:
    starts = [b.entry(source, b.mul(stride, number)) for number in range(count)]

    def body(places: list[Value], mask: Value | None) -> None:
        for i in places:
            values = [access.load_run(b, b.entry(start, i), mask) for start in starts]
            while len(values) > 1:
                values = [b.fadd(left, right) for left, right in zip(values[::2], values[1::2], strict=True)]
            access.store_run(b, values[0], b.entry(target, i), mask)

    access.each_vector(b, length, 2 if count <= 4 else 1, 1, body)


def _given(b: Builder, spec: FlatMapSpec, last: int) -> dict[str, Value]:
    """The scalars that are no runtime scalars of the step: the group's factors, and numbers measured from the arrays."""
    used = {name for expr in spec.exprs for name in scalars(expr)}
    fields = (("group.rate", _RATE), ("group.decay", _DECAY))
    every = spec.blocks is not None
    given = {name: b.rounded(_place(b, field, every)) for name, field in fields if name in used}
    if spec.measured:
        numbers = b.operand(last)
        for i in range(spec.measured):
            given[f"measured.{i}"] = b.load(b.real, b.entry(numbers, i), b.item)
    return given


def _place(b: Builder, field: int, every: bool = False) -> Value:
    """Where a field of this task's record lies; or of the one record of ``every`` task."""
    record = b.operand(0) if every else b.at(b.operand(0), b.mul(b.begin, RECORD_BYTES))
    return b.at(record, 8 * field)


def _field(b: Builder, field: int, every: bool = False) -> Value:
    return b.load("i64", _place(b, field, every), 8)
