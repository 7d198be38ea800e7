"""Sparse matrices with at most one 1 in each row: M of (2.23), S of (4.4), the permutations Π and Q."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecgrad.reference._arrays import Array


@dataclass(frozen=True, eq=False)
class Selection:
    """The matrix, of size len(columns) × width, whose row r has its 1 in column ``columns[r]``; −1: in none.

    >>> M = Selection(np.array([2, 0, 2, -1]), width=3)
    >>> M @ np.array([5, 6, 7])
    array([7, 5, 7, 0])
    >>> M.transposed(np.array([1, 10, 100, 1000]))
    array([ 10,   0, 101])
    """

    columns: Array
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.columns), self.width)

    def __matmul__(self, v: Array) -> Array:
        """M v, for a vector or a matrix of ``width`` rows: the chosen entries, 0 where none is chosen."""
        picked = np.zeros((len(self.columns), *v.shape[1:]), v.dtype)
        chosen = self.columns >= 0
        picked[chosen] = v[self.columns[chosen]]
        return picked

    def transposed(self, v: Array) -> Array:
        """Mᵀ v: each entry of v is added where its row chose, so entries chosen twice receive twice."""
        total = np.zeros((self.width, *v.shape[1:]), v.dtype)
        chosen = self.columns >= 0
        np.add.at(total, self.columns[chosen], v[chosen])
        return total

    def dense(self) -> Array:
        """The matrix written out, float64.

        >>> Selection(np.array([1, 0]), width=2).dense()
        array([[0., 1.],
               [1., 0.]])
        """
        matrix = np.zeros(self.shape)
        rows = np.flatnonzero(self.columns >= 0)
        matrix[rows, self.columns[rows]] = 1
        return matrix
