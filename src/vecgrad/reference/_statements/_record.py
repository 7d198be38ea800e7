"""What a statement is: a name, a line of text, and a trial that computes both sides by different code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw

FLOOR = 1e-3
"""Sums that cancel to about 0 are judged by this scale: their terms are about 1."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two arrays that the statement says are equal, with a name for each."""

    left_name: str
    left: Array
    right_name: str
    right: Array

    @property
    def residual(self) -> float:
        """max |left − right| over max(|left|, |right|, FLOOR); ∞ where shapes, NaN or ±∞ differ.

        >>> Comparison("a", np.array([1.0, 4.0]), "b", np.array([1.0, 5.0])).residual
        0.2
        """
        left, right = (side.astype(np.float64) for side in (self.left, self.right))
        if left.shape != right.shape:
            return float("inf")
        finite = np.isfinite(left) & np.isfinite(right)
        if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
            return float("inf")
        left, right = left[finite], right[finite]
        scale = max(np.max(np.abs(left), initial=FLOOR), np.max(np.abs(right), initial=FLOOR))
        return float(np.max(np.abs(left - right), initial=0) / scale)


@dataclass(frozen=True, eq=False)
class Trial:
    """One instance of a statement: what was drawn, and the sides to compare."""

    given: dict[str, Array]
    compared: tuple[Comparison, ...]

    @property
    def residual(self) -> float:
        """The largest residual of its comparisons."""
        return max(comparison.residual for comparison in self.compared)


@dataclass(frozen=True)
class Equation:
    """A numbered formula or a named statement of the paper, and how to try it on a random instance."""

    number: str
    title: str
    statement: str
    trial: Callable[[Draw], Trial]

    def check(self, rng: np.random.Generator) -> float:
        """The largest relative residual on one random instance (float64)."""
        return self.trial(Draw(rng)).residual


def trial(given: Mapping[str, object], *compared: tuple[str, object, str, object]) -> Trial:
    """A Trial from (left name, left, right name, right) tuples of anything that NumPy takes."""
    return Trial(
        {name: np.asarray(value) for name, value in given.items()},
        tuple(Comparison(a, np.asarray(left), b, np.asarray(right)) for a, left, b, right in compared),
    )
