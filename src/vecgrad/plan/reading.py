"""What kernels do on the way, where they read a map: un-pool a gradient, or compute a cheap map of another one.

A step that a kernel can do where it reads is not lowered in its turn. It waits for the first step that reads its result: if that
one's kernel takes it over, the map is never stored; if not, or if anything else asks for the value, it is made then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from vecgrad.graph.nodes import Ref
from vecgrad.kernels import algorithm
from vecgrad.kernels.expression import cost
from vecgrad.plan.draft import Argument, Buffer
from vecgrad.plan.fuse import Step
from vecgrad.plan.simplify import CHEAP
from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel import KernelSpec, Prologue, Unpooling
from vecgrad.spec.scalar import Operand, scalars, substitute

if TYPE_CHECKING:
    from vecgrad.plan.lower import Lowering

_Spec = TypeVar("_Spec", bound=KernelSpec)
# Whose kernels may take over a map, of their first input.
_READERS = frozenset({"conv", "conv_dw"})


def read_once(steps: Sequence[Step], outputs: Collection[Ref], again: Mapping[Ref, Step]) -> set[Ref]:
    """The values that a single convolution reads, or a single one forward and a single weight gradient backward where they are made
    again for it."""
    readers: dict[Ref, list[Step]] = defaultdict(list)
    for step in steps:
        for ref in step.reads:
            readers[ref].append(step)
    found = set()
    for ref, reading in readers.items():
        stages = [step.nodes[0].stage for step in reading]
        alone = len(set(stages)) == len(stages) and ("backward" not in stages or ref in again)
        if alone and ref not in outputs and all(s.op in _READERS and s.inputs[0] == ref for s in reading):
            found.add(ref)
    return found


def prologue_of(step: Step) -> tuple[Ref, tuple[Ref, ...]] | None:
    """What a cheap map makes its value of, where that is an entry of another map and numbers of its channel: that map and these."""
    batched = [ref for ref in step.extra if ref.batched]
    result = step.results[0]
    if step.op != "map" or len(batched) != 1 or not result.batched or batched[0].type != result.type:
        return None
    numbers = tuple(ref for ref in step.extra if not ref.batched)
    if cost([step.expr]) > CHEAP or any(ref.type.map != (1, 1, result.type.map[2]) for ref in numbers):
        return None
    return batched[0], numbers


class OnTheWay:
    """The steps of a lowering that wait for who reads their results."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._waiting: dict[Ref, Step] = {}
        # Which maps may wait: see ``read_once``.
        self.may_wait: Collection[Ref] = ()

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._waiting

    def unpool(self, step: Step) -> None:
        """An un-pooling waits."""
        self._waiting[step.results[0]] = step

    def map(self, step: Step) -> bool:
        """Whether a map waits, which is then true of it."""
        found, result = prologue_of(step), step.results[0]
        if result not in self.may_wait or found is None or scalars(step.expr):
            return False
        if self._lowering.value(found[0]).layout != self._lowering.layout(result):
            return False
        self._waiting[result] = step
        return True

    def make(self, ref: Ref, refused: tuple[str, ...] = ()) -> None:
        """Makes a value now, if its step waits. refused: why no reader took it over."""
        step = self._waiting.pop(ref, None)
        if step is not None:
            self._lowering.lower_now(step, refused)

    def source(self, spec: _Spec, step: Step, ref: Ref) -> tuple[_Spec, Step, tuple[Argument, ...]]:
        """What a kernel reads for ``ref``: what a waiting step reads, if the kernel can do its work; ``step`` then does it too."""
        waiting = self._waiting.get(ref)
        if waiting is not None:
            found = (self._map if waiting.op == "map" else self._unpooling)(spec, waiting)
            if not isinstance(found, str):
                taken, buffers = found
                return taken, replace(step, nodes=step.nodes + waiting.nodes), tuple(map(Argument, buffers))
            self.make(ref, (f"{step.op}: {found}",) if found else ())
        return spec, step, (Argument(self._lowering.value(ref).buffer),)

    def _unpooling(self, spec: _Spec, waiting: Step) -> tuple[_Spec, list[Buffer]] | str:
        """It goes on waiting: a weight gradient and a data gradient may both read it."""
        dy, index = map(self._lowering.value, waiting.inputs)
        assert isinstance(waiting.attribute, Window)
        taken = algorithm.unpooling(spec, Unpooling(waiting.attribute, dy.layout, index.layout))
        return (taken, [dy.buffer, index.buffer]) if taken is not None else ""

    def _map(self, spec: _Spec, waiting: Step) -> tuple[_Spec, list[Buffer]] | str:
        """Nothing else in its stage reads it."""
        found = prologue_of(waiting)
        assert found is not None
        read = (found[0], *found[1])
        stored = [self._lowering.value(ref) for ref in read]
        expr = substitute(waiting.expr, tuple(Operand(read.index(ref)) for ref in waiting.extra))
        taken = algorithm.reading(
            spec, Prologue(expr, tuple(s.layout for s in stored[1:])), self._lowering.machine
        )
        if isinstance(taken, str):
            return taken
        del self._waiting[waiting.results[0]]
        return taken, [each.buffer for each in stored]
