"""A body for each static count that a runtime index may stand for, and runs of equal tiles."""

from __future__ import annotations

from collections.abc import Iterator

from vecgrad.kernels.builder import Builder, Value


def cases(b: Builder, index: Value, last: int, usual: int, final: int) -> Iterator[int]:
    """``for count in cases(…)``: the loop's body is written once where ``index`` < ``last``, with ``usual``,
    and once where it equals ``last``, with ``final``; only once where that is the same."""
    if usual == final:
        yield usual
        return
    if last:
        with b.when(b.icmp("slt", index, last)):
            yield usual
    with b.when(b.icmp("eq", index, last)):
        yield final


def cut(count: int, most: int) -> list[tuple[int, int, int]]:
    """0 … count − 1 in tiles of ``most`` and one of what is left: (first, end, width) of each run."""
    most = min(most, count)
    end = count - count % most
    return [(0, end, most), (end, count, count - end)] if end < count else [(0, end, most)]
