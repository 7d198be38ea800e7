"""Orders, batches and splits: pure functions of the seed, and what they promise about every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.data import batches, order, split
from vecgrad.spec.errors import ArgumentError, DataError
from vecgrad.spec.random import STREAM_SHUFFLE, draw


@pytest.mark.parametrize("n", [0, 1, 2, 7, 64, 1000])
def test_order_is_a_permutation(n: int) -> None:
    indices = order(n, seed=3, epoch=2)
    assert indices.dtype == np.int64
    assert sorted(indices.tolist()) == list(range(n))


def test_order_sorts_the_64_bit_draws_of_plain_integers() -> None:
    def key(index: int) -> int:
        high, low, _, _ = draw(2**40 + 5, STREAM_SHUFFLE, 9, index)
        return int(high << 32 | low)

    assert order(300, seed=2**40 + 5, epoch=9).tolist() == sorted(range(300), key=key)


def test_no_draw_loses_its_lower_half() -> None:
    # Among 200,000 draws some agree in their upper 32 bits.
    high, low, _, _ = draw(1, STREAM_SHUFFLE, 0, np.arange(200_000, dtype=np.uint64))
    assert len(np.unique(high)) < 200_000
    keys = (high << np.uint64(32) | low)[order(200_000, seed=1, epoch=0)]
    assert (keys[:-1] < keys[1:]).all()


def test_order_never_changes_between_versions() -> None:
    # A resumed run would see other images otherwise.
    assert order(10, seed=0, epoch=0).tolist() == [3, 4, 5, 2, 8, 1, 9, 7, 0, 6]


def test_order_depends_on_seed_and_epoch() -> None:
    orders = {tuple(order(50, seed, epoch).tolist()) for seed in (0, 1, -1, 2**33) for epoch in (0, 1, 2)}
    assert len(orders) == 12


@given(st.integers(0, 70), st.integers(1, 80), st.booleans())
def test_batches_cover_the_order_and_only_the_last_is_smaller(n: int, size: int, shuffle: bool) -> None:
    got = list(batches(n, size, seed=1, epoch=4, shuffle=shuffle))
    assert all(len(indices) == size for indices in got[:-1])
    assert all(0 < len(indices) <= size for indices in got[-1:])
    whole = np.concatenate([np.empty(0, np.int64), *got]).tolist()
    assert whole == (order(n, 1, 4).tolist() if shuffle else list(range(n)))


def test_bad_arguments_are_refused_at_the_call() -> None:
    with pytest.raises(ArgumentError, match="batch_size"):
        batches(5, 0, seed=0, epoch=0)
    with pytest.raises(ArgumentError, match="-1"):
        order(-1, 0, 0)
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ArgumentError, match="fraction"):
            split(10, fraction, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=120), st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_stratified_split_is_disjoint_complete_and_in_proportion(
    labels: list[int], fraction: float, seed: int
) -> None:
    y = np.array(labels)
    try:
        kept, held_out = split(y, fraction, seed)
    except DataError:
        counts = np.bincount(y)
        assert round(fraction * len(y)) == 0 or (counts[counts > 0] * fraction).max() < 1 or counts.max() == 1
        return
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(y)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(held_out) <= round(fraction * len(y))
    for label in set(labels):
        total, held = int((y == label).sum()), int((y[held_out] == label).sum())
        assert held <= total - 1
        assert abs(held - min(fraction * total, total - 1)) < 1


def test_large_classes_give_exactly_the_rounded_number() -> None:
    y = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    kept, held_out = split(y, 360 / 1797, seed=0)
    assert (len(kept), len(held_out)) == (1437, 360)
    assert np.bincount(y[held_out]).min() >= 34


def test_a_split_without_labels_holds_out_the_rounded_number() -> None:
    kept, held_out = split(11, 0.25, seed=5)
    assert (len(kept), len(held_out)) == (8, 3)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(11))
    assert held_out.tolist() != split(11, 0.25, seed=6)[1].tolist()


@pytest.mark.parametrize("images", [1, 3, np.arange(30)])
def test_a_split_that_would_leave_nothing_is_refused(images: object) -> None:
    with pytest.raises(DataError, match="cannot be split"):
        split(images, 0.1, seed=0)  # type: ignore[arg-type]
