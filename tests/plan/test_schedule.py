"""When a training step packs and changes weights: nothing reads a pack or a gradient that is not there, or weights that are new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.networks import LARGE, LENET, NETWORKS, Network
from tests.plan.drafts import drafted, planned

from vecgrad.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.program.flat import FlatLayout
from vecgrad.spec.kernel import FlatMapSpec, WeightGradientSpec
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.updates import SGD, Adam

# Packs, slabs and one gradient of a megabyte and more.
WIDE = Network(
    Sequential(
        (Conv2D(64, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(128, 3, padding=1), ReLU(), MaxPool2D(2),
         Conv2D(256, 3, padding=1), ReLU(), Flatten(), Dense(128), ReLU(), Dense(10))
    ),
    (32, 32, 3), batch=128,
)  # fmt: skip
# A gradient of megabytes that tasks do not update: those of several groups of channels.
GROUPED = Network(
    Sequential((Conv2D(512, 3, padding=1), ReLU(), Conv2D(512, 3, padding=1, groups=2), Flatten(), Dense(10))),
    (4, 4, 16), batch=32,
)  # fmt: skip
# Two gradients of megabytes that tasks update.
DEEP = Network(
    Sequential((Conv2D(512, 3, padding=1), ReLU(), Conv2D(512, 3, padding=1), ReLU(), Conv2D(256, 3, padding=1), Flatten(),
                Dense(10))),
    (4, 4, 16), batch=32,
)  # fmt: skip
ALL = {"deep": DEEP, "wide": WIDE, "grouped": GROUPED, "large": LARGE, "lenet": LENET, **NETWORKS}
# Fields of a record: where its gradient and its parameter's entries begin, and how many.
DESTINATION, PARAMETER, LENGTH = 3, 5, 6
MACHINES = pytest.mark.parametrize("machine", [AVX512, AVX2], ids=lambda m: m.isa)


def numbered(plan: Plan) -> Iterator[tuple[int, PlannedCall]]:
    return ((number, call) for number, phase in enumerate(plan.phases) for call in phase.calls)


def updates(plan: Plan) -> list[tuple[int, int, int]]:
    """(phase, first entry, entries) of each record that an update changes parameters by."""
    return [(number, plan.segments[r][PARAMETER], plan.segments[r][LENGTH]) for number, r in _records(plan)]


@pytest.mark.parametrize("network", ALL.values(), ids=list(ALL))
def test_each_parameter_is_changed_once_and_read_no_more(network: Network) -> None:
    plan = planned(network, AVX512, SGD(momentum=0.9))
    slots = FlatLayout.of(network.model.parameters(network.shape)).trained
    changed = sorted((first, length, number) for number, first, length in updates(plan) if length)
    covered = {entry for first, length, _ in changed for entry in range(first, first + length)}
    assert sum(length for _, length, _ in changed) == len(covered)
    assert covered == {e for slot in slots.values() for e in range(slot.offset, slot.offset + slot.length)}
    for number, call in numbered(plan):
        if call.op == "update" or plan.phases[number].part == "pack":
            continue
        # The weights that a task fetches are those that its next call changes; it does not read them.
        read = call.operands[:3] if call.op == "conv_dw" else call.operands
        for place in read:
            if place.base == "parameters":
                assert all(
                    number < when
                    for first, length, when in changed
                    if first <= place.offset // 4 < first + length
                ), f"{call.op} of {call.scope} reads weights that an update has changed"


@MACHINES
@pytest.mark.parametrize("network", ALL.values(), ids=list(ALL))
def test_gradients_come_before_their_update(network: Network, machine: Machine) -> None:
    plan = planned(network, machine, Adam())
    where = {(plan.segments[r][PARAMETER]): when for when, r in _records(plan)}
    slots = FlatLayout.of(network.model.parameters(network.shape)).slots
    for number, call in numbered(plan):
        if call.op in ("conv_dw", "reduce_pixels") and call.scope:
            scope = call.scope.split("+")[0]
            kind = "weight" if call.op == "conv_dw" else "bias"
            slot = slots.get(f"{scope}.{kind}")
            if slot is not None:
                at_once = call.op == "conv_dw" and plan.phases[number].calls[-1].op == "update"
                assert where[slot.offset] == number if at_once else where[slot.offset] > number


def _records(plan: Plan) -> Iterator[tuple[int, int]]:
    for number, call in numbered(plan):
        if call.op == "update":
            first = call.operands[0].offset // (8 * len(plan.segments[0]))
            assert isinstance(call.spec, FlatMapSpec)
            records = 1 if call.spec.blocks else plan.phases[number].chunks
            yield from ((number, r) for r in range(first, first + records))


def test_megabytes_are_packed_and_given_back_within_a_step() -> None:
    plan = planned(WIDE, AVX512, SGD(momentum=0.9))
    parts = [[call.op for call in phase.calls] for phase in plan.phases if phase.part == "main"]
    early = [ops for ops in parts if ops[-1] == "update"]
    assert ["conv_dw", "update"] in early, (
        "the first dense layer's gradient is updated by the tasks that make it"
    )
    assert ["sum", "update"] in early
    assert all(ops in (["conv_dw", "update"], ["sum", "update"]) for ops in early)
    assert sum(set(ops) == {"pack"} for ops in parts) >= 2
    assert not any({"pack", "conv"} <= set(ops) for ops in parts)
    gradients = planned(WIDE, AVX512)
    entries = FlatLayout.of(WIDE.model.parameters(WIDE.shape)).entries
    assert gradients.gradients >= entries, "who asks for gradients gets them all"
    assert plan.gradients < entries // 2
    assert plan.packs < gradients.packs // 8


def test_a_small_network_has_no_phase_more() -> None:
    plan = planned(LENET, AVX512, SGD(momentum=0.9))
    assert [phase.part for phase in plan.phases].count("update") == 1
    assert {call.op for phase in plan.phases if phase.part == "main" for call in phase.calls}.isdisjoint(
        {"update", "pack"}
    )


def test_what_is_packed_in_a_step_is_packed_before_it_is_read() -> None:
    draft, _ = drafted(WIDE, AVX512, SGD(momentum=0.9))
    packs = 0
    for number, phase in enumerate(draft.phases):
        for call in phase.calls:
            buffer = call.arguments[-1].buffer
            if call.op == "pack" and phase.part == "main":
                packs += 1
                touches = sorted({when for when, _ in buffer.touches})
                assert buffer.base == "arena"
                assert touches[0] == number < touches[1]
    assert packs


def test_a_gradient_in_the_arena_lives_until_its_update() -> None:
    draft, plan = drafted(GROUPED, AVX512, SGD(momentum=0.9))
    found = 0
    for number, call in numbered(plan):
        if call.op == "update" and call.operands[2].base == "arena":
            first = call.operands[0].offset // (8 * len(plan.segments[0]))
            place = plan.segments[first][DESTINATION] * 4
            made = [b for b in draft.buffers if b.base == "arena" and b.offset == place and b.touches]
            assert number in {max(when for when, _ in buffer.touches) for buffer in made}
            found += 1
    assert found


def test_a_gradient_that_tasks_update_never_exists_as_a_whole() -> None:
    """Each task has its own block, in its thread's frame, and the next call of the task is the rule."""
    _, plan = drafted(DEEP, AVX512, SGD(momentum=0.9))
    found = 0
    for phase in plan.phases:
        for call in phase.calls:
            if isinstance(call.spec, FlatMapSpec) and call.spec.blocks:
                [made, _] = phase.calls
                assert isinstance(made.spec, WeightGradientSpec)
                assert made.spec.own
                assert made.operands[2] == call.operands[2]
                assert made.operands[2].base == "frame"
                assert (call.spec.blocks, phase.chunks) == (made.spec.blocks, made.spec.tasks)
                assert plan.frame >= 4 * made.spec.blocks.entries
                found += 1
    assert found == 2
    assert plan.gradients < 512 * 512


