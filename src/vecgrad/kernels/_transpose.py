"""A square of vectors transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence

from vecgrad.kernels.builder import Builder, Value

# LLVM looks for one shuffle that does several rounds' work, through all of them; there is none across this round, and
# not looking saves a quarter of a packing kernel's compilation.
_APART = 4


def transposed(b: Builder, rows: Sequence[Value]) -> list[Value]:
    """Lane i of result j is lane j of row i; as many rows as a vector has lanes.

    log2(lanes) rounds exchange blocks off the diagonal, from single entries to half vectors (Eklundh, 1972).
    """
    result = list(rows)
    lanes = len(result)
    step = 1
    while step < lanes:
        low = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
        high = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if not i & step:
                upper, lower = result[i], result[i + step]
                result[i], result[i + step] = b.chosen(upper, lower, low), b.chosen(upper, lower, high)
        step *= 2
        if step == _APART:
            result = b.pinned(result)
    return result
