"""Pooling as the paper writes it: images D × H × W, the choice of every window in the sparse matrix S.

``g`` may be any window; padding is never chosen and, for the mean, is 0 and counted only if asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.reference.indexmap import M
from vecgrad.reference.selection import Selection
from vecgrad.reference.tensors import unvec, vec
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Window

Entry = tuple[int, int, int]


def choices(x: Array, g: Window) -> Selection:
    """S of (4.4), of size D·P·Q × D·H·W: row by row, a 1 where the window's chosen entry is.

    Of equal entries the one in the smallest column is chosen, of those the one in the smallest row; the
    first NaN beats every number. Raises ShapeError for a window without a cell of the image.

    >>> from vecgrad.spec.geometry import window
    >>> choices(np.array([[[1, 5], [5, 0]]]), window((2, 2), 2)).columns
    array([1])
    """
    expect_shape("x", x, (None, *g.in_size))
    pixels, (P, Q) = g.in_size[0] * g.in_size[1], g.out_size
    windows = M(g, 1).columns.reshape(g.taps, P * Q).T
    columns = []
    for d, channel in enumerate(vec(part) for part in x):
        for sources in windows:
            image_cells = sources[sources >= 0]
            if not len(image_cells):
                raise ShapeError("a pooling window holds no cell of the image; use less padding")
            columns.append(pixels * d + image_cells[np.argmax(channel[image_cells])])
    return Selection(np.array(columns, dtype=np.int64), x.size)


def max_pool(x: Array, g: Window) -> Array:
    """y with vec(y) = S vec(x) (4.4): x (D, H, W) → (D, P, Q).

    >>> from vecgrad.spec.geometry import window
    >>> max_pool(np.array([[[1, 5], [5, 0]]]), window((2, 2), 2))
    array([[[5.]]])
    """
    values = x.astype(common_dtype(x), copy=False)
    return unvec(choices(values, g) @ vec(values), (len(x), *g.out_size))


def max_pool_dx(dy: Array, S: Selection, g: Window) -> Array:
    """∂z/∂x with vec(∂z/∂x) = Sᵀ vec(∂z/∂y) (4.5): dy (D, P, Q) → (D, H, W). Adds where windows overlap.

    >>> from vecgrad.spec.geometry import window
    >>> g = window((1, 3), (1, 2))
    >>> max_pool_dx(np.array([[[1.0, 10.0]]]), choices(np.array([[[1.0, 9.0, 2.0]]]), g), g)
    array([[[ 0., 11.,  0.]]])
    """
    return unvec(S.transposed(vec(dy).astype(common_dtype(dy))), (len(dy), *g.in_size))


def max_pool_by_loops(x: Array, g: Window) -> tuple[Array, dict[Entry, list[Entry]]]:
    """(y, A) by loops over (4.2): A maps an input entry (d, i, j) to the output entries that chose it (4.6).

    >>> from vecgrad.spec.geometry import window
    >>> max_pool_by_loops(np.array([[[1.0, 9.0, 2.0]]]), window((1, 3), (1, 2)))[1]
    {(0, 0, 1): [(0, 0, 0), (0, 0, 1)]}
    """
    P, Q = g.out_size
    y = np.zeros((len(x), P, Q), common_dtype(x))
    A: dict[Entry, list[Entry]] = {}
    for d in range(len(x)):
        for i_out in range(P):
            for j_out in range(Q):
                best: tuple[int, int] | None = None
                for r, s in g.taps_column_major():
                    i, j = g.rows.source(i_out, r), g.cols.source(j_out, s)
                    if i is not None and j is not None and (best is None or _beats(x[d, i, j], x[d][best])):
                        best = (i, j)
                if best is None:
                    raise ShapeError("a pooling window holds no cell of the image; use less padding")
                y[d, i_out, j_out] = x[d][best]
                A.setdefault((d, *best), []).append((d, i_out, j_out))
    return y, A


def max_pool_dx_by_sets(dy: Array, A: dict[Entry, list[Entry]], g: Window) -> Array:
    """∂z/∂x by (4.6): each input entry adds ∂z/∂y over its set A.

    >>> from vecgrad.spec.geometry import window
    >>> A = {(0, 0, 1): [(0, 0, 0), (0, 0, 1)]}
    >>> max_pool_dx_by_sets(np.array([[[1.0, 2.0]]]), A, window((1, 3), (1, 2)))
    array([[[0., 3., 0.]]])
    """
    dx = np.zeros((len(dy), *g.in_size), common_dtype(dy))
    for entry, outputs in A.items():
        for output in outputs:
            dx[entry] += dy[output]
    return dx


def average_matrix(g: Window, channels: int, count_padding: bool) -> Array:
    """The matrix, D·P·Q × D·H·W, of average pooling: each window's cells weigh one over its divisor.

    The divisor is the filter size with ``count_padding``, else the number of image cells in the window.

    >>> from vecgrad.spec.geometry import window
    >>> average_matrix(window((1, 3), (1, 2)), 1, False)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]])
    """
    P, Q = g.out_size
    sums = M(g, 1).dense().reshape(g.taps, P * Q, -1).sum(axis=0)
    divisors = np.full((P * Q, 1), g.taps) if count_padding else sums.sum(axis=1, keepdims=True)
    return np.kron(np.eye(channels), sums / divisors)


def average_pool(x: Array, g: Window, count_padding: bool) -> Array:
    """The mean of each window: x (D, H, W) → (D, P, Q).

    >>> from vecgrad.spec.geometry import window
    >>> average_pool(np.array([[[1.0, 3.0, 5.0]]]), window((1, 3), (1, 2)), False)
    array([[[2., 4.]]])
    """
    A = average_matrix(g, len(x), count_padding).astype(common_dtype(x))
    return unvec(A @ vec(x), (len(x), *g.out_size))


def average_pool_dx(dy: Array, g: Window, count_padding: bool) -> Array:
    """∂z/∂x of average pooling, the transposed matrix: dy (D, P, Q) → (D, H, W).

    >>> from vecgrad.spec.geometry import window
    >>> average_pool_dx(np.array([[[2.0, 4.0]]]), window((1, 3), (1, 2)), False)
    array([[[1., 3., 2.]]])
    """
    A = average_matrix(g, len(dy), count_padding).astype(common_dtype(dy))
    return unvec(A.T @ vec(dy), (len(dy), *g.in_size))


def _beats(new: Any, old: Any) -> bool:
    """Larger, or the first NaN. Equal entries keep the one met first: the paper's rule of ties."""
    return bool(new > old) or bool(np.isnan(new) and not np.isnan(old))
