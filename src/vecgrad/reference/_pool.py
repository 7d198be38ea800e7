"""Max and average pooling on batches, channels last."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.reference._taps import cells, cropped, framed, inside, padded, tap
from vecgrad.spec.geometry import Window


def max_pool(x: Array, g: Window) -> tuple[Array, Array]:
    """(y, index): the largest cell of each window (4.2) and which one it was, both (n, P, Q, C).

    ``index`` is an int32, the chosen cell's ordinal s·R + r in the window's column-major order. Of equal
    cells the smallest ordinal wins (smallest column, then smallest row); the first NaN beats every number.
    Padding is never chosen: each window must hold a cell of the image. Raises ShapeError where x does
    not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> y, index = max_pool(np.array([[1.0, 5.0], [5.0, 0.0]])[None, :, :, None], window((2, 2), 2))
    >>> y.item(), index.item()
    (5.0, 1)
    """
    expect_shape("x", x, (None, *g.in_size, None))
    frame = padded(x.astype(common_dtype(x), copy=False), g)
    shape = (len(x), *g.out_size, x.shape[3])
    y, index = np.zeros(shape, frame.dtype), np.full(shape, -1, np.int32)
    for ordinal, (r, s) in enumerate(g.taps_column_major()):
        cell = tap(frame, g, r, s)
        beats = (index < 0) | (cell > y) | (np.isnan(cell) & ~np.isnan(y))
        beats &= inside(g, r, s)[None, :, :, None]
        y[beats], index[beats] = cell[beats], ordinal
    return y, index


def max_pool_dx(dy: Array, index: Array, g: Window) -> Array:
    """∂z/∂x of max pooling (4.6): dy and index (n, P, Q, C) → (n, H, W, C).

    Each dy goes to the cell that ``index`` of ``max_pool`` names; where windows overlap they add. Raises
    ShapeError where an array does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> g = window((1, 3), (1, 2))
    >>> y, index = max_pool(np.array([1.0, 9.0, 2.0]).reshape(1, 1, 3, 1), g)
    >>> max_pool_dx(np.array([1.0, 10.0]).reshape(1, 1, 2, 1), index, g).ravel()
    array([ 0., 11.,  0.])
    """
    expect_shape("dy", dy, (None, *g.out_size, None))
    expect_shape("index", index, dy.shape)
    frame = framed(len(dy), dy.shape[3], g, common_dtype(dy))
    for ordinal, (r, s) in enumerate(g.taps_column_major()):
        read = tap(frame, g, r, s)
        read += np.where(index == ordinal, dy, 0)
    return cropped(frame, g).copy()


def avg_pool(x: Array, g: Window, count_padding: bool) -> Array:
    """The mean of each window: x (n, H, W, C) → (n, P, Q, C).

    The sum is divided by the filter size with ``count_padding``, else by the number of image cells in
    the window. Raises ShapeError where x does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> avg_pool(np.full((1, 1, 2, 1), 3.0), window((1, 2), (1, 2), padding=((0, 0), (1, 0))), False).ravel()
    array([3., 3.])
    """
    expect_shape("x", x, (None, *g.in_size, None))
    frame = padded(x.astype(common_dtype(x), copy=False), g)
    y = np.zeros((len(x), *g.out_size, x.shape[3]), frame.dtype)
    for r, s in g.taps_column_major():
        y += tap(frame, g, r, s)
    y /= _divisor(g, count_padding)
    return y


def avg_pool_dx(dy: Array, g: Window, count_padding: bool) -> Array:
    """∂z/∂x of average pooling: dy (n, P, Q, C) over its window's divisor, added over windows: (n, H, W, C).

    Raises ShapeError where dy does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> avg_pool_dx(np.array([2.0, 4.0]).reshape(1, 1, 2, 1), window((1, 3), (1, 2)), False).ravel()
    array([1., 3., 2.])
    """
    expect_shape("dy", dy, (None, *g.out_size, None))
    dtype = common_dtype(dy)
    share = dy.astype(dtype, copy=False) / _divisor(g, count_padding).astype(dtype)
    frame = framed(len(dy), dy.shape[3], g, dtype)
    for r, s in g.taps_column_major():
        read = tap(frame, g, r, s)
        read += share
    return cropped(frame, g).copy()


def _divisor(g: Window, count_padding: bool) -> Array:
    """(P, Q, 1): what each window's sum is divided by."""
    return (np.full(g.out_size, g.taps) if count_padding else cells(g))[:, :, None]
