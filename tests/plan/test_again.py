"""Maps that backward steps compute again: which ones, where they lie, and that the step stays what it was."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from tests.networks import Network
from tests.plan.drafts import planned

import vecgrad as vg
from vecgrad.layers import GELU, BatchNorm, Conv2D, Dense, Flatten, Layer, ReLU, Residual, Sequential
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.spec.kernel import MapSpec
from vecgrad.spec.machine import AVX512
from vecgrad.updates import SGD

NOTHING = patch("vecgrad.plan.make.computed_again", lambda steps, outputs: {})
# Every map is a pass of its own; test_reading.py is about those that kernels take over.
PASSES = patch("vecgrad.plan.make.read_once", lambda steps, outputs, again: set())


def conv(channels: int = 16) -> Conv2D:
    return Conv2D(channels, 3, padding=1)


def block() -> tuple[Layer, ...]:
    return Residual((conv(), BatchNorm(), ReLU(), conv(), BatchNorm())), ReLU()


def plan_of(*layers: Layer, channels: int = 16) -> Plan:
    first = (conv(channels), BatchNorm(), *layers)
    model = Sequential((*first, conv(channels), BatchNorm(), ReLU(), Flatten(), Dense(10)))
    with PASSES:
        return planned(Network(model, (8, 8, 3), batch=32), AVX512, SGD())


def passes(plan: Plan, scope: str) -> list[PlannedCall]:
    """The passes over maps that make the value of these layers."""
    return [
        call
        for call in plan.calls()
        if (call.op, call.stage, call.scope, call.kernel) == ("map", "forward", scope, "map.pixels")
    ]


def test_it_exists_for_chunks_only() -> None:
    again = passes(plan_of(ReLU()), "1+2")
    assert len(again) == 2
    assert {call.operands[-1].base for call in again} == {"frame"}
    assert again[0].spec == again[1].spec


def test_it_lives_in_the_arena_where_a_gradient_is_summed_by_tasks() -> None:
    first, again = passes(plan_of(ReLU(), channels=80), "1+2")
    assert (first.operands[-1].base, again.operands[-1].base) == ("frame", "arena")


def test_a_blocks_result_is_made_of_three_values_at_most() -> None:
    """The first one of its convolution's and the stem's, which is itself made again; the third one would need four."""
    plan = plan_of(ReLU(), *block(), *block(), *block(), *block())
    results = ("1+2", *(f"{n}.body.4+{n}.add+{n + 1}" for n in (3, 5, 7, 9)))
    made = {scope: passes(plan, scope) for scope in results}
    assert [len(calls) for calls in made.values()] == [2, 2, 2, 1, 2]
    # A convolution and an addition read the stem's value, in two phases; its second reading is in one.
    assert [call.operands[-1].base for call in made["1+2"]] == ["arena", "frame"]
    first, again = (call.spec for call in made["3.body.4+3.add+4"])
    assert isinstance(first, MapSpec)
    assert isinstance(again, MapSpec)
    assert len(again.inputs) > len(first.inputs), "the stem's value is part of the expression"
    first, again = (call.spec for call in made["9.body.4+9.add+10"])
    assert first == again


@pytest.mark.parametrize("layers", [(GELU(),), (GELU(), *block())], ids=["alone", "read by a block"])
def test_what_is_dear_is_kept(layers: tuple[Layer, ...]) -> None:
    kept = passes(plan_of(*layers), "1+2")
    assert len(kept) == 1
    assert kept[0].operands[-1].base == "arena"


def test_what_a_single_phase_reads_is_made_once() -> None:
    assert len(passes(plan_of(ReLU()), "4+5")) == 1


def test_it_saves_memory() -> None:
    fewer = plan_of(ReLU(), *block(), *block())
    with NOTHING:
        more = plan_of(ReLU(), *block(), *block())
    # The stem's result and a block's: 32 images of 8 × 8 × 16 each.
    assert fewer.arena <= more.arena - 2 * 32 * 8 * 8 * 16 * 4


def test_the_step_has_the_same_bits() -> None:
    model = Sequential((conv(), BatchNorm(), ReLU(), *block(), *block(), Flatten(), Dense(10)))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 8, 8, 3)).astype(np.float32), rng.integers(0, 10, 12)

    def trained() -> list[float]:
        assert vg.compile is not None
        p = vg.compile(model, (8, 8, 3), "cross_entropy", SGD(0.1), batch_size=12, threads=2)
        return [p.step(x, y) for _ in range(3)]

    fewer = trained()
    with NOTHING:
        assert trained() == fewer
