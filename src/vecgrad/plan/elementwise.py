"""Steps that are maps of entries, or sums and maxima of what a map makes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vecgrad.plan.draft import Argument, DraftCall, Stored
from vecgrad.plan.fuse import Step
from vecgrad.spec import kernel as specs
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.tensor import Layout, size

if TYPE_CHECKING:
    from vecgrad.plan.lower import Lowering


def lower(lowering: Lowering, step: Step) -> None:
    """Adds the calls of a step of kind map, reduce_sum, reduce_max or reduce_pixels."""
    match step.op:
        case "map":
            _map(lowering, step)
        case "reduce_pixels":
            _reduce_pixels(lowering, step)
        case _:
            _reduce_channels(lowering, step)


def _map(lowering: Lowering, step: Step) -> None:
    stored, layouts = _operands(lowering, step)
    used = lowering.used(Epilogue(step.expr))
    constant = not used and all(s.buffer.base in ("parameters", "packs") for s in stored)
    result = lowering.new(step.results[0], constant and step.results[0] not in lowering.results)
    layout = replace(result.layout, batched=True)
    spec = specs.MapSpec((step.expr,), layouts, (layout,), used)
    arguments = (*(Argument(s.buffer) for s in stored), Argument(result.buffer))
    if result.buffer.base == "packs":
        lowering.constant_calls.append(DraftCall(spec, arguments, step, step.op, 1))
    else:
        lowering.call(step, spec, arguments, batched=step.results[0].batched)


def _reduce_channels(lowering: Lowering, step: Step) -> None:
    stored, layouts = _operands(lowering, step)
    result = lowering.new(step.results[0])
    spec = specs.ReduceChannelsSpec(
        "sum" if step.op == "reduce_sum" else "max", step.expr, layouts,
        replace(result.layout, batched=True), lowering.used(Epilogue(step.expr)),
    )  # fmt: skip
    arguments = (*(Argument(s.buffer) for s in stored), Argument(result.buffer))
    lowering.call(step, spec, arguments, batched=step.results[0].batched)


def _reduce_pixels(lowering: Lowering, step: Step) -> None:
    stored, layouts = _operands(lowering, step)
    channels = size(step.results[0].shape)
    spec = specs.ReducePixelsSpec(
        step.expr, layouts, channels, lowering.dtype, lowering.used(Epilogue(step.expr))
    )
    before = tuple(Argument(s.buffer) for s in stored)
    if not any(ref.batched for ref in step.extra):
        result = lowering.new(step.results[0])
        lowering.call(step, spec, (*before, Argument(result.buffer)), batched=False)
        return
    _, slab = lowering.sum_over_images(step.results[0], channels, lowering.draft.chunks)
    lowering.call(step, spec, (*before, slab), always=True)


def _operands(lowering: Lowering, step: Step) -> tuple[list[Stored], tuple[Layout, ...]]:
    """What a map or reduction reads, as its kernel sees it. Over unbatched values it is a kernel for one image."""
    stored = [lowering.value(ref) for ref in step.extra]
    over_batch = any(ref.batched for ref in step.extra)
    return stored, tuple(s.layout if over_batch else replace(s.layout, batched=True) for s in stored)
