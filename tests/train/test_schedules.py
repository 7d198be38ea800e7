"""Schedules at their corners."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.spec.errors import ArgumentError
from vecgrad.train import SCHEDULES, Constant, Cosine, Linear, OneCycle, Schedule, Steps, Warmup
from vecgrad.train.schedules import by_name, from_json

shares = st.floats(0, 1)


def test_corners() -> None:
    assert [Constant().factor(p) for p in (0.0, 0.5, 0.999)] == [1, 1, 1]
    assert [Steps((0.5, 0.75), 0.1).factor(p) for p in (0.49, 0.5, 0.74, 0.75)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert [Cosine().factor(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    warm = Cosine(warmup=0.2, final=0.1)
    assert [warm.factor(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])


@given(shares, shares, shares)
def test_a_cosine_stays_between_zero_and_one(warmup: float, final: float, progress: float) -> None:
    assert -1e-12 <= Cosine(warmup, final).factor(progress) <= 1 + 1e-12


@given(shares, shares, shares, shares, st.booleans())
def test_one_cycle_is_largest_at_its_peak(
    peak: float, start: float, final: float, progress: float, linear: bool
) -> None:
    cycle = OneCycle(peak, start, final, linear)
    assert -1e-12 <= cycle.factor(progress) <= 1 + 1e-12
    if peak < 1:
        assert cycle.factor(peak) == pytest.approx(1)


@given(st.floats(0, 0.99), shares, shares)
def test_warmup_ends_where_the_schedule_begins(share: float, start: float, progress: float) -> None:
    then = OneCycle(0.5, 0.25, 0.1)
    warm = Warmup(then, share, start)
    if share > 0:
        assert warm.factor(0) == pytest.approx(start * 0.25)
        assert warm.factor(share) == pytest.approx(0.25)
        assert warm.factor(share + (1 - share) * progress) == pytest.approx(then.factor(progress), abs=1e-6)


@given(shares, shares, shares)
def test_a_warm_cosine_is_both(warmup: float, final: float, progress: float) -> None:
    expected = Cosine(warmup, final).factor(progress)
    if warmup < 0.99:
        assert Warmup(Cosine(final=final), warmup).factor(progress) == pytest.approx(expected, abs=1e-9)


STEPS = 40


def _one_cycle(torch: Any, optimizer: Any, linear: bool) -> Any:
    # PyTorch's phases end at pct · total − 1 and total − 1; ours at 0.3 and 1 of the steps.
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=STEPS + 1, pct_start=(0.3 * STEPS + 1) / (STEPS + 1), cycle_momentum=False,
        anneal_strategy="linear" if linear else "cos",
    )  # fmt: skip


PEERS: dict[str, tuple[Schedule, Callable[[Any, Any], Any]]] = {
    "steps": (
        Steps((0.25, 0.5), 0.5),
        lambda t, o: t.optim.lr_scheduler.MultiStepLR(o, [STEPS // 4, STEPS // 2], 0.5),
    ),
    "cosine": (Cosine(final=0.1), lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, 0.1)),
    "linear": (Linear(0.2), lambda t, o: t.optim.lr_scheduler.LinearLR(o, 1.0, 0.2, STEPS)),
    "one cycle": (OneCycle(), lambda t, o: _one_cycle(t, o, False)),
    "one cycle, linear": (OneCycle(linear=True), lambda t, o: _one_cycle(t, o, True)),
    "warm-up": (
        Warmup(Cosine(), 0.25, 0.1),
        lambda t, o: t.optim.lr_scheduler.SequentialLR(
            o,
            [
                t.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, STEPS // 4),
                t.optim.lr_scheduler.CosineAnnealingLR(o, STEPS - STEPS // 4),
            ],
            [STEPS // 4],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PEERS)
def test_pytorchs_schedulers(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    ours, make = PEERS[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    peer = make(torch, optimizer)
    for step in range(STEPS):
        assert ours.factor(step / STEPS) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12
        ), step
        optimizer.step()
        peer.step()


@pytest.mark.parametrize(
    "schedule",
    [
        *(cls() for cls in SCHEDULES.values()),
        Steps((0.1, 0.2), 0.3),
        Warmup(Warmup(OneCycle(peak=0.4), 0.1), 0.2, 0.3),
    ],
    ids=str,
)
def test_told_as_json_and_back(schedule: Schedule) -> None:
    assert from_json(json.loads(json.dumps(schedule.to_json()))) == schedule


def test_json_of_something_else() -> None:
    with pytest.raises(ArgumentError, match="there is no schedule 'Zigzag'"):
        from_json({"class": "Zigzag"})
    with pytest.raises(ArgumentError, match="Linear cannot be made"):
        from_json({"class": "Linear", "speed": 1})
    with pytest.raises(ArgumentError, match="then must be a Schedule"):
        Warmup("cosine")  # type: ignore[arg-type]


def test_names() -> None:
    assert by_name("one_cycle") == OneCycle()
    assert by_name("linear") == Linear()
    assert by_name(None) == Constant()
    assert by_name("cosine") == Cosine()
    assert by_name(Steps()) == Steps()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: OneCycle(peak=-0.1),
        lambda: Linear(2.0),
        lambda: Warmup(share=1.5),
        lambda: Steps(by=2.0),
        lambda: Cosine(warmup=-1),
        lambda: Steps(at=(0.5, True)),
    ],
)
def test_shares_are_shares(bad: object) -> None:
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        bad()  # type: ignore[operator]
