"""Convolution on batches, channels last: one matrix product for each tap and group.

With A_(r,s) (n·P·Q × C) what tap (r, s) reads, (2.9) is y = Σ A_(r,s) w[r, s]; its two gradients are
the transposed products of (2.21) and (2.28). Groups are a leading axis of the products.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.reference._taps import cropped, framed, padded, tap
from vecgrad.spec.geometry import Conv


def conv(x: Array, w: Array, g: Conv) -> Array:
    """y = x * w, formula (2.9): x (n, H, W, C), w (R, S, C / groups, K) → y (n, P, Q, K).

    The kernel is never flipped. Computes in the arrays' common floating dtype, integers in float64.
    Raises ShapeError where an array does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> image = np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]])[None, :, :, None]
    >>> kernel = np.array([[1, 0], [-1, 1]])[:, :, None, None]
    >>> conv(image, kernel, Conv(window((3, 4), 2), 1, 1))[0, :, :, 0]
    array([[ 7.,  0., -3.],
           [ 1.,  6.,  8.]])
    """
    expect_shape("x", x, (None, *g.in_shape))
    expect_shape("w", w, g.weight_shape)
    dtype = common_dtype(x, w)
    frame = padded(x.astype(dtype, copy=False), g.window)
    y = np.zeros((g.groups, len(x) * _pixels(g), g.channels_out // g.groups), dtype)
    for r, s in g.window.taps_column_major():
        y += _by_group(tap(frame, g.window, r, s), g.groups) @ _tap_weights(w, r, s, g, dtype)
    return _from_groups(y, (len(x), *g.out_shape))


def conv_dx(dy: Array, w: Array, g: Conv) -> Array:
    """∂z/∂x, formula (2.28) as the gather (2.30): dy (n, P, Q, K), w (R, S, C / groups, K) → (n, H, W, C).

    Each tap's product with the transposed weights is added where the forward pass read. Raises
    ShapeError where an array does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> g = Conv(window((1, 3), (1, 2)), 1, 1)
    >>> dy, w = np.array([1.0, 10.0]).reshape(1, 1, 2, 1), np.array([2.0, 3.0]).reshape(1, 2, 1, 1)
    >>> conv_dx(dy, w, g).ravel()
    array([ 2., 23., 30.])
    """
    expect_shape("dy", dy, (None, *g.out_shape))
    expect_shape("w", w, g.weight_shape)
    dtype = common_dtype(dy, w)
    grouped = _by_group(dy.astype(dtype, copy=False), g.groups)
    frame = framed(len(dy), g.channels_in, g.window, dtype)
    for r, s in g.window.taps_column_major():
        read = tap(frame, g.window, r, s)
        read += _from_groups(grouped @ _tap_weights(w, r, s, g, dtype).transpose(0, 2, 1), read.shape)
    return cropped(frame, g.window).copy()


def conv_dw(x: Array, dy: Array, g: Conv) -> Array:
    """∂z/∂w, formula (2.21) summed over the images: x (n, H, W, C), dy (n, P, Q, K) → (R, S, C / groups, K).

    Raises ShapeError where an array does not fit ``g`` or the two batches differ.

    >>> from vecgrad.spec.geometry import window
    >>> g = Conv(window((1, 3), (1, 2)), 1, 1)
    >>> x, dy = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1), np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    >>> conv_dw(x, dy, g).ravel()
    array([21., 32.])
    """
    expect_shape("x", x, (None, *g.in_shape))
    expect_shape("dy", dy, (len(x), *g.out_shape))
    dtype = common_dtype(x, dy)
    frame = padded(x.astype(dtype, copy=False), g.window)
    grouped = _by_group(dy.astype(dtype, copy=False), g.groups)
    dw = np.zeros(g.weight_shape, dtype)
    for r, s in g.window.taps_column_major():
        product = _by_group(tap(frame, g.window, r, s), g.groups).transpose(0, 2, 1) @ grouped
        dw[r, s] = product.transpose(1, 0, 2).reshape(g.weight_shape[2:])
    return dw


def _pixels(g: Conv) -> int:
    p, q = g.window.out_size
    return p * q


def _by_group(a: Array, groups: int) -> Array:
    """(n, P, Q, G·c) → (G, n·P·Q, c)."""
    n, p, q, channels = a.shape
    return a.reshape(n * p * q, groups, channels // groups).transpose(1, 0, 2)


def _from_groups(a: Array, shape: tuple[int, ...]) -> Array:
    """(G, n·P·Q, c) → (n, P, Q, G·c)."""
    return a.transpose(1, 0, 2).reshape(shape)


def _tap_weights(w: Array, r: int, s: int, g: Conv, dtype: np.dtype[np.generic]) -> Array:
    """w[r, s] (C / G, K) cut into its groups: (G, C / G, K / G)."""
    c, k = g.weight_shape[2:]
    matrix: Array = w[r, s].astype(dtype, copy=False)
    return matrix.reshape(c, g.groups, k // g.groups).transpose(1, 0, 2)