def test_such_a_phase_comes_behind_what_reads_the_weights_where_that_costs_less_than_the_gradient() -> None:
    def phases(network: Network) -> list[list[str]]:
        calls = [[call.op for call in phase.calls] for phase in planned(network, AVX512, SGD()).phases]
        return [ops for ops in calls if {"conv_dw", "conv_dx"} & set(ops)]

    # The gradients of the last two convolutions are 4.7 and 9.4 MB, their inputs and dy 1 MB each at most.
    assert ["conv_dx"] in phases(DEEP)
    at_once = [number for number, ops in enumerate(phases(DEEP)) if ops == ["conv_dw", "update"]]
    assert phases(DEEP)[at_once[0] - 1] == ["conv_dx"]
    # The dense layer's is 42 MB, its input 134.
    large = Network(DEEP.model, (64, 64, 16), batch=32)
    assert ["conv_dw"] in phases(large)


def test_gradients_are_no_results_of_a_step() -> None:
    assert set(planned(WIDE, AVX512, SGD()).results) == {"loss"}
    assert "gradient.0.weight" in planned(WIDE, AVX512).results


def test_sums_that_normalization_needs_do_not_hold_large_gradients_back() -> None:
    """A sum finished early concerns the sums of several slabs; a large gradient still lives in the arena, and not to the end."""
    layers = [layer for _ in range(3) for layer in (Conv2D(192, 3, padding=1), BatchNorm(), ReLU())]
    network = Network(Sequential((*layers, Flatten(), Dense(10))), (8, 8, 3), batch=32)
    plan = planned(network, AVX512, SGD(momentum=0.9))
    large = 2 * 192 * 192 * 9
    assert plan.gradients < large
    assert plan.phases[-1].part == "pack"
    early = [number for number, _, _ in updates(plan) if plan.phases[number].part == "main"]
    assert len(set(early)) == 2
