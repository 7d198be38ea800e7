"""Values that are computed again rather than kept: cheap maps, for the backward steps that read them.

A cheap map of values that are kept anyway need not be kept itself from the forward pass to the backward pass. A normalized and
rectified map is one of what went into the normalization; a residual block's result is one of its last convolution's and of the
block's input. The first backward step that reads such a value behind its own phase finds it made once more, from the same numbers
by the same expression, so with the same bits. Where all its readers then work on chunks of images, it lies in the frame and stays
in the cache: no memory is written, and for every value that it is made of one is read. Elsewhere it lives in the arena for as
long as they need it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from vecgrad.graph.nodes import Ref
from vecgrad.kernels.expression import cost
from vecgrad.plan.accumulate import BESIDE
from vecgrad.plan.draft import Buffer, Draft
from vecgrad.plan.fuse import Step
from vecgrad.plan.simplify import CHEAP
from vecgrad.spec.geometry import Conv
from vecgrad.spec.scalar import Operand, substitute
from vecgrad.spec.tensor import size

# Each is read for what would be read once: with four a ResNet-20's step takes 1 % longer on two threads, for 12 MB.
_MOST_VALUES = 3


def beside(conv: Conv) -> bool:
    """Whether a weight gradient is summed chunk by chunk beside its layer's other work."""
    return size(conv.weight_shape) <= BESIDE or conv.depthwise


def computed_again(steps: Sequence[Step], outputs: Collection[Ref]) -> dict[Ref, Step]:
    """The values that backward steps compute again, and the steps that make them.

    They are made of values that are kept: one of these that is itself computed again is part of the expression. And they are made
    of what a step reads that is not before the first that needs them.
    """
    readers: dict[Ref, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for ref in set(step.reads):
            readers[ref].append(number)
    found: dict[Ref, Step] = {}
    for step in steps:
        [value, *others] = step.results
        backward = [number for number in readers[value] if steps[number].nodes[0].stage == "backward"]
        forward = (step.op, step.nodes[0].stage) == ("map", "forward")
        if not forward or others or value in outputs or not backward:
            continue
        made = _of_what_is_kept(step, found)
        if _cheap(made) and all(readers[ref][-1] >= backward[0] for ref in _values(made)):
            found[value] = made
    return found


def in_one_phase(draft: Draft, buffer: Buffer) -> bool:
    """Whether the open phase over images is all that has read or written the buffer."""
    phases = [
        phase
        for phase in draft.phases
        if any(argument.buffer is buffer for call in phase.calls for argument in call.arguments)
    ]
    return phases == draft.phases[-1:] and phases[0].images_per_chunk > 0


def _values(step: Step) -> list[Ref]:
    return [ref for ref in step.extra if ref.batched]


def _of_what_is_kept(step: Step, again: Mapping[Ref, Step]) -> Step:
    """The step with those of its operands that are computed again put into its expression."""
    read: dict[Ref, None] = {}
    for ref in step.extra:
        read |= dict.fromkeys(again[ref].extra if ref in again else (ref,))
    places = {ref: Operand(number) for number, ref in enumerate(read)}
    values = (
        substitute(again[ref].expr, tuple(places[each] for each in again[ref].extra)) if ref in again else places[ref]
        for ref in step.extra
    )  # fmt: skip
    return replace(step, expr=substitute(step.expr, tuple(values)), extra=tuple(read))


def _cheap(step: Step) -> bool:
    kind, values = step.results[0].type, _values(step)
    return (
        1 <= len(values) <= _MOST_VALUES
        and all(ref.type == kind for ref in values)
        and cost([step.expr]) <= CHEAP * len(values)
    )
