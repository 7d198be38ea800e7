"""When a training step packs weights and changes them: late enough and early enough that neither packs nor gradients pile up.

A plan without an update keeps its packs from run to run. One that changes the weights must make them anew each step, so a
large pack may as well exist from right before its first reader to its last, in the arena. And once a gradient is complete
and its parameter is read no more, the update rule may have it, and its memory serves others. Both cost a barrier, so only
megabytes are moved. Neither changes a bit: a pack holds the same numbers, and an entry's update reads that entry alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vecgrad.graph.nodes import Graph, Ref
from vecgrad.plan.accumulate import RECORD_BYTES, Accumulator
from vecgrad.plan.draft import Argument, Buffer, Draft, DraftCall, DraftPhase
from vecgrad.plan.fuse import Step
from vecgrad.plan.lower import PACK_TASKS, Lowering
from vecgrad.spec.kernel import FlatMapSpec
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.scalar import Expr, Operand, substitute

# What a phase of its own must give back: at the bandwidth of memory about 50 times as long as two threads' barrier.
WORTH_A_PHASE = 1 << 20


@dataclass(frozen=True)
class Update:
    """The update rule as a graph over the flat arrays (``graph.build.record_update``) and its state's names."""

    graph: Graph
    state: tuple[str, ...]
    scalars: tuple[str, ...]


def pack_when_read(draft: Draft, calls: Sequence[DraftCall]) -> list[DraftCall]:
    """Adds phases that make large packs anew in each run; the calls that are left to be made once.

    Packs with one first reader are made together. The phases stand before it, so that an update, which is to be added
    after them, waits until they have read the weights.
    """
    kept = list(calls)
    for reader, group in _by_first_reader(draft, calls).items():
        if sum(_packed(call).nbytes for call in group) >= WORTH_A_PHASE:
            draft.insert(draft.phases.index(reader), DraftPhase("main", PACK_TASKS, 0, group))
            for call in group:
                kept.remove(call)
                draft.into_arena(_packed(call))
    return kept


