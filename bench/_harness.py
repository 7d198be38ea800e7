"""How anything is timed here: interleaved rounds, each with a sample of the machine's peak, on a machine that is not quiet.

A host changes speed for seconds at a time, so a single time is worth little and a ratio of two times taken within
milliseconds of each other is worth much. A round samples the ruler (the peak loop), times every side one behind the
other, and samples the ruler again. Rounds whose ruler was below 0.95 of the run's 90th percentile are dropped;
what is reported is the median of the others' ratios and their quartiles.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Side = Callable[[], Any]

# A side is repeated in a round until it has run about so long, so that several sides fit into 50 ms.
SLICE = 8e-3
# The warm-up of a side, in slices.
_WARM_SLICES = 25
# A side shorter than this also runs once untimed in its turn, so that caches and threads are its own: in a training or a service
# calls follow calls of their own kind.
_SHORT = 100e-3
# Libraries' idle threads go on looking for work for some milliseconds, and take a processor from the next side's: each turn begins
# with a rest where there are several threads.
_REST = 30e-3
# Of several peers, those within this factor of the best after the warm-up take part in the rounds.
_CONTENDER = 1.25
_DROP_BELOW = 0.95
_OF_PERCENTILE = 0.9


@dataclass(frozen=True)
class Round:
    """The lower of the ruler's two samples, in GFLOP/s, and each side's seconds per call."""

    peak: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.5, high=2.5)
        """
        found = list(values)
        return cls(quantile(found, 0.5), quantile(found, 0.25), quantile(found, 0.75))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f} {self.high:.2f}]"


@dataclass
class Timing:
    """The rounds of a comparison. ``warm``: seconds of every side after the warm-up, of those left out too."""

    rounds: list[Round]
    warm: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> list[Round]:
        return kept(self.rounds)

    def sides(self) -> list[str]:
        return list(self.rounds[0].seconds)

    def seconds(self, side: str) -> float:
        """The side's median over the kept rounds; of a side left out, its time after the warm-up."""
        if side in self.rounds[0].seconds:
            return statistics.median(r.seconds[side] for r in self.kept)
        return self.warm[side]

    def best(self, sides: Iterable[str]) -> str:
        """The fastest of the sides."""
        return min((side for side in sides if side in self.rounds[0].seconds), key=self.seconds)

    def ratio(self, peer: str, ours: str) -> Spread:
        """The peer's time over ours, round by round."""
        return Spread.of(r.seconds[peer] / r.seconds[ours] for r in self.kept)

    def share(self, side: str, flops: float) -> Spread:
        """The side's flop/s over the ruler's, round by round."""
        return Spread.of(flops * 1e-9 / r.seconds[side] / r.peak for r in self.kept)

    def to_json(self) -> dict[str, Any]:
        return {"kept": len(self.kept), "rounds": [asdict(r) for r in self.rounds], "warm": self.warm}


def quantile(values: Iterable[float], at: float) -> float:
    """The value at fraction ``at`` of the sorted values, between two of them by proportion.

    >>> quantile([1.0, 2.0, 4.0], 0.75)
    3.0
    """
    ordered = sorted(values)
    place = at * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def kept(rounds: Sequence[Round]) -> list[Round]:
    """The rounds in which the machine was itself."""
    bound = _DROP_BELOW * quantile((r.peak for r in rounds), _OF_PERCENTILE)
    return [r for r in rounds if r.peak >= bound]


def geometric_mean(values: Iterable[float]) -> float:
    """
    >>> round(geometric_mean([2.0, 8.0]), 9)
    4.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))


def compare(
    sides: Mapping[str, Side], ruler: Callable[[], float], rounds: int, peers: Sequence[str] = (),
    slice_seconds: float = SLICE, threads: int = 1,
) -> Timing:  # fmt: skip
    """The sides' times in interleaved rounds, all of them warmed up first.

    ruler: a sample of the machine's peak, GFLOP/s. peers: sides of which only the fast ones are timed in the
    rounds, so that a slow one does not stretch them. threads: that each side uses.
    """
    warm = {name: _warm(side, _WARM_SLICES * slice_seconds) for name, side in sides.items()}
    if len(peers) > 1:
        for name in peers:
            warm[name] = min(warm[name], *(_seconds(sides[name], 1) for _ in range(3)))
        limit = _CONTENDER * min(warm[name] for name in peers)
        sides = {name: side for name, side in sides.items() if name not in peers or warm[name] <= limit}
    names = list(sides)
    repeats = {name: max(1, round(slice_seconds / warm[name])) for name in names}
    found = []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            turn = number % len(names)
            before = ruler()
            seconds: dict[str, float] = {}
            for name in names[turn:] + names[:turn]:
                if threads > 1:
                    time.sleep(_REST)
                if warm[name] < _SHORT:
                    sides[name]()
                seconds[name] = _seconds(sides[name], repeats[name])
            found.append(Round(min(before, ruler()), {name: seconds[name] for name in names}))
    finally:
        gc.enable()
    return Timing(found, warm)


def _warm(side: Side, seconds: float) -> float:
    """Runs a side for ``seconds`` and at least three times; seconds of its fastest call."""
    best, calls, end = math.inf, 0, time.perf_counter() + seconds
    while calls < 3 or (time.perf_counter() < end and calls < 200):
        best = min(best, _seconds(side, 1))
        calls += 1
    return best


def _seconds(side: Side, repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        side()
    return (time.perf_counter() - start) / repeat
