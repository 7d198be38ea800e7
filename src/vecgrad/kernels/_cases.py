"""A body for each static count that a runtime index may stand for."""

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
