"""Convolution as the paper writes it: images D × H × W, kernels D' × D × R × S, column-major matrices.

The general case of section 6 (stride, padding, dilation, groups, bias, batch) is the same algebra with
another M and a C for each group. x may be one image (D, H, W) or a batch (N, D, H, W); likewise y, dy, dx.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.reference.indexmap import M, gather
from vecgrad.reference.tensors import unvec, vec
from vecgrad.reference.unfold import kernel_matrix, kernels_of, phi
from vecgrad.spec.geometry import Conv, Window


def convolve(x: Array, w: Array, g: Conv, b: Array | None = None) -> Array:
    """y with vec(y) = vec(φ(x) C) (2.9), plus 1 bᵀ: x (D, H, W), w (D', D / groups, R, S) → (D', P, Q).

    Raises ShapeError where an array does not fit ``g``.

    >>> from vecgrad.spec.geometry import window
    >>> A, K = np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]]), np.array([[1, 0], [-1, 1]])
    >>> convolve(A[None], K[None, None], Conv(window((3, 4), 2), 1, 1))
    array([[[ 7.,  0., -3.],
            [ 1.,  6.,  8.]]])
    """
    if x.ndim == 4:
        return _stacked([convolve(image, w, g, b) for image in x], (g.channels_out, *g.window.out_size), x)
    _check(g, w=w, x=x)
    dtype = common_dtype(*_given(x, w, b))
    columns = [
        phi(x_g, g.window) @ kernel_matrix(w_g).astype(dtype)
        for x_g, w_g in zip(_cut(x, g.groups), _cut(w, g.groups), strict=True)
    ]
    Y = np.concatenate(columns, axis=1)
    if b is not None:
        Y = Y + b
    return unvec(vec(Y), (g.channels_out, *g.window.out_size))


def convolve_by_loops(x: Array, w: Array, g: Conv, b: Array | None = None) -> Array:
    """The same y by seven loops and nothing else: a batch x (N, D, H, W) → (N, D', P, Q).

    >>> from vecgrad.spec.geometry import window
    >>> convolve_by_loops(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), Conv(window((2, 2), 2), 1, 1)).item()
    4.0
    """
    R, S = g.window.kernel
    P, Q = g.window.out_size
    D, D_out = g.channels_in // g.groups, g.channels_out // g.groups
    y = np.zeros((len(x), g.channels_out, P, Q), common_dtype(*_given(x, w, b)))
    for n in range(len(x)):
        for l in range(g.channels_out):  # noqa: E741 - the paper's letter for the kernel's number
            for i_out in range(P):
                for j_out in range(Q):
                    total = y.dtype.type(0 if b is None else b[l])
                    for d in range(D):
                        for r in range(R):
                            for s in range(S):
                                i, j = g.window.rows.source(i_out, r), g.window.cols.source(j_out, s)
                                if i is not None and j is not None:
                                    total += x[n, (l // D_out) * D + d, i, j] * w[l, d, r, s]
                    y[n, l, i_out, j_out] = total
    return y


def convolve_dw(x: Array, dy: Array, g: Conv) -> Array:
    """∂z/∂w from ∂z/∂C = φ(x)ᵀ ∂z/∂y (2.21), group by group, summed over a batch: (D', D / groups, R, S).

    >>> from vecgrad.spec.geometry import window
    >>> g = Conv(window((1, 3), (1, 2)), 1, 1)
    >>> convolve_dw(np.array([[[1, 2, 3]]]), np.array([[[1, 10]]]), g).ravel()
    array([21., 32.])
    """
    R, S, D, D_out = g.weight_shape
    if x.ndim == 4:
        expect_shape("dy", dy, (len(x), g.channels_out, *g.window.out_size))
        parts = [convolve_dw(image, dy_n, g) for image, dy_n in zip(x, dy, strict=True)]
        total: Array = np.sum(_stacked(parts, (D_out, D, R, S), x), axis=0)
        return total
    _check(g, x=x, dy=dy)
    return np.concatenate(
        [
            kernels_of(
                phi(x_g, g.window).T @ _matrix(dy_g).astype(common_dtype(x, dy)),
                (D_out // g.groups, D, R, S),
            )
            for x_g, dy_g in zip(_cut(x, g.groups), _cut(dy, g.groups), strict=True)
        ]
    )


def convolve_dx(dy: Array, w: Array, g: Conv) -> Array:
    """∂z/∂x by vec(∂z/∂x) = Mᵀ vec(∂z/∂y Cᵀ) (2.28): dy (D', P, Q) → (D, H, W).

    >>> from vecgrad.spec.geometry import window
    >>> g = Conv(window((1, 3), (1, 2)), 1, 1)
    >>> convolve_dx(np.array([[[1, 10]]]), np.array([[[[2, 3]]]]), g)
    array([[[ 2., 23., 30.]]])
    """

    def scatter(G: Array, window: Window) -> Array:
        D = g.channels_in // g.groups
        return unvec(M(window, D).transposed(vec(G)), (D, *window.in_size))

    return _dx(dy, w, g, scatter)


def convolve_dx_by_gather(dy: Array, w: Array, g: Conv) -> Array:
    """∂z/∂x by the gather (2.30), without M: dy (D', P, Q) → (D, H, W).

    >>> from vecgrad.spec.geometry import window
    >>> g = Conv(window((1, 3), (1, 2)), 1, 1)
    >>> convolve_dx_by_gather(np.array([[[1, 10]]]), np.array([[[[2, 3]]]]), g)
    array([[[ 2., 23., 30.]]])
    """
    return _dx(dy, w, g, gather)


def convolve_db(dy: Array) -> Array:
    """∂z/∂b = (∂z/∂y)ᵀ 1: dy (D', P, Q) or (N, D', P, Q) → (D',).

    >>> convolve_db(np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    array([10.])
    """
    batch = dy if dy.ndim == 4 else dy[None]
    db: Array = np.sum(batch, axis=(0, 2, 3), dtype=common_dtype(dy))
    return db


def _dx(dy: Array, w: Array, g: Conv, collect: Callable[[Array, Window], Array]) -> Array:
    """Group by group: G = ∂z/∂y Cᵀ (2.29), then ``collect`` its entries into the image."""
    if dy.ndim == 4:
        return _stacked([_dx(part, w, g, collect) for part in dy], (g.channels_in, *g.window.in_size), dy)
    _check(g, w=w, dy=dy)
    dtype = common_dtype(dy, w)
    return np.concatenate(
        [
            collect(_matrix(dy_g).astype(dtype) @ kernel_matrix(w_g).T, g.window)
            for dy_g, w_g in zip(_cut(dy, g.groups), _cut(w, g.groups), strict=True)
        ]
    )


def _given(x: Array, w: Array, b: Array | None) -> tuple[Array, ...]:
    return (x, w) if b is None else (x, w, b)


def _matrix(y: Array) -> Array:
    """(D', P, Q) as the matrix φ(x) C of size P·Q × D' with the same vec (2.9)."""
    return unvec(vec(y), (y.shape[1] * y.shape[2], y.shape[0]))


def _cut(a: Array, groups: int) -> list[Array]:
    """Equal parts of the first axis."""
    return np.split(a, groups)


def _stacked(parts: list[Array], shape: tuple[int, ...], like: Array) -> Array:
    """np.stack that also takes an empty batch."""
    return np.stack(parts) if parts else np.zeros((0, *shape), common_dtype(like))


def _check(g: Conv, *, x: Array | None = None, w: Array | None = None, dy: Array | None = None) -> None:
    R, S, D, D_out = g.weight_shape
    for what, array, shape in (
        ("x", x, (g.channels_in, *g.window.in_size)),
        ("w", w, (D_out, D, R, S)),
        ("dy", dy, (D_out, *g.window.out_size)),
    ):
        if array is not None:
            expect_shape(what, array, shape)
