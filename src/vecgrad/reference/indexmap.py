"""The index map m from entries of φ(x) to entries of x, the matrix M that it names, and the gather (2.30)."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.reference.selection import Selection
from vecgrad.spec.geometry import Axis, Window


def m(p: int, q: int, g: Window) -> tuple[int, int, int] | None:
    """The input entry (d, i, j) that entry (p, q) of φ(x) copies, (2.14)–(2.17); None where it is padding.

    >>> from vecgrad.spec.geometry import window
    >>> m(1, 6, window((3, 4), 2))
    (1, 1, 1)
    """
    j_out, i_out = divmod(p, g.rows.out)
    d, tap = divmod(q, g.taps)
    s, r = divmod(tap, g.rows.kernel)
    i, j = g.rows.source(i_out, r), g.cols.source(j_out, s)
    return None if i is None or j is None else (d, i, j)


def M(g: Window, channels: int) -> Selection:
    """The matrix M (2.23), of size P·Q·R·S·D × D·H·W: vec(φ(x)) = M vec(x) (2.24).

    Row (p, q) is number p + P·Q·q; its 1 is in column H·W·d + H·j + i with (d, i, j) = m(p, q). A row
    that reads padding has no 1.

    >>> from vecgrad.spec.geometry import window
    >>> M(window((1, 2), (1, 2), padding=((0, 0), (1, 0))), 1).columns
    array([-1,  0,  0,  1])
    """
    H, W = g.in_size
    i, j = _sources(g.rows), _sources(g.cols)  # (P, R) and (Q, S)
    d = np.arange(channels)[:, None, None, None, None]
    i, j = i.T[None, None, :, None, :], j.T[None, :, None, :, None]  # the axes are (d, s, r, j_out, i_out)
    columns = np.where((i < 0) | (j < 0), -1, H * W * d + H * j + i)
    return Selection(columns.reshape(-1), channels * H * W)


def gather(G: Array, g: Window) -> Array:
    """∂z/∂x by (2.30): each input entry adds the entries of G = ∂z/∂y Cᵀ (2.29) that read it.

    G is (P·Q, R·S·D); the result (D, H, W). Solves (2.16') and (2.17') for the output pixel, so it needs
    no M. Raises ShapeError where G does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> gather(np.array([[1.0, 2.0], [10.0, 20.0]]), window((1, 3), (1, 2)))
    array([[[ 1., 12., 20.]]])
    """
    P, Q = g.out_size
    D = G.shape[1] // g.taps
    expect_shape("G", G, (P * Q, D * g.taps))
    dx = np.zeros((D, *g.in_size), common_dtype(G))
    for i in range(g.rows.size):
        for j in range(g.cols.size):
            for r, i_out in _readers(g.rows, i):
                for s, j_out in _readers(g.cols, j):
                    dx[:, i, j] += G[i_out + P * j_out, r + g.rows.kernel * s :: g.taps]
    return dx


def _sources(axis: Axis) -> Array:
    """(out, kernel) integers: the input row that output pixel and tap read (2.16'), −1 for padding."""
    row = axis.stride * np.arange(axis.out)[:, None] + axis.dilation * np.arange(axis.kernel) - axis.before
    return np.where((row >= 0) & (row < axis.size), row, -1)


def _readers(axis: Axis, row: int) -> list[tuple[int, int]]:
    """The (tap, output pixel) pairs that read an input row."""
    pairs = []
    for tap in range(axis.kernel):
        out, rest = divmod(row + axis.before - axis.dilation * tap, axis.stride)
        if rest == 0 and 0 <= out < axis.out:
            pairs.append((tap, out))
    return pairs
