"""Schedules at their corners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.spec.errors import ArgumentError
from vecgrad.train import Constant, Cosine, Steps
from vecgrad.train.schedules import by_name

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


def test_names() -> None:
    assert by_name(None) == Constant()
    assert by_name("cosine") == Cosine()
    assert by_name(Steps()) == Steps()


@pytest.mark.parametrize(
    "bad", [lambda: Steps(by=2.0), lambda: Cosine(warmup=-1), lambda: Steps(at=(0.5, True))]
)
def test_shares_are_shares(bad: object) -> None:
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        bad()  # type: ignore[operator]
