"""Which image comes when: orders, batches and splits as pure functions of a seed.

A permutation of n images sorts n 64-bit Philox words, keyed by (seed, stream, epoch, index): the same
on every machine, for any number of threads, and for a run that was interrupted and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecgrad.data._numbers import is_integer, is_number
from vecgrad.spec.errors import ArgumentError, DataError
from vecgrad.spec.random import STREAM_SHUFFLE, STREAM_SPLIT, draw

Indices = NDArray[np.int64]


def order(n: int, seed: int, epoch: int) -> Indices:
    """The order of ``n`` images in an epoch: a permutation of 0 … n − 1, int64.

    >>> order(6, seed=0, epoch=0).tolist() == order(6, seed=0, epoch=0).tolist()
    True
    """
    return _permutation(n, seed, STREAM_SHUFFLE, epoch)


def batches(n: int, batch_size: int, seed: int, epoch: int, shuffle: bool = True) -> Iterator[Indices]:
    """The index arrays of an epoch's batches; the last may be smaller. Unshuffled: 0, 1, 2, ….

    >>> [b.tolist() for b in batches(5, 2, seed=0, epoch=0, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    if not is_integer(batch_size):
        raise ArgumentError(f"batch_size must be an integer of at least 1, got {batch_size!r}")
    indices = order(n, seed, epoch) if shuffle else np.arange(n, dtype=np.int64)
    return (indices[start : start + batch_size] for start in range(0, n, batch_size))


def split(images: int | ArrayLike, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """(kept, held out): two ascending int64 index arrays that share nothing and cover all.

    ``images`` is their number, or their integer labels (n,): then each class is held out in
    proportion, to the nearest image, and never its last one. round(fraction · n) images are held
    out; fewer where classes are too small to give any.

    Raises ArgumentError for a fraction outside (0, 1), DataError where one of the two would be empty.

    >>> kept, held_out = split([0, 0, 0, 0, 1, 1, 1, 1], 0.25, seed=0)
    >>> len(kept), len(held_out), held_out[0] < 4 <= held_out[1]
    (6, 2, np.True_)
    """
    if not is_number(fraction) or not 0.0 < fraction < 1.0:
        raise ArgumentError(f"the fraction to hold out must be a number between 0 and 1, got {fraction!r}")
    labels, n = (None, int(images)) if isinstance(images, (int, np.integer)) else _with_length(images)
    shuffled = _permutation(n, seed, STREAM_SPLIT, 0)
    wanted = round(fraction * n)
    if labels is None:
        held_out = shuffled[:wanted]
    else:
        classes, counts = np.unique(labels, return_counts=True)
        quotas = _apportion(counts, fraction, wanted)
        ranked = labels[shuffled]
        held_out = np.concatenate(
            [shuffled[ranked == label][:quota] for label, quota in zip(classes, quotas, strict=True)]
        )
    if not 0 < len(held_out) < n:
        raise DataError(
            f"{n} images cannot be split: a fraction of {fraction} holds out {len(held_out)} of them"
        )
    held_out = np.sort(held_out)
    return np.setdiff1d(np.arange(n, dtype=np.int64), held_out, assume_unique=True), held_out


def _with_length(labels: ArrayLike) -> tuple[NDArray[Any], int]:
    array = np.asarray(labels)
    return array, len(array)


def _apportion(counts: NDArray[np.int64], fraction: float, wanted: int) -> NDArray[np.int64]:
    """How many of each class: the floor of its share, then one more by largest remainder."""
    share = fraction * counts
    quotas: NDArray[np.int64] = np.floor(share).astype(np.int64)
    remainder = np.where(quotas < counts - 1, share - quotas, -1.0)
    by_remainder = np.argsort(-remainder, kind="stable")
    eligible = by_remainder[remainder[by_remainder] > 0]
    quotas[eligible[: max(0, wanted - int(quotas.sum()))]] += 1
    return quotas


def _permutation(n: int, seed: int, stream: int, epoch: int) -> Indices:
    if n < 0:
        raise ArgumentError(f"the number of images cannot be negative, got {n}")
    high, low, _, _ = draw(int(seed), stream, int(epoch), np.arange(n, dtype=np.uint64))
    keys = (high << np.uint64(32)) | low
    return np.argsort(keys, kind="stable").astype(np.int64)
