"""Values that are computed again rather than kept: normalized and rectified maps, for the weight gradient that reads them.

A cheap map of one value x and per-channel vectors, which forward steps and weight gradients alone read, need not be written to
memory where x is kept anyway. Beside each of its readers it exists for one chunk of images, in the frame, where it stays in the
cache; a weight gradient then reads x, as the steps around it do. The same expression of the same numbers has the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from vecgrad.graph.nodes import Ref
from vecgrad.kernels.expression import cost
from vecgrad.plan.accumulate import BESIDE
from vecgrad.plan.draft import Buffer, Draft
from vecgrad.plan.fuse import Step
from vecgrad.plan.simplify import CHEAP
from vecgrad.spec.geometry import Conv
from vecgrad.spec.tensor import size


def beside(conv: Conv) -> bool:
    """Whether a weight gradient is summed chunk by chunk beside its layer's other work."""
    return size(conv.weight_shape) <= BESIDE or conv.depthwise


def computed_again(steps: Sequence[Step], outputs: Collection[Ref]) -> dict[Ref, Step]:
    """The values that weight gradients may compute again, and the steps that make them."""
    readers: dict[Ref, list[Step]] = defaultdict(list)
    for step in steps:
        for ref in set(step.reads):
            readers[ref].append(step)
    return {
        step.results[0]: step
        for step in steps
        if step.op == "map"
        and step.results[0] not in outputs
        and _cheap(step)
        and all(_by_chunks(reader, step.results[0]) for reader in readers[step.results[0]])
        and any(reader.nodes[0].stage == "backward" for reader in readers[_value(step)])
    }


def only_phase(draft: Draft, buffer: Buffer) -> bool:
    """Whether one phase over images, which is not open any more, is all that has read or written the buffer."""
    phases = [
        phase
        for phase in draft.phases
        if any(argument.buffer is buffer for call in phase.calls for argument in call.arguments)
    ]
    return len(phases) == 1 and phases[0] is not draft.phases[-1] and phases[0].images_per_chunk > 0


def _cheap(step: Step) -> bool:
    values = [ref for ref in step.extra if ref.batched]
    return (
        step.nodes[0].stage == "forward"
        and len(values) == 1
        and values[0].type == step.results[0].type
        and cost([step.expr]) <= CHEAP
    )


def _value(step: Step) -> Ref:
    return next(ref for ref in step.extra if ref.batched)


def _by_chunks(reader: Step, ref: Ref) -> bool:
    if ref in reader.extra or not isinstance(reader.attribute, Conv) or reader.inputs[0] != ref:
        return False
    return reader.op == "conv" or (reader.op == "conv_dw" and beside(reader.attribute))
