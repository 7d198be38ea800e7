"""Kernels over the flat parameter arrays: update rules, and the sum of partial gradients.

Both are called once per record of a table of 64-bit integers (source, slab stride, slabs, destination,
length, parameter, update length), all counted in entries, and the factors of the parameter's group.
"""

from __future__ import annotations

from vecgrad.kernels import access
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.maps import turns
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import RECORD_BYTES, RECORD_FIELDS, FlatMapSpec, SlabSumSpec
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
    first, gradient = _field(b, _PARAMETER), _field(b, _DESTINATION)
    arrays = [b.entry(b.operand(1 + n), gradient if n == spec.gradient else first) for n in range(operands)]

    def body(places: list[Value], mask: Value | None) -> None:
        rows = ([access.load_run(b, b.entry(a, i), mask) for a in arrays[: spec.inputs]] for i in places)
        for i, values in zip(places, formula.side_by_side(rows), strict=True):
            for array, value in zip(arrays[spec.inputs :], values, strict=True):
                access.store_run(b, value, b.entry(array, i), mask)

    access.each_vector(b, _field(b, _UPDATE_LENGTH), turns(formula), 1, body)
    return b.function(spec.name)


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
    given = {name: b.rounded(_place(b, field)) for name, field in fields if name in used}
    if spec.measured:
        numbers = b.operand(last)
        for i in range(spec.measured):
            given[f"measured.{i}"] = b.load(b.real, b.entry(numbers, i), b.item)
    return given


def _place(b: Builder, field: int) -> Value:
    """Where a field of this task's record lies."""
    return b.at(b.at(b.operand(0), b.mul(b.begin, RECORD_BYTES)), 8 * field)


def _field(b: Builder, field: int) -> Value:
    """A field of this task's record."""
    return b.load("i64", _place(b, field), 8)