def pack_once(draft: Draft, constants: Sequence[DraftCall], calls: Sequence[DraftCall]) -> int:
    """Adds the part "pack"; the bytes of what it makes, which stays from run to run.

    constants: the calls that make what else depends on parameters alone, one after the other.
    """
    nbytes = 0
    for call in (*constants, *calls):
        # A line between packs keeps them from lying a multiple of 4096 bytes apart.
        _packed(call).offset = nbytes
        nbytes += -(-_packed(call).nbytes // 64) * 64 + 64
    if constants:
        draft.over_tasks(list(constants), 1, "pack")
    if calls:
        draft.over_tasks(list(calls), PACK_TASKS, "pack")
    return nbytes


def _packed(call: DraftCall) -> Buffer:
    return call.arguments[-1].buffer


def _by_first_reader(draft: Draft, calls: Iterable[DraftCall]) -> dict[DraftPhase, list[DraftCall]]:
    """The calls that pack by the phase that reads their packs first."""
    makers = {_packed(call): call for call in calls}
    groups: dict[DraftPhase, list[DraftCall]] = {}
    for phase in draft.phases:
        for call in phase.calls:
            for argument in call.arguments:
                if (maker := makers.pop(argument.buffer, None)) is not None:
                    groups.setdefault(phase, []).append(maker)
    return groups


def add_update(draft: Draft, lowering: Lowering, update: Update, entries: int) -> None:
    """Adds the phases in which slabs meet and the rule changes the parameters.

    A large gradient that a kernel writes whole has a phase of its own, and lives in the arena until then; slabs meet, with
    their update, as soon as they are megabytes; the rest comes in one phase at the end, the part "update".
    """
    rule = _Rule(draft, lowering, update, entries)
    ready = {a: _complete(draft, a, lowering.item) for a in lowering.accumulators if not a.summed}
    early = {a: number for a, number in ready.items() if _whole(a, lowering.item)}
    groups = [(number, [a]) for a, number in early.items()]
    waiting = [a for a in ready if a not in early]
    # Behind the last phase comes the end anyway.
    for number in range(len(draft.phases) - 1):
        group = [a for a in waiting if ready[a] <= number]
        if sum(a.slab.nbytes for a in group if a.slabs > 1) >= WORTH_A_PHASE:
            groups.append((number, group))
            waiting = [a for a in waiting if a not in group]
    moved = {a for _, group in groups for a in group}
    late = [a for a in lowering.accumulators if a not in moved]
    lowering.accumulators = late
    rule.at_the_end(late)
    first = sum(a.records for a in late)
    phases = list(draft.phases)
    for number, group in groups:
        place = draft.phases.index(phases[number]) + 1
        draft.insert(place, rule.early(first, group, whole=group[0] in early))
        first += sum(a.records for a in group)
        lowering.accumulators.extend(group)
    _close_up(draft, lowering)


def _close_up(draft: Draft, lowering: Lowering) -> None:
    """Gradients that stay in their own array lie side by side, whatever is missing between them."""
    item, entries = lowering.item, 0
    places: dict[int, int] = {}
    for a in sorted(lowering.accumulators, key=lambda a: a.home):
        if not a.alone:
            places[a.destination * item] = entries * item
            a.destination = entries
            entries += -(-a.length // 16) * 16
    for buffer in draft.buffers:
        if buffer.base == "gradients":
            buffer.offset = places[buffer.offset]
    lowering.gradient_entries = entries


def _whole(a: Accumulator, item: int) -> bool:
    """Whether it is a large gradient that has its memory from one kernel and no other place that it must be at."""
    return (
        a.parameter and a.slabs == 1 and a.slab.nbytes >= WORTH_A_PHASE and a.slab.nbytes == a.length * item
    )


def _complete(draft: Draft, a: Accumulator, item: int) -> int:
    """The last phase that adds to the sum or reads the parameter that it is the gradient of."""
    place = range(a.destination * item, (a.destination + a.length) * item)
    last = 0
    for number, phase in enumerate(draft.phases):
        for call in phase.calls:
            for argument in call.arguments:
                flat = argument.buffer.base in ("parameters", "gradients")
                if argument.buffer is a.slab or (flat and argument.buffer.offset + argument.offset in place):
                    last = number
    return last


class _Rule:
    """The calls of an update rule."""

    def __init__(self, draft: Draft, lowering: Lowering, update: Update, entries: int) -> None:
        self._draft, self._lowering = draft, lowering
        inputs = ("w", "g", *update.state)
        exprs = tuple(_inlined(update.graph, name, inputs) for name in ("w", *update.state))
        self._spec = FlatMapSpec(exprs, len(inputs), inputs.index("g"), lowering.dtype, lowering.scalars)
        nodes = tuple(n for n in update.graph.live() if n.op == "map")
        self._step = Step("update", None, (), exprs[0], (), (), nodes)
        item = ITEM_BYTES[lowering.dtype]
        self._weights = Argument(Buffer(0, False, "parameters"))
        self._state = tuple(
            Argument(Buffer(0, False, "state", i * entries * item)) for i, _ in enumerate(update.state)
        )
        self._gradients = Argument(Buffer(0, False, "gradients"))

    def at_the_end(self, accumulators: Sequence[Accumulator]) -> None:
        lowering = self._lowering
        count = sum(a.records for a in accumulators)
        if not count:
            return
        calls = [self._call(0, accumulators, self._gradients)]
        if any(a.summed for a in accumulators):
            lowering.finish_sums()
        else:
            calls.insert(0, lowering.sum_call(0, accumulators))
        self._draft.over_tasks(calls, count, "update")

    def early(self, first: int, group: Sequence[Accumulator], whole: bool) -> DraftPhase:
        """The phase for a group whose records begin at number ``first``; ``whole``: one gradient that moves to the arena."""
        if whole:
            [a] = group
            a.alone = True
            self._draft.into_arena(a.slab)
            calls = [self._call(first, group, Argument(Buffer(0, False, "arena")), keeps=(a.slab,))]
        else:
            calls = [self._lowering.sum_call(first, group), self._call(first, group, self._gradients)]
        return DraftPhase("main", sum(a.records for a in group), 0, calls)

    def _call(
        self, first: int, group: Sequence[Accumulator], gradients: Argument, keeps: tuple[Buffer, ...] = ()
    ) -> DraftCall:
        table = Argument(Buffer(0, False, "table", first * RECORD_BYTES))
        written = (self._weights, *self._state)
        arguments = (table, self._weights, gradients, *self._state, *written)
        units = sum(a.length for a in group if a.parameter)
        return DraftCall(self._spec, arguments, self._step, "update", units, keeps=keeps)


def _inlined(graph: Graph, output: str, inputs: tuple[str, ...]) -> Expr:
    """The named output as one expression of the inputs."""

    def expression(ref: Ref) -> Expr:
        node = ref.node
        if node.op == "input":
            return Operand(inputs.index(str(node.attribute)))
        assert isinstance(node.attribute, Expr), "an update rule is made of maps"
        return substitute(node.attribute, tuple(expression(r) for r in node.inputs))

    return expression(graph.outputs[output])
