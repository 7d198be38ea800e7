"""When a training step packs weights and changes them: late enough and early enough that neither packs nor gradients pile up.

A plan without an update keeps its packs from run to run. One that changes the weights must make them anew each step, so a
large pack may as well exist from right before its first reader to its last, in the arena. And once a gradient is complete
and its parameter is read no more, the update rule may have it, and its memory serves others; where tasks make it block by block,
each task applies the rule to its own block while that is in the cache, and the gradient as a whole never exists. What costs a
barrier is done for megabytes only. Neither changes a bit: a pack holds the same numbers, and an entry's update reads that entry
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vecgrad.plan.accumulate import Accumulator
from vecgrad.plan.draft import Argument, Buffer, Draft, DraftCall, DraftPhase
from vecgrad.plan.lower import PACK_TASKS, Lowering
from vecgrad.plan.update import Rule, Update
from vecgrad.spec.kernel import ConvDwSpec, WeightBlocks, WinogradDwSpec

# What a phase of its own must give back: at the bandwidth of memory about 50 times as long as two threads' barrier.
WORTH_A_PHASE = 1 << 20


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


def add_update(draft: Draft, lowering: Lowering, update: Update, entries: int) -> list[tuple[int, ...]]:
    """Adds the phases in which slabs meet and the rule changes the parameters; records of the table behind those of the sums.

    A large gradient that tasks write block by block is updated by them; one that a kernel writes otherwise has a phase of its
    own, and lives in the arena until then; slabs meet, with their update, as soon as they are megabytes; the rest comes at the
    end, the part "update". A rule that measures all gradients first leaves everything to the end, and every gradient at its
    place.
    """
    rule = Rule(update, entries, lowering.dtype, lowering.scalars)
    at_once = {} if rule.measures else _by_tasks(draft, lowering)
    groups = [] if rule.measures else _early(draft, lowering)
    moved = {a for _, group in groups for a in group} | set(at_once)
    late = [a for a in lowering.accumulators if a not in moved]
    lowering.accumulators = late
    phases = list(draft.phases)
    _at_the_end(draft, lowering, rule, late)
    first = _records(late)
    for number, group in groups:
        draft.insert(draft.phases.index(phases[number]) + 1, _phase(draft, lowering, rule, first, group))
        first += _records(group)
        lowering.accumulators.extend(group)
    for a, (phase, blocks) in at_once.items():
        [call] = phase.calls
        if isinstance(call.spec, WinogradDwSpec):
            fetched = tuple(map(Argument, rule.written(a)))
            call.spec = replace(call.spec, fetched=len(fetched))
            call.arguments += fetched
        phase.calls.append(rule.change_at_once(first, a, blocks))
        first += _records([a])
        lowering.accumulators.append(a)
    if not rule.measures:
        _close_up(draft, lowering)
    return rule.follow(draft, first)


def _by_tasks(draft: Draft, lowering: Lowering) -> dict[Accumulator, tuple[DraftPhase, WeightBlocks]]:
    """The large gradients whose tasks can change the parameter too, the phases of these, and the blocks.

    A phase that comes before what still reads the parameter is put off, where that keeps less alive than the gradient would be.
    """
    found: dict[Accumulator, tuple[DraftPhase, WeightBlocks]] = {}
    for a in lowering.accumulators:
        users = [phase for phase in draft.phases for call in phase.calls if _touches(call, a.slab)]
        if not _whole(a, lowering.item) or len(users) != 1 or len(users[0].calls) != 1:
            continue
        [phase] = users
        [call] = phase.calls
        spec, last = call.spec, _complete(draft, a, lowering.item)
        if (
            isinstance(spec, ConvDwSpec | WinogradDwSpec)
            and spec.mode == "blocks"
            and (spec.image_groups, spec.conv.groups) == (1, 1)
            and _kept_longer(draft, call, last) <= a.slab.nbytes
        ):
            behind = draft.phases[last]
            if behind is not phase:
                draft.phases.remove(phase)
                draft.insert(draft.phases.index(behind) + 1, phase)
            call.spec = replace(spec, own=True)
            a.at_once = a.slab.own = True
            draft.into_arena(a.slab)
            a.slab.nbytes = spec.blocks.entries * lowering.item
            found[a] = (phase, spec.blocks)
    return found


def _touches(call: DraftCall, buffer: Buffer) -> bool:
    """Whether a call reads or writes it."""
    return any(argument.buffer is buffer for argument in call.arguments)


def _kept_longer(draft: Draft, call: DraftCall, last: int) -> int:
    """Bytes that would live longer if the call came behind phase number ``last``."""
    read = {argument.buffer for argument in call.arguments[:-1] if argument.buffer.base is None}
    later = (other for phase in draft.phases[last:] for other in phase.calls)
    held = {argument.buffer for other in later if other is not call for argument in other.arguments}
    return sum(buffer.nbytes * (draft.batch_size if buffer.batched else 1) for buffer in read - held)


def _early(draft: Draft, lowering: Lowering) -> list[tuple[int, list[Accumulator]]]:
    """What need not wait for the end: (the phase behind which the rule may have them, gradients)."""
    left = (a for a in lowering.accumulators if not (a.summed or a.at_once))
    ready = {a: _complete(draft, a, lowering.item) for a in left}
    groups = [(number, [a]) for a, number in ready.items() if _whole(a, lowering.item)]
    waiting = [a for a in ready if not _whole(a, lowering.item)]
    # Behind the last phase comes the end anyway.
    for number in range(len(draft.phases) - 1):
        group = [a for a in waiting if ready[a] <= number]
        if sum(a.slab.nbytes for a in group if a.slabs > 1) >= WORTH_A_PHASE:
            groups.append((number, group))
            waiting = [a for a in waiting if a not in group]
    return groups


def _phase(
    draft: Draft, lowering: Lowering, rule: Rule, first: int, group: Sequence[Accumulator]
) -> DraftPhase:
    """The phase for an early group whose records begin at number ``first``."""
    if _whole(group[0], lowering.item):
        [a] = group
        a.alone = True
        draft.into_arena(a.slab)
        calls = [rule.change(first, group, alone=a.slab)]
    else:
        calls = [lowering.sum_call(first, group), rule.change(first, group)]
    return DraftPhase("main", _records(group), 0, calls)


def _at_the_end(draft: Draft, lowering: Lowering, rule: Rule, late: Sequence[Accumulator]) -> None:
    """The part "update". Sums that are still open meet in the rule's own phase, but where all must be there before."""
    if not late:
        return
    calls = []
    if rule.measures or any(a.summed for a in late):
        lowering.finish_sums()
    else:
        calls.append(lowering.sum_call(0, late))
    if rule.measures:
        rule.measure(draft)
    calls.append(rule.change(0, lowering.accumulators))
    draft.over_tasks(calls, _records(late), "update")


def _records(accumulators: Iterable[Accumulator]) -> int:
    return sum(a.records for a in accumulators)


def _close_up(draft: Draft, lowering: Lowering) -> None:
    """Gradients that stay in their own array lie side by side, whatever is missing between them."""
    item, entries = lowering.item, 0
    places: dict[int, int] = {}
    for a in sorted(lowering.accumulators, key=lambda a: a.home):
        if not (a.alone or a.at_once):
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
