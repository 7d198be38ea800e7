"""im2col, φ and C: a convolution's operands as matrices, in the paper's order."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, expect_shape
from vecgrad.reference.tensors import unvec, vec
from vecgrad.spec.geometry import Window


def im2col(x: Array, g: Window) -> Array:
    """The windows of ``x`` as columns, each read down then right, in the order down then right (2.5).

    x is one channel (H, W) or an image (D, H, W), whose channels are stacked in the rows; the result has
    R·S·D rows and P·Q columns. Padding reads 0 (section 6). Raises ShapeError where x does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> im2col(np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]]), window((3, 4), 2))
    array([[1, 2, 3, 8, 1, 5],
           [2, 3, 8, 2, 5, 0],
           [3, 8, 1, 5, 4, 1],
           [8, 2, 5, 0, 1, 3]])
    """
    image = x[None] if x.ndim == 2 else x
    expect_shape("x", image, (None, *g.in_size))
    framed = np.pad(image, ((0, 0), *g.padding))
    (P, Q), (s_v, s_h), (e_v, e_h) = g.out_size, g.stride, g.dilation
    windows = [
        vec(framed[:, s_v * i : s_v * i + g.rows.extent : e_v, s_h * j : s_h * j + g.cols.extent : e_h])
        for j in range(Q)
        for i in range(P)
    ]
    return np.stack(windows, axis=1)


def phi(x: Array, g: Window) -> Array:
    """φ(x) = im2col(x)ᵀ (2.6): one row for each output pixel, one column for each tap of each channel.

    >>> from vecgrad.spec.geometry import window
    >>> phi(np.arange(8).reshape(2, 2, 2), window((2, 2), (2, 1)))
    array([[0, 2, 4, 6],
           [1, 3, 5, 7]])
    """
    return im2col(x, g).T


def kernel_matrix(w: Array) -> Array:
    """C = (vec(κ_1), …, vec(κ_D')) (2.8): kernels (D', D, R, S) → matrix (R·S·D, D').

    >>> kernel_matrix(np.array([[[[1, 0], [-1, 1]]]])).ravel()
    array([ 1, -1,  0,  1])
    """
    return np.stack([vec(kappa) for kappa in w], axis=1)


def kernels_of(C: Array, shape: tuple[int, ...]) -> Array:
    """The kernels (D', D, R, S) of ``shape`` whose matrix is ``C``: vec(C) = vec(w) (2.18).

    >>> kernels_of(np.array([[1], [-1], [0], [1]]), (1, 1, 2, 2))[0, 0]
    array([[ 1,  0],
           [-1,  1]])
    """
    return unvec(vec(C), shape)
