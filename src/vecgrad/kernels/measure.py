"""Numbers measured from the flat arrays, such as a gradient's norm: sums of blocks, then one task that puts them together.

Blocks are cut by position alone, and each is folded as ``kernels.reduce`` folds channels: neither the number of threads nor
the width of a vector shows in the bits.
"""

from __future__ import annotations

from vecgrad.kernels import access
from vecgrad.kernels._cases import cases
from vecgrad.kernels.access import Block
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.kernels.reduce import Fold
from vecgrad.spec.kernel import FlatMeasureSpec, FlatSumSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine


def offer_sum(spec: FlatSumSpec, machine: Machine) -> Offer | Refusal:
    """Price per entry of the arrays."""
    if spec.dtype not in access.REAL:
        return Refusal("flat.sum", f"{spec.dtype} is not a real type")
    work, read = cost(spec.exprs) + len(spec.exprs), ITEM_BYTES[spec.dtype] * spec.inputs
    return Offer(
        "flat.sum", work, read, 0, predicted(machine, 2 * work, read, spec.dtype), "one block a task"
    )


def generate_sum(spec: FlatSumSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    first = b.mul(b.begin, spec.block)
    arrays = [b.entry(b.operand(n), first) for n in range(spec.inputs)]
    partials = b.entry(b.operand(spec.inputs), b.begin)
    formulas = [Formula(b, [expr], spec.scalars) for expr in spec.exprs]
    last = spec.entries - (spec.tasks - 1) * spec.block
    for count in cases(b, b.begin, spec.tasks - 1, min(spec.block, spec.entries), last):
        for k, formula in enumerate(formulas):

            def values(blocks: list[Block], formula: Formula = formula) -> list[Value]:
                return [
                    formula.write([access.raw_lanes(b, b.entry(a, at), b.dtype, lanes) for a in arrays])[0]
                    for at, lanes in blocks
                ]

            total = Fold(b, "sum", count).over_channels(values)
            b.store(total, b.entry(partials, k * spec.stride), b.item)
    return b.function(spec.name)


def offer(spec: FlatMeasureSpec, machine: Machine) -> Offer | Refusal:
    if spec.dtype not in access.REAL:
        return Refusal("flat.measure", f"{spec.dtype} is not a real type")
    work, read = (
        cost(spec.exprs) + spec.sums * spec.partials,
        spec.sums * spec.partials * ITEM_BYTES[spec.dtype],
    )
    written = len(spec.exprs) * ITEM_BYTES[spec.dtype]
    seconds = predicted(machine, 2 * work, read + written, spec.dtype)
    return Offer("flat.measure", work, read, written, seconds, "one task")


def generate(spec: FlatMeasureSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    partials, numbers = b.operand(0), b.operand(1)
    formula = Formula(b, spec.exprs, spec.scalars)
    totals = []
    for k in range(spec.sums):
        source = b.entry(partials, k * spec.stride)

        def values(blocks: list[Block], source: Value = source) -> list[Value]:
            return [access.raw_lanes(b, b.entry(source, at), b.dtype, lanes) for at, lanes in blocks]

        totals.append(b.splat(Fold(b, "sum", spec.partials).over_channels(values)))
    for i, value in enumerate(formula.write(totals)):
        b.store(b.let(b.real, f"extractelement {value}, i64 0"), b.entry(numbers, i), b.item)
    return b.function(spec.name)
