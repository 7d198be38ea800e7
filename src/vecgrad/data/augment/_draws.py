"""Random numbers of one augmentation for some images: functions of the seed, the epoch and each image's index."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecgrad.spec.random import STREAM_AUGMENT, draw, substream

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Blocks of four words that one augmentation may draw for an image; rejection ends long before.
_BLOCKS = 256


class Draws:
    """Numbers for the images ``indices`` (n,) of the data set in an epoch, one call after the other.

    The k-th call gives an image the same numbers in whatever batch it comes. ``position`` is the augmentation's
    place in its pipeline, so that no two of them share a number.

    >>> import numpy as np
    >>> both, one = Draws(0, 0, np.array([5, 7])), Draws(0, 0, np.array([7]))
    >>> both.uniform()[1] == one.uniform()[0]
    np.True_
    """

    def __init__(self, seed: int, epoch: int, indices: NDArray[np.integer], position: int = 0) -> None:
        self.seed, self.epoch, self.position = seed, epoch, position
        self.indices = np.asarray(indices)
        self._made: list[NDArray[np.uint64]] = []
        self._whole, self._part = self, slice(None)
        self._next = 0

    def __len__(self) -> int:
        return len(self.indices)

    def word(self) -> NDArray[np.uint64]:
        """32 random bits for each image, (n,)."""
        made = self._whole._made
        if self._next == len(made):
            block = substream(STREAM_AUGMENT, self.position * _BLOCKS + self._next // 4)
            made += draw(self.seed, block, self.epoch, self._whole.indices.astype(np.uint64))
        found = made[self._next][self._part]
        self._next += 1
        return found

    def part(self, part: slice) -> Draws:
        """The same for some of the images, from the first number on. All parts share one run of the generator."""
        found = Draws(self.seed, self.epoch, self.indices[part], self.position)
        found._whole, found._part = self, part
        return found

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Floats:
        """(n,), from ``low`` up to, but not including, ``high``."""
        return np.asarray(low + (high - low) * (self.word() * 2.0**-32), np.float64)

    def below(self, bound: int) -> Integers:
        """(n,) integers 0 … ``bound`` − 1."""
        return ((self.word() * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)

    def coin(self) -> NDArray[np.bool_]:
        """(n,), true for half of the images."""
        return self.word() >= np.uint64(1 << 31)

    def beta(self, alpha: float) -> Floats:
        """(n,) from the symmetric beta distribution with both parameters ``alpha``.

        From 1/2 on Ulrich's transformation, ½ + ½ √(1 − u^(2 / (2α − 1))) cos 2πv (1984); below it Jöhnk's rejection:
        u^(1/α) / (u^(1/α) + v^(1/α)) where that sum is at most 1 (1964), which accepts 3 of 4 or more.
        """
        if alpha >= 0.5:
            power = math.inf if alpha == 0.5 else 2.0 / (2.0 * alpha - 1.0)
            return _each(lambda u, v: _ulrich(u, v, power), self.uniform(), self.uniform())
        found = np.full(len(self), np.nan)
        while (open_ := np.isnan(found)).any() and self._next < 4 * _BLOCKS - 4:
            tried = _each(lambda u, v: _joehnk(u, v, alpha), self.uniform(), self.uniform())
            found = np.where(open_, tried, found)
        return np.where(np.isnan(found), 0.5, found)

    def at(self, epoch: int) -> Draws:
        """The same images and augmentation in another epoch, from the first number on."""
        return Draws(self.seed, epoch, self.indices, self.position)


def _each(function: Callable[[float, float], float], u: Floats, v: Floats) -> Floats:
    # One number at a time: NumPy's loops for powers and cosines may round differently for other lengths.
    return np.array([function(a, b) for a, b in zip(u.tolist(), v.tolist(), strict=True)], np.float64)


def _ulrich(u: float, v: float, power: float) -> float:
    return 0.5 + 0.5 * math.sqrt(1.0 - u**power) * math.cos(2.0 * math.pi * v)


def _joehnk(u: float, v: float, alpha: float) -> float:
    """NaN where the pair is rejected. By logarithms: for a small alpha both powers would be zero."""
    if not u or not v:
        return math.nan
    a, b = math.log(u) / alpha, math.log(v) / alpha
    top = max(a, b)
    if top + math.log(math.exp(a - top) + math.exp(b - top)) > 0.0:
        return math.nan
    return math.exp(a - top) / (math.exp(a - top) + math.exp(b - top))
