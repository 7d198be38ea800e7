"""Normalized maps that weight gradients compute again: which ones, where they lie, and that the step stays what it was."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from tests.networks import Network
from tests.plan.drafts import planned

from vecgrad.layers import GELU, BatchNorm, Conv2D, Dense, Flatten, Layer, ReLU, Residual, Sequential
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.spec.machine import AVX512
from vecgrad.updates import SGD


def plan_of(*layers: Layer, channels: int = 16) -> Plan:
    first = (Conv2D(channels, 3, padding=1), BatchNorm(), *layers)
    model = Sequential((*first, Conv2D(channels, 3, padding=1), BatchNorm(), ReLU(), Flatten(), Dense(10)))
    return planned(Network(model, (8, 8, 3), batch=32), AVX512, SGD())


def normalized(plan: Plan) -> list[PlannedCall]:
    """The passes that make what the second convolution reads."""
    return [
        call
        for call in plan.calls()
        if call.op == "map" and call.stage == "forward" and call.scope.startswith("1") and call.kernel == "map.pixels"
    ]  # fmt: skip


def test_it_exists_for_chunks_only() -> None:
    again = normalized(plan_of(ReLU()))
    assert len(again) == 2
    assert {call.operands[-1].base for call in again} == {"frame"}
    assert again[0].spec == again[1].spec


@pytest.mark.parametrize(
    ("layers", "channels"),
    [((GELU(),), 16), ((ReLU(),), 80), ((ReLU(), Residual((Conv2D(16, 3, padding=1),))), 16)],
    ids=["dear", "gradient by tasks", "read by more"],
)
def test_it_is_kept(layers: tuple[Layer, ...], channels: int) -> None:
    kept = normalized(plan_of(*layers, channels=channels))
    assert len(kept) == 1
    assert kept[0].operands[-1].base == "arena"


def test_it_saves_memory() -> None:
    fewer = plan_of(ReLU())
    with patch("vecgrad.plan.make.computed_again", lambda steps, outputs: {}):
        more = plan_of(ReLU())
    assert fewer.arena < more.arena
