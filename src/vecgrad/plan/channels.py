"""Steps that see a map's channels apart: their moments, several maps' side by side, a part of them, a random choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecgrad.plan.draft import Argument, DraftCall, Stored
from vecgrad.plan.fuse import Step
from vecgrad.spec.kernel import CopyChannelsSpec, KeepSpec, MergeMomentsSpec, MomentsSpec

if TYPE_CHECKING:
    from vecgrad.plan.lower import Lowering


def lower(lowering: Lowering, step: Step) -> None:
    """Adds the calls of a step of kind moments, concat, part or keep."""
    match step.op, step.attribute:
        case "moments", _:
            _moments(lowering, step)
        case "concat", _:
            sources = [lowering.value(ref) for ref in step.inputs]
            result, first = lowering.new(step.results[0]), 0
            for source in sources:
                _copy(lowering, step, source, 0, result, first, source.layout.channels)
                first += source.layout.channels
        case "keep", (int() as mask, int() as threshold):
            result = lowering.new(step.results[0])
            spec = KeepSpec(result.layout, mask, threshold, lowering.scalars)
            arguments = (Argument(result.buffer),)
            lowering.add(DraftCall(spec, arguments, step, step.op, lowering.draft.batch_size))
        case "part", (int() as first, int() as end):
            source = lowering.value(step.inputs[0])
            _copy(lowering, step, source, first, lowering.new(step.results[0]), 0, end - first)


def _moments(lowering: Lowering, step: Step) -> None:
    """Each chunk of images leaves what it knows; one task puts it together."""
    draft = lowering.draft
    x, weight = map(lowering.value, step.inputs)
    channels = x.layout.channels
    stride = -(-(2 * channels + 1) // 16) * 16
    partials = draft.block(draft.chunks * stride * lowering.item)
    mine = Argument(partials, 0, stride * lowering.item)
    spec = MomentsSpec(x.layout)
    before = (Argument(x.buffer), Argument(weight.buffer))
    call = DraftCall(spec, (*before, mine), step, step.op, draft.batch_size, always=True)
    lowering.add(call)
    results = tuple(Argument(lowering.new(ref).buffer) for ref in step.results)
    merge = MergeMomentsSpec(channels, draft.chunks, stride, lowering.dtype)
    lowering.add(DraftCall(merge, (Argument(partials), *results), step, step.op, 1), batched=False)


def _copy(
    lowering: Lowering,
    step: Step,
    source: Stored,
    first_in: int,
    result: Stored,
    first_out: int,
    channels: int,
) -> None:
    spec = CopyChannelsSpec(source.layout, result.layout, first_in, first_out, channels)
    arguments = (Argument(source.buffer), Argument(result.buffer))
    lowering.add(DraftCall(spec, arguments, step, step.op, lowering.draft.batch_size))
