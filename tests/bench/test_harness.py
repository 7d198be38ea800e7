"""The statistics behind every table, without a clock and without a peer."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from bench import _harness
from bench._harness import Round, Spread, Timing, compare, geometric_mean, kept, quantile
from bench.shapes import LIMIT, shapes
from hypothesis import given
from hypothesis import strategies as st

numbers = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30)


@given(numbers)
def test_the_middle_quantile_is_the_median(values: list[float]) -> None:
    assert quantile(values, 0.5) == pytest.approx(statistics.median(values))
    assert (quantile(values, 0.0), quantile(values, 1.0)) == (min(values), max(values))


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30))
def test_quartiles_are_those_of_the_standard_library(values: list[float]) -> None:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    spread = Spread.of(values)
    assert (spread.low, spread.high) == pytest.approx((low, high))


@given(numbers)
def test_the_geometric_mean_of_inverses_is_the_inverse(values: list[float]) -> None:
    mean = geometric_mean(values)
    assert mean == pytest.approx(math.prod(v ** (1 / len(values)) for v in values))
    assert geometric_mean(1 / v for v in values) == pytest.approx(1 / mean)


def rounds(*peaks: float) -> list[Round]:
    """Rounds in which ours takes a second and the peer as many as the round's number, from 1."""
    return [Round(peak, {"ours": 1.0, "peer": float(n)}) for n, peak in enumerate(peaks, 1)]


def test_rounds_on_a_slow_machine_are_dropped() -> None:
    found = rounds(100, 94, 96, 50, 100, 100, 100, 100, 100, 100, 100)
    assert [r.seconds["peer"] for r in kept(found)] == [1, 3, 5, 6, 7, 8, 9, 10, 11]


def test_one_lucky_round_does_not_drop_the_others() -> None:
    found = rounds(*[100] * 19, 150)
    assert len(kept(found)) == 20


@given(st.lists(st.floats(1.0, 500.0), min_size=1, max_size=40))
def test_some_rounds_are_always_kept(peaks: list[float]) -> None:
    assert kept(rounds(*peaks))


def test_ratios_are_taken_round_by_round() -> None:
    """The ratio of the medians would be 2 here."""
    pairs = [(1.0, 3.0), (2.0, 2.0), (3.0, 12.0), (0.5, 1.5), (4.0, 4.0)]
    timing = Timing([Round(100.0, {"ours": a, "peer": b}) for a, b in pairs])
    assert timing.ratio("peer", "ours").median == 3.0
    assert timing.seconds("ours") == 2.0


def test_a_share_is_of_the_rounds_own_peak() -> None:
    timing = Timing([Round(100.0, {"ours": 1.0}), Round(98.0, {"ours": 1.0})])
    assert timing.share("ours", 98e9).high <= 1.0
    assert timing.share("ours", 49e9).median == pytest.approx((0.49 + 0.5) / 2)


class Clock:
    """A clock that only the sides move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def side(self, name: str, seconds: float) -> _harness.Side:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_harness.time, "perf_counter", lambda: made.now)
    return made


def test_sides_alternate_between_two_samples_of_the_ruler(clock: Clock) -> None:
    samples = itertools.count(100.0)

    def ruler() -> float:
        clock.calls.append("ruler")
        return next(samples)

    sides = {"ours": clock.side("ours", 0.1), "peer": clock.side("peer", 0.2)}
    timing = compare(sides, ruler, 3)
    turn = ["ruler", "ours", "peer", "ruler"], ["ruler", "peer", "ours", "ruler"]
    assert clock.calls[-12:] == [*turn[0], *turn[1], *turn[0]]
    assert [r.peak for r in timing.rounds] == [100.0, 102.0, 104.0]
    assert timing.ratio("peer", "ours").median == pytest.approx(2.0)


def test_short_sides_are_repeated_and_timed_per_call(clock: Clock) -> None:
    timing = compare({"ours": clock.side("ours", 1e-3)}, lambda: 1.0, 2, slice_seconds=4e-3)
    assert timing.seconds("ours") == pytest.approx(1e-3)
    # One untimed call and four timed ones in each of the two rounds, behind a warm-up of 25 slices.
    assert len(clock.calls) == pytest.approx(2 * 5 + 100, abs=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_idle_threads_of_the_last_side_are_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(_harness.time, "sleep", rests.append)
    compare(
        {"ours": clock.side("ours", 0.1), "peer": clock.side("peer", 0.2)}, lambda: 1.0, 3, threads=threads
    )
    assert len(rests) == (0 if threads == 1 else 6)


def test_peers_far_behind_the_best_stay_out_of_the_rounds(clock: Clock) -> None:
    seconds = {"ours": 0.1, "good": 0.2, "near": 0.22, "bad": 0.4}
    timing = compare(
        {name: clock.side(name, s) for name, s in seconds.items()},
        lambda: 1.0,
        2,
        peers=("good", "near", "bad"),
    )
    assert timing.sides() == ["ours", "good", "near"]
    assert timing.best(("good", "near", "bad")) == "good"
    assert timing.seconds("bad") == pytest.approx(0.4)


@given(st.integers(0, 2**32))
def test_shapes_are_the_seeds_own_and_within_their_ranges(seed: int) -> None:
    drawn = shapes(seed, 20)
    assert drawn == shapes(seed, 20)
    assert drawn[:5] == shapes(seed, 5)
    assert drawn != shapes(seed + 1, 20)
    for s in drawn:
        assert 1 <= s.c <= 96
        assert 1 <= s.k <= 96
        assert 1 <= s.n <= 128
        assert min(s.height, s.width) >= 5
        assert max(s.height, s.width) <= 64
        assert min(s.kernel) >= 1
        assert max(s.kernel) <= 7
        assert 1 <= s.stride <= 3
        assert min(s.conv.out_shape) >= 1
        assert s.n == 1 or s.n * s.conv.flops <= LIMIT
