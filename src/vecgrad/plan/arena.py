"""Where tensors lie: memory is shared by those that are never alive at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Tensors start at multiples of a page where they are large (one TLB entry less, and copies that are a
# multiple of 4096 bytes apart are avoided by the line that is left between them), of a cache line where small.
LINE = 64
PAGE = 4096


@dataclass(frozen=True)
class Interval:
    """``nbytes`` that must be kept from time ``first`` to time ``last``, both included."""

    key: int
    nbytes: int
    first: int
    last: int


def allocate(intervals: Sequence[Interval]) -> tuple[dict[int, int], int]:
    """(offset of each key, bytes in all): largest first, each at the lowest place that is free while it lives.

    >>> offsets, total = allocate([Interval(0, 64, 0, 1), Interval(1, 64, 1, 2), Interval(2, 64, 2, 3)])
    >>> offsets[0] == offsets[2], total
    (True, 128)
    """
    placed: list[tuple[int, int, Interval]] = []
    offsets: dict[int, int] = {}
    total = 0
    for interval in sorted(intervals, key=lambda i: (-i.nbytes, i.first, i.key)):
        unit = PAGE if interval.nbytes >= 4 * PAGE else LINE
        nbytes = _up(interval.nbytes, LINE)
        offset = 0
        for start, end in sorted((s, e) for s, e, other in placed if _overlap(other, interval)):
            if offset + nbytes <= start:
                break
            offset = max(offset, _up(end, unit))
        offsets[interval.key] = offset
        placed.append((offset, offset + nbytes, interval))
        total = max(total, offset + nbytes)
    return offsets, total


def _overlap(a: Interval, b: Interval) -> bool:
    return a.first <= b.last and b.first <= a.last


def _up(nbytes: int, unit: int) -> int:
    return -(-nbytes // unit) * unit
