"""A window seen tap by tap: tap (r, s) of all output pixels at once is a strided view of the padded image."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.spec.geometry import Axis, Window


def padded(x: Array, g: Window) -> Array:
    """A copy of x (n, H, W, C) in its frame of zeros: (n, top + H + bottom, left + W + right, C)."""
    frame = framed(x.shape[0], x.shape[3], g, x.dtype)
    cropped(frame, g)[...] = x
    return frame


def framed(n: int, channels: int, g: Window, dtype: np.dtype[np.generic]) -> Array:
    """Zeros in the padded shape of ``g``."""
    rows, cols = (axis.before + axis.size + axis.after for axis in (g.rows, g.cols))
    return np.zeros((n, rows, cols, channels), dtype)


def cropped(frame: Array, g: Window) -> Array:
    """The image inside its frame, as a view (n, H, W, C)."""
    top, left = g.rows.before, g.cols.before
    return frame[:, top : top + g.rows.size, left : left + g.cols.size]


def tap(frame: Array, g: Window, r: int, s: int) -> Array:
    """What tap (r, s) reads for every output pixel (2.16'): a view (n, P, Q, C) of the padded image."""
    return frame[:, _reads(g.rows, r), _reads(g.cols, s)]


def inside(g: Window, r: int, s: int) -> Array:
    """(P, Q) booleans: where tap (r, s) reads a cell of the image, not padding."""
    return np.logical_and.outer(_hits(g.rows, r), _hits(g.cols, s))


def cells(g: Window) -> Array:
    """(P, Q) integers: how many cells of the image each window holds."""
    rows, cols = (
        sum(_hits(axis, k).astype(np.int64) for k in range(axis.kernel)) for axis in (g.rows, g.cols)
    )
    return np.multiply.outer(rows, cols)


def _reads(axis: Axis, k: int) -> slice:
    first = axis.dilation * k
    return slice(first, first + axis.stride * (axis.out - 1) + 1, axis.stride)


def _hits(axis: Axis, k: int) -> Array:
    source = axis.stride * np.arange(axis.out) + axis.dilation * k - axis.before
    return np.asarray((source >= 0) & (source < axis.size))
