"""Strassen's algorithm in Winograd's form, in NumPy: a 1 × 1 convolution's three directions by seven products for eight.

With one tap φ(x) is x itself, a pixel a row, and (2.9) is the product of matrices y = x w. Cut into quadrants,

    y₁₁ = x₁₁w₁₁ + x₁₂w₂₁,   y₁₂ = x₁₁w₁₂ + x₁₂w₂₂,   y₂₁ = x₂₁w₁₁ + x₂₂w₂₁,   y₂₂ = x₂₁w₁₂ + x₂₂w₂₂,

it takes eight products of quadrants. Seven are enough (Strassen, 1969; these fifteen sums are Winograd's):

    s₁ = x₂₁ + x₂₂,  s₂ = s₁ − x₁₁,  s₃ = x₁₁ − x₂₁,  s₄ = x₁₂ − s₂,
    t₁ = w₁₂ − w₁₁,  t₂ = w₂₂ − t₁,  t₃ = w₂₂ − w₁₂,  t₄ = t₂ − w₂₁,
    u = x₁₁w₁₁ + s₂t₂,  v = u + s₃t₃,
    y₁₁ = x₁₁w₁₁ + x₁₂w₂₁,   y₂₁ = v − x₂₂t₄,   y₂₂ = v + s₁t₁,   y₁₂ = u + s₁t₁ + s₄w₂₂.

The data gradient (2.30) is dy wᵀ and the weight gradient (2.21) xᵀ dy, products of matrices as well. Nothing is divided, so
integers and fractions come out as exactly as by the eight products; `check` says so. In floating point the sums
round: errors grow by a small factor, whatever the size.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, expect_shape
from vecgrad.reference._conv import conv as direct_conv
from vecgrad.reference._conv import conv_dw as direct_conv_dw
from vecgrad.reference._conv import conv_dx as direct_conv_dx
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv


def product(x: Array, w: Array) -> Array:
    """x w of matrices (m, k) and (k, n) by seven products. Raises ShapeError unless m, k and n are even and the k are equal.

    >>> product(np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]]))
    array([[19, 22],
           [43, 50]])
    """
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0] or any(n % 2 for n in (*x.shape, *w.shape)):
        raise ShapeError(
            f"Strassen's algorithm takes matrices of even sides that fit each other, got {x.shape} and {w.shape}"
        )
    x11, x12, x21, x22 = _quadrants(x)
    w11, w12, w21, w22 = _quadrants(w)
    s1 = x21 + x22
    s2 = s1 - x11
    s3, s4 = x11 - x21, x12 - s2
    t1 = w12 - w11
    t2 = w22 - t1
    t3, t4 = w22 - w12, t2 - w21
    first, middle = x11 @ w11, s1 @ t1
    u = first + s2 @ t2
    v = u + s3 @ t3
    made: Array = np.block([[first + x12 @ w21, u + middle + s4 @ w22], [v - x22 @ t4, v + middle]])
    return made


def conv(x: Array, w: Array, g: Conv) -> Array:
    """y (2.9): x (n, H, W, C), w (1, 1, C, K) → (n, H, W, K), in x's own kind of numbers.

    Pixels 2i and 2i + 1 are rows of the upper and of the lower quadrants. Raises ShapeError where an array does not fit ``g``, or
    ``g`` is not 1 × 1 with stride 1, no padding and one group, or a side is odd.

    >>> from vecgrad.spec.geometry import window
    >>> ones = np.ones((1, 2, 3, 4)), np.ones((1, 1, 4, 2))
    >>> conv(*ones, Conv(window((2, 3), 1), 4, 2))[0, :, :, 0]
    array([[4., 4., 4.],
           [4., 4., 4.]])
    """
    _check(g, x=x, w=w)
    return _pixels(product(_pairs(x), w[0, 0]), len(x), g)


def conv_dx(dy: Array, w: Array, g: Conv) -> Array:
    """∂z/∂x (2.30): dy (n, H, W, K), w (1, 1, C, K) → (n, H, W, C)."""
    _check(g, dy=dy, w=w)
    return _pixels(product(_pairs(dy), w[0, 0].T), len(dy), g)


def conv_dw(x: Array, dy: Array, g: Conv) -> Array:
    """∂z/∂w (2.21): x (n, H, W, C), dy (n, H, W, K) → (1, 1, C, K)."""
    _check(g, x=x, dy=dy)
    return product(_pairs(x).T, _pairs(dy))[None, None]


def check(g: Conv, images: int = 1, seed: int = 0) -> None:
    """Raises AssertionError unless all directions equal direct convolution exactly, on random integers.

    >>> from vecgrad.spec.geometry import window
    >>> check(Conv(window((5, 6), 1), 2, 4))
    """
    rng = np.random.default_rng(seed)
    x, w, dy = (
        rng.integers(-9, 10, shape)
        for shape in ((images, *g.in_shape), g.weight_shape, (images, *g.out_shape))
    )
    for found, wanted in (
        (conv(x, w, g), direct_conv(x, w, g)),
        (conv_dx(dy, w, g), direct_conv_dx(dy, w, g)),
        (conv_dw(x, dy, g), direct_conv_dw(x, dy, g)),
    ):
        assert found.shape == wanted.shape
        assert (found == wanted).all()


def _quadrants(m: Array) -> tuple[Array, Array, Array, Array]:
    rows, cols = m.shape[0] // 2, m.shape[1] // 2
    return m[:rows, :cols], m[:rows, cols:], m[rows:, :cols], m[rows:, cols:]


def _pairs(x: Array) -> Array:
    """All pixels as rows: the first ones of all pairs, then the second ones."""
    channels = x.shape[3]
    made: Array = x.reshape(-1, 2, channels).swapaxes(0, 1).reshape(-1, channels)
    return made


def _pixels(rows: Array, n: int, g: Conv) -> Array:
    """``_pairs`` undone."""
    channels = rows.shape[1]
    made: Array = rows.reshape(2, -1, channels).swapaxes(0, 1).reshape(n, *g.window.in_size, channels)
    return made


def _check(g: Conv, **arrays: Array) -> None:
    window = g.window
    alone = window.kernel == (1, 1) and window.stride == (1, 1) and window.in_size == window.out_size
    if not alone or g.groups != 1:
        raise ShapeError(
            f"seven products for eight compute 1 × 1 kernels of stride 1, no padding and one group, got {g}; use conv"
        )
    height, width = window.in_size
    if height * width % 2:
        raise ShapeError(
            f"pixels are taken in pairs, so an image must have an even number of them, not {height} × {width}"
        )
    shapes = {"x": g.in_shape, "dy": g.out_shape}
    for name, array in arrays.items():
        expect_shape(name, array, g.weight_shape if name == "w" else (None, *shapes[name]))
