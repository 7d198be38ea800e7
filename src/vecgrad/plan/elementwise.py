"""Steps that are maps of entries, or sums and maxima of what a map makes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vecgrad.plan.draft import Argument, DraftCall, Stored
from vecgrad.plan.fuse import Step
from vecgrad.spec import kernel as specs
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.scalar import Operand, substitute
from vecgrad.spec.tensor import Layout, size

if TYPE_CHECKING:
    from vecgrad.plan.lower import Lowering


def lower(lowering: Lowering, step: Step, refused: tuple[str, ...] = ()) -> None:
    """Adds the calls of a step of kind map, reduce_sum, reduce_max or reduce_pixels. refused: why a map is a pass of its own."""
    match step.op:
        case "map":
            _map(lowering, step, refused)
        case "reduce_pixels":
            _reduce_pixels(lowering, step)
        case _:
            _reduce_channels(lowering, step)


def _map(lowering: Lowering, step: Step, refused: tuple[str, ...]) -> None:
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
        lowering.call(step, spec, arguments, batched=step.results[0].batched, refused=refused)


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
        (step.expr,), layouts, channels, lowering.dtype, lowering.used(Epilogue(step.expr))
    )
    before = tuple(Argument(s.buffer) for s in stored)
    if not any(ref.batched for ref in step.extra):
        result = lowering.new(step.results[0])
        lowering.call(step, spec, (*before, Argument(result.buffer)), batched=False)
        return
    _, slab = lowering.sum_over_images(step.results[0], channels, lowering.draft.chunks)
    last = _last(lowering)
    if last is not None and _together(last, spec, before):
        _join(last, step, spec, (*before, slab))
    else:
        lowering.call(step, spec, (*before, slab), always=True)


def _last(lowering: Lowering) -> DraftCall | None:
    """The last call over images, if nothing has come since."""
    phases = lowering.draft.phases
    return phases[-1].calls[-1] if phases and phases[-1].images_per_chunk else None


def _together(last: DraftCall, spec: specs.ReducePixelsSpec, inputs: tuple[Argument, ...]) -> bool:
    """Whether the last call walks the pixels of a map that ``spec`` reads too, so that one pass over it serves both."""
    other = last.spec
    if not isinstance(other, specs.ReducePixelsSpec):
        return False
    same = (other.size, other.channels, other.dtype) == (spec.size, spec.channels, spec.dtype)
    return same and any(each in last.arguments and each.buffer.batched for each in inputs)


def _join(last: DraftCall, step: Step, spec: specs.ReducePixelsSpec, arguments: tuple[Argument, ...]) -> None:
    """The last call forms the sums of ``spec`` too; each is the chain that it was."""
    other = last.spec
    assert isinstance(other, specs.ReducePixelsSpec)
    assert last.step is not None
    *inputs, slab = arguments
    count = len(other.inputs)
    read, slabs, layouts = list(last.arguments[:count]), last.arguments[count:], list(other.inputs)
    for argument, layout in zip(inputs, spec.inputs, strict=True):
        if argument not in read:
            read.append(argument)
            layouts.append(layout)
    places = tuple(Operand(read.index(argument)) for argument in inputs)
    exprs = (*other.exprs, *(substitute(expr, places) for expr in spec.exprs))
    last.spec = replace(other, exprs=exprs, inputs=tuple(layouts), scalars=other.scalars or spec.scalars)
    last.arguments = (*read, *slabs, slab)
    last.step = replace(
        last.step,
        expr=exprs[-1],
        results=last.step.results + step.results,
        nodes=last.step.nodes + step.nodes,
    )


def _operands(lowering: Lowering, step: Step) -> tuple[list[Stored], tuple[Layout, ...]]:
    """What a map or reduction reads, as its kernel sees it. Over unbatched values it is a kernel for one image."""
    stored = [lowering.value(ref) for ref in step.extra]
    over_batch = any(ref.batched for ref in step.extra)
    return stored, tuple(s.layout if over_batch else replace(s.layout, batched=True) for s in stored)
