"""Memory: what lives at the same time never shares a byte, and what outlives a phase is never in a frame."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.networks import LARGE, LENET, NETWORKS, Network
from tests.plan.drafts import drafted

from vecgrad.plan.arena import LINE, Interval, allocate
from vecgrad.spec.machine import AVX2, AVX512, Machine

INTERVALS = st.lists(
    st.tuples(st.integers(0, 40_000), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25
)


@given(INTERVALS)
@settings(deadline=None)
def test_live_intervals_never_overlap(given_: list[tuple[int, int, int]]) -> None:
    intervals = [Interval(key, n, min(a, b), max(a, b)) for key, (n, a, b) in enumerate(given_)]
    offsets, total = allocate(intervals)
    assert set(offsets) == {interval.key for interval in intervals}
    for interval in intervals:
        assert offsets[interval.key] % LINE == 0
        assert offsets[interval.key] + interval.nbytes <= total
    for a, b in itertools.combinations(intervals, 2):
        if a.first <= b.last and b.first <= a.last and a.nbytes and b.nbytes:
            start, end = offsets[a.key], offsets[a.key] + a.nbytes
            assert end <= offsets[b.key] or offsets[b.key] + b.nbytes <= start


def test_memory_is_shared_by_those_that_never_meet() -> None:
    chain = [Interval(i, 1024, i, i + 1) for i in range(10)]
    assert allocate(chain)[1] == 2048


def test_the_order_given_does_not_matter() -> None:
    intervals = [Interval(i, 64 * (i % 3 + 1), i, i + 2) for i in range(9)]
    assert allocate(intervals) == allocate(intervals[::-1])


@pytest.mark.parametrize("machine", [AVX512, AVX2], ids=lambda m: m.isa)
@pytest.mark.parametrize("network", [LARGE, LENET, *NETWORKS.values()], ids=["large", "lenet", *NETWORKS])
def test_in_whole_plans(network: Network, machine: Machine) -> None:
    draft, plan = drafted(network, machine)
    spans: list[tuple[str, int, int, tuple[int, int], tuple[int, int]]] = []
    for buffer in draft.buffers:
        if buffer.base not in ("arena", "frame") or not buffer.touches:
            continue
        first, last = min(buffer.touches), max(buffer.touches)
        if buffer.base == "frame":
            assert buffer.batched
            assert first[0] == last[0], "a frame is undefined in the next phase"
            assert draft.phases[first[0]].images_per_chunk
            nbytes = buffer.nbytes * draft.images_per_chunk
            assert buffer.offset + nbytes <= plan.frame
        else:
            # Another chunk may still be at the phase's first call when this one is at its last.
            first, last = (first[0], 0), (last[0], 1 << 30)
            nbytes = buffer.nbytes * (draft.batch_size if buffer.batched else 1)
            assert buffer.offset + nbytes <= plan.arena
        if buffer.kept:
            assert buffer.base == "arena"
            last = (len(draft.phases), 0)
        assert buffer.offset % LINE == 0
        spans.append((buffer.base, buffer.offset, buffer.offset + nbytes, first, last))
    for a, b in itertools.combinations(spans, 2):
        if a[0] == b[0] and a[3] <= b[4] and b[3] <= a[4]:
            assert a[2] <= b[1] or b[2] <= a[1]
