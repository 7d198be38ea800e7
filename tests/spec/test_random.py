"""Philox against the vectors that its authors publish with Random123, and the draws built on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.spec import random

# Random123, tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert random.philox(counter, key) == expected


@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_integers_and_arrays_agree(counter: tuple[int, int, int, int], key: tuple[int, int]) -> None:
    arrays = tuple(np.array([word, word ^ 1], np.uint64) for word in counter)
    from_arrays = random.philox(arrays, key)  # type: ignore[arg-type]
    for number in range(2):
        single = tuple(int(a[number]) for a in arrays)
        assert tuple(int(w[number]) for w in from_arrays) == random.philox(single, key)  # type: ignore[arg-type]


@given(st.integers(0, 2**64 - 1), WORD, st.integers(0, 2**64 - 1))
def test_a_draw_is_the_same_by_integer_and_by_array(seed: int, epoch: int, index: int) -> None:
    many = random.draw(seed, random.STREAM_SHUFFLE, epoch, np.array([index], np.uint64))
    assert tuple(int(w[0]) for w in many) == random.draw(seed, random.STREAM_SHUFFLE, epoch, index)
    assert all(w.dtype == np.uint64 and int(w[0]) < 2**32 for w in many)


def test_every_coordinate_changes_the_draw() -> None:
    base = (5, random.STREAM_SHUFFLE, 3, 7)
    draws = {random.draw(*base)}
    for changed in (
        (6, random.STREAM_SHUFFLE, 3, 7),
        (5 + 2**32, random.STREAM_SHUFFLE, 3, 7),
        (5, random.STREAM_AUGMENT, 3, 7),
        (5, random.STREAM_SHUFFLE, 4, 7),
        (5, random.STREAM_SHUFFLE, 3, 8),
        (5, random.STREAM_SHUFFLE, 3, 7 + 2**32),
    ):
        draws.add(random.draw(*changed))
    assert len(draws) == 7


def test_streams_never_meet() -> None:
    streams = [getattr(random, name) for name in dir(random) if name.startswith("STREAM_")]
    assert len(set(streams)) == len(streams)
    numbered = {random.substream(stream, number) for stream in streams for number in range(1000)}
    assert len(numbered) == 1000 * len(streams)


def test_words_look_uniform() -> None:
    words = np.concatenate(random.draw(0, random.STREAM_CHECK, 0, np.arange(20_000, dtype=np.uint64)))
    bits = (words[:, None] >> np.arange(32, dtype=np.uint64)) & np.uint64(1)
    # Each bit is a fair coin thrown 80 000 times: five standard deviations are 0.0088.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.0088
