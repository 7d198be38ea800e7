"""Winograd's F(4 × 4, 3 × 3) in NumPy: the three directions of a 3 × 3 convolution by 36 products a tile.

Along one axis the polynomials w(z) = w₀ + w₁z + w₂z² and v(z) = v₀ + … + v₃z³ have a product of degree 5, which six
values determine: w and v are evaluated at six points (G w and A v), multiplied point by point, and interpolated. That
map is linear in each of them, so it has transposes. Fixing w, the transpose takes six inputs x to the four outputs

    y_p = Σ_r w_r x_{p+r},    y = Aᵀ [(G w) ∘ (Bᵀ x)],

with the interpolation's transpose Bᵀ; once for the rows and once for the columns of a tile:

    y  = Aᵀ [(G w Gᵀ) ∘ (Bᵀ x B)] A                                   for (2.9),
    dw = Gᵀ [Σ (A dy Aᵀ) ∘ (Bᵀ x B)] G                                for (2.21),

the second because y is linear in w and the transposes of its factors stand in reverse order. The data gradient (2.30) is
a forward convolution of dy with the weights turned by half and their channels exchanged. In rational arithmetic all of
them equal direct convolution exactly, whatever the points; `check` says so.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vecgrad.reference._arrays import Array, expect_shape
from vecgrad.reference._conv import conv as direct_conv
from vecgrad.reference._conv import conv_dw as direct_conv_dw
from vecgrad.reference._conv import conv_dx as direct_conv_dx
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, Conv, Window
from vecgrad.spec.winograd import INPUTS, OUTPUTS, TAPS, Matrix, cook_toom


def conv(x: Array, w: Array, g: Conv) -> Array:
    """y (2.9): x (n, H, W, C), w (3, 3, C, K) → (n, P, Q, K), in float64, or in fractions where the arrays hold objects.

    Raises ShapeError where an array does not fit ``g``, or ``g`` is not 3 × 3 with stride 1 and one group.

    >>> from vecgrad.spec.geometry import window
    >>> ones = np.ones((1, 5, 5, 2)), np.ones((3, 3, 2, 1))
    >>> conv(*ones, Conv(window((5, 5), 3), 2, 1))[0, :, :, 0].round(12)
    array([[18., 18., 18.],
           [18., 18., 18.],
           [18., 18., 18.]])
    """
    _check(g, x=x, w=w)
    x, w = _exact(x), _exact(w)
    products = _products(_inputs(x, g.window), _both(_matrix(cook_toom().g, w), w, 0, 1))
    return _assembled(_both(_matrix(cook_toom().at, x), products, 0, 1), len(x), g.window.out_size)


def conv_dx(dy: Array, w: Array, g: Conv) -> Array:
    """∂z/∂x (2.30): dy (n, P, Q, K), w (3, 3, C, K) → (n, H, W, C). Padding of more than 2 is cut from dy."""
    _check(g, dy=dy, w=w)
    turned = w[::-1, ::-1].transpose(0, 1, 3, 2)
    rows, cols = (
        Axis(axis.out, TAPS, 1, TAPS - 1 - axis.before, TAPS - 1 - axis.after)
        for axis in (g.window.rows, g.window.cols)
    )
    dy = dy[:, max(-rows.before, 0) :, max(-cols.before, 0) :]
    dy = dy[:, : dy.shape[1] + min(rows.after, 0), : dy.shape[2] + min(cols.after, 0)]
    pads = [(max(axis.before, 0), max(axis.after, 0)) for axis in (rows, cols)]
    sizes = dy.shape[1:3]
    inner = Window(*(Axis(sizes[i], TAPS, 1, *pads[i]) for i in (0, 1)))
    return conv(dy, turned, Conv(inner, g.channels_out, g.channels_in))


def conv_dw(x: Array, dy: Array, g: Conv) -> Array:
    """∂z/∂w (2.21): x (n, H, W, C), dy (n, P, Q, K) → (3, 3, C, K)."""
    _check(g, x=x, dy=dy)
    x, dy = _exact(x), _exact(dy)
    a = tuple(zip(*cook_toom().at, strict=True))
    tiles = _tiles(dy, (0, 0), OUTPUTS, _counts(g.window))
    gradients = _both(_matrix(a, dy), tiles, 0, 1)
    sums = _products(_inputs(x, g.window).transpose(0, 1, 3, 2), gradients)
    gt = tuple(zip(*cook_toom().g, strict=True))
    return _both(_matrix(gt, x), sums, 0, 1)


def check(g: Conv, images: int = 1, seed: int = 0) -> None:
    """Raises AssertionError unless all directions equal direct convolution exactly, on random integers as fractions.

    >>> from vecgrad.spec.geometry import window
    >>> check(Conv(window((5, 6), 3, padding=1), 2, 3))
    """
    rng = np.random.default_rng(seed)
    x, w, dy = (
        rng.integers(-9, 10, shape)
        for shape in ((images, *g.in_shape), g.weight_shape, (images, *g.out_shape))
    )
    for found, wanted in (
        (conv(_fractions(x), _fractions(w), g), direct_conv(x, w, g)),
        (conv_dx(_fractions(dy), _fractions(w), g), direct_conv_dx(dy, w, g)),
        (conv_dw(_fractions(x), _fractions(dy), g), direct_conv_dw(x, dy, g)),
    ):
        assert found.shape == wanted.shape
        assert (found == _fractions(wanted)).all()


def _fractions(x: Array) -> Array:
    made = np.empty(x.shape, object)
    for place, value in np.ndenumerate(x):
        made[place] = Fraction(int(value))
    return made


def _exact(x: Array) -> Array:
    return x if x.dtype == object else x.astype(np.float64)


def _check(g: Conv, **arrays: Array) -> None:
    window = g.window
    if window.kernel != (TAPS, TAPS) or window.stride != (1, 1) or window.dilation != (1, 1) or g.groups != 1:
        raise ShapeError(
            f"F(4 × 4, 3 × 3) computes 3 × 3 kernels of stride 1, dilation 1 and one group, got {g}; use conv"
        )
    shapes = {"x": g.in_shape, "dy": g.out_shape}
    for name, array in arrays.items():
        expect_shape(name, array, g.weight_shape if name == "w" else (None, *shapes[name]))


def _matrix(entries: Matrix, like: Array) -> Array:
    """As numbers of the kind that ``like`` holds."""
    return np.array(entries, object if like.dtype == object else np.float64)


def _both(m: Array, x: Array, *axes: int) -> Array:
    """The matrix along each of the axes."""
    for axis in axes:
        x = np.moveaxis(np.tensordot(m, x, (1, axis)), 0, axis)
    return x


def _products(a: Array, b: Array) -> Array:
    """36 products of matrices."""
    made: Array = np.matmul(a, b)
    return made


def _counts(window: Window) -> tuple[int, int]:
    p, q = window.out_size
    return -(-p // OUTPUTS), -(-q // OUTPUTS)


def _inputs(x: Array, window: Window) -> Array:
    """Bᵀ x B of all tiles: (6, 6, tiles, C)."""
    before = (window.rows.before, window.cols.before)
    return _both(_matrix(cook_toom().bt, x), _tiles(x, before, INPUTS, _counts(window)), 0, 1)


def _tiles(x: Array, before: tuple[int, int], size: int, counts: tuple[int, int]) -> Array:
    """(size, size, n · tiles, C): the square of each tile of four outputs, zeros around the image."""
    n, height, width, channels = x.shape
    ends = [OUTPUTS * (counts[i] - 1) + size for i in (0, 1)]
    frame = np.zeros(
        (n, max(ends[0], before[0] + height), max(ends[1], before[1] + width), channels), x.dtype
    )
    frame[:, before[0] : before[0] + height, before[1] : before[1] + width] = x
    made = np.empty((size, size, n, *counts, channels), x.dtype)
    for r in range(size):
        for s in range(size):
            made[r, s] = frame[:, r : ends[0] - size + r + 1 : OUTPUTS, s : ends[1] - size + s + 1 : OUTPUTS]
    return made.reshape(size, size, n * counts[0] * counts[1], channels)


def _assembled(y: Array, n: int, out: tuple[int, int]) -> Array:
    """(4, 4, n · tiles, K) → (n, P, Q, K)."""
    rows, cols = (-(-side // OUTPUTS) for side in out)
    tiles = y.reshape(OUTPUTS, OUTPUTS, n, rows, cols, -1).transpose(2, 3, 0, 4, 1, 5)
    return tiles.reshape(n, rows * OUTPUTS, cols * OUTPUTS, -1)[:, : out[0], : out[1]]
