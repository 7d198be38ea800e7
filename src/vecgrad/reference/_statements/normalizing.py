"""Normalization over a batch and within an image, dropout, and the layers that run a window backward."""

from __future__ import annotations

import numpy as np

from vecgrad.reference import _conv, _pool
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import differences, gradient
from vecgrad.reference.masks import keep
from vecgrad.reference.normalization import (
    Partial,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    merged,
    moments,
)
from vecgrad.reference.tensors import unvec
from vecgrad.spec.geometry import Axis, Window
from vecgrad.spec.random import KEPT_LANES, threshold
from vecgrad.spec.random import kept as kept_words

_EPSILON = 0.125


def _by_loops(x: Array, gamma: Array, beta: Array, groups: int) -> Array:
    """Group normalization of x (n, H, W, C), set by set; accepts complex numbers."""
    y = np.empty_like(x)
    each = x.shape[-1] // groups
    for image in range(len(x)):
        for group in range(groups):
            channels = slice(group * each, (group + 1) * each)
            part = x[image, ..., channels]
            mean = np.sum(part) / part.size
            variance = np.sum((part - mean) ** 2) / part.size
            y[image, ..., channels] = (part - mean) / np.sqrt(variance + _EPSILON) * gamma[channels] + beta[
                channels
            ]
    return y


def _weighted(x: Array, w: Array) -> tuple[Array, Array]:
    """Weighted mean and variance of the columns of x, row by row; accepts complex numbers."""
    count = sum(w)
    mean = sum(wi * row for wi, row in zip(w, x, strict=True)) / count
    return mean, sum(wi * (row - mean) ** 2 for wi, row in zip(w, x, strict=True)) / count


def _batch_norm(draw: Draw) -> Trial:
    shape = (draw.size(2, 4, small=2), draw.size(1, 3, small=1), 2, draw.size(1, 3, small=2))
    x, t = draw.reals(*shape), draw.reals(*shape)
    gamma, beta, w = draw.reals(shape[-1]), draw.reals(shape[-1]), np.abs(draw.reals(shape[0])) + 0.5
    y, mean, rate = batch_norm(x, gamma, beta, w, _EPSILON)
    dx, dgamma, dbeta = batch_norm_backward(x, gamma, w, mean, rate, t)
    rows = np.repeat(w, shape[1] * shape[2])

    def by_rows(x: Array, gamma: Array, beta: Array) -> Array:
        m, v = _weighted(x.reshape(-1, shape[-1]), rows)
        return np.asarray((x - m) / np.sqrt(v + _EPSILON) * gamma + beta)

    def z(x: Array, gamma: Array, beta: Array) -> Array:
        return np.asarray(np.sum(by_rows(x, gamma, beta) * t))

    return trial(
        {"x": x, "w": w, "γ": gamma, "β": beta, "∂z/∂y": t},
        ("y", y, "row by row", by_rows(x, gamma, beta)),
        ("∂z/∂x", dx, "by complex steps", gradient(lambda v: z(v, gamma, beta), x)),
        ("∂z/∂γ", dgamma, "by complex steps", gradient(lambda v: z(x + 0j, v, beta), gamma)),
        ("∂z/∂β", dbeta, "by complex steps", gradient(lambda v: z(x + 0j, gamma, v), beta)),
    )


def _moments(draw: Draw) -> Trial:
    n, m, channels = draw.size(1, 4, small=2), draw.size(1, 4, small=1), draw.size(1, 3, small=2)
    x, w = draw.reals(n + m, channels), np.abs(draw.reals(n + m)) + 0.5
    parts = []
    for at in (slice(n), slice(n, None)):
        mean, variance = moments(x[at], w[at])
        parts.append(Partial(float(w[at].sum()), mean, variance * w[at].sum()))
    count, mean, squares = merged(*parts)
    whole = _weighted(x, w)
    return trial(
        {"x": x, "w": w},
        ("m", mean, "of all rows", whole[0]),
        ("v", squares / count, "of all rows", whole[1]),
    )


def _group_norm(draw: Draw) -> Trial:
    groups = draw.size(1, 3, small=2)
    shape = (2, draw.size(1, 3, small=1), 2, groups * draw.size(1, 3, small=2))
    x, t = draw.reals(*shape), draw.reals(*shape)
    gamma, beta = draw.reals(shape[-1]), draw.reals(shape[-1])
    y, hat, rate = group_norm(x, gamma, beta, groups, _EPSILON)
    dx, dgamma, dbeta = group_norm_backward(hat, gamma, rate, t)

    def z(x: Array, gamma: Array, beta: Array) -> Array:
        return np.asarray(np.sum(_by_loops(x, gamma, beta, groups) * t))

    return trial(
        {"x": x, "γ": gamma, "β": beta, "∂z/∂y": t},
        ("y", y, "by loops over images and groups", _by_loops(x, gamma, beta, groups)),
        ("∂z/∂x", dx, "by complex steps", gradient(lambda v: z(v, gamma, beta), x)),
        ("∂z/∂γ", dgamma, "by complex steps", gradient(lambda v: z(x + 0j, v, beta), gamma)),
        ("∂z/∂β", dbeta, "by complex steps", gradient(lambda v: z(x + 0j, gamma, v), beta)),
    )


def _layer_norm(draw: Draw) -> Trial:
    shape = (2, 1, draw.size(1, 3, small=1), draw.size(2, 5, small=3))
    x, t = draw.reals(*shape), draw.reals(*shape)
    gamma, beta = draw.reals(shape[-1]), draw.reals(shape[-1])
    y, hat, rate = layer_norm(x, gamma, beta, _EPSILON)
    dx, dgamma, _ = layer_norm_backward(hat, gamma, rate, t)

    def pixels(x: Array, gamma: Array) -> Array:
        return _by_loops(x.reshape(-1, 1, 1, shape[-1]), gamma, beta, 1).reshape(shape)

    return trial(
        {"x": x, "γ": gamma, "β": beta, "∂z/∂y": t},
        ("y", y, "each pixel as an image of one group", pixels(x, gamma)),
        ("∂z/∂x", dx, "by complex steps", gradient(lambda v: np.sum(pixels(v, gamma) * t), x)),
        ("∂z/∂γ", dgamma, "by complex steps", gradient(lambda v: np.sum(pixels(x + 0j, v) * t), gamma)),
    )


def _transposed(draw: Draw) -> Trial:
    g = draw.conv(draw.window())
    x, dy = draw.integers(1, *g.out_shape), draw.integers(1, *g.in_shape)
    w = draw.integers(*g.weight_shape)
    y = _conv.conv_dx(x, w, g)
    # Each entry of x lays its weighted kernel onto the map.
    laid = np.zeros_like(dy)
    for p, q in np.ndindex(*g.window.out_size):
        for r, s in np.ndindex(*g.window.kernel):
            row, column = g.window.rows.source(p, r), g.window.cols.source(q, s)
            if row is not None and column is not None:
                laid[0, row, column] += w[r, s] @ x[0, p, q]

    def z(x: Array, w: Array) -> Array:
        return np.atleast_1d(np.vdot(dy, _conv.conv_dx(x, w, g)))

    by_x = unvec(differences(lambda v: z(v, w), x)[0], x.shape)
    by_w = unvec(differences(lambda v: z(x, v), w)[0], w.shape)
    return trial(
        {"x": x, "w": w, "∂z/∂y": dy},
        ("Sᵀ vec(x), the data gradient", y, "kernels laid side by side", laid),
        ("∂z/∂x = S vec(∂z/∂y)", _conv.conv(dy, w, g), "by exact differences", by_x),
        ("∂z/∂w, image and gradient exchanged", _conv.conv_dw(dy, x, g), "by exact differences", by_w),
    )


def _upsampling(draw: Draw) -> Trial:
    h, w, a, b = (draw.size(1, 3, small=2) for _ in range(4))
    x = draw.integers(1, h, w, 2)
    g = Window(Axis(h * a, a, a), Axis(w * b, b, b))
    dy = draw.integers(1, h * a, w * b, 2)
    blocks = dy.reshape(1, h, a, w, b, 2).sum((2, 4))
    return trial(
        {"x": x, "∂z/∂y": dy},
        ("n aᵀ(x)", _pool.avg_pool_dx(x, g, False) * g.taps, "x repeated", x.repeat(a, 1).repeat(b, 2)),
        ("∂z/∂x = n a(∂z/∂y)", _pool.avg_pool(dy, g, False) * g.taps, "sums over blocks", blocks),
    )


def _zero_padding(draw: Draw) -> Trial:
    x = draw.integers(1, draw.size(1, 4, small=2), draw.size(1, 4, small=2), 2)
    t, b, l, r = (draw.integer(0, 2) for _ in range(4))  # noqa: E741 - left
    g = Window(Axis(x.shape[1], 1, before=t, after=b), Axis(x.shape[2], 1, before=l, after=r))
    dy = draw.integers(1, *g.out_size, 2)
    inside = dy[:, t : t + x.shape[1], l : l + x.shape[2]]
    return trial(
        {"x": x, "∂z/∂y": dy},
        (
            "means of one cell",
            _pool.avg_pool(x, g, True),
            "x within zeros",
            np.pad(x, ((0, 0), (t, b), (l, r), (0, 0))),
        ),
        ("∂z/∂x", _pool.avg_pool_dx(dy, g, True), "∂z/∂y without its rim", inside),
    )


def _dropout(draw: Draw) -> Trial:
    shape, rate = (draw.size(1, 3, small=1), 2, draw.size(1, 40, small=4)), 0.25
    seed, step = draw.integer(0, 2**40), draw.integer(0, 9)
    x, dy = draw.integers(1, *shape), draw.integers(1, *shape)
    kept = keep(1, shape, rate, seed, step, 1)
    # The diagonal of D, word by word in Python's integers.
    runs = -(-shape[2] // KEPT_LANES)
    diagonal = np.zeros((1, *shape))
    for h, w, c in np.ndindex(*shape):
        run = (h * shape[1] + w) * runs + c // KEPT_LANES
        word = kept_words(seed, step, 1, 0, run // 4 * KEPT_LANES + c % KEPT_LANES)[run % 4]
        diagonal[0, h, w, c] = (word >= threshold(rate)) / (1 - rate)

    def forward(x: Array) -> Array:
        return np.where(kept, x / (1 - rate), 0)

    by_x = unvec(differences(lambda v: np.atleast_1d(np.vdot(dy, forward(v))), x)[0], x.shape)
    return trial(
        {"x": x, "∂z/∂y": dy},
        ("y", forward(x), "D x", diagonal * x),
        ("∂z/∂x = D ∂z/∂y", diagonal * dy, "by exact differences", by_x),
    )


GENERAL = (
    Equation(
        "batch-norm",
        "batch normalization",
        "∂z/∂x = γ r (∂z/∂y − w/N ∘ (∂z/∂β + x̂ ∂z/∂γ)), ∂z/∂γ = (∂z/∂y)ᵀx̂, ∂z/∂β = Σ ∂z/∂y",
        _batch_norm,
    ),
    Equation(
        "moments", "moments of parts", "m = m₁ + δ N₂/N, S = S₁ + S₂ + δ² N₁N₂/N, δ = m₂ − m₁", _moments
    ),
    Equation(
        "dropout", "dropout", "y = D x, ∂z/∂x = D ∂z/∂y with a random diagonal D drawn by counter", _dropout
    ),
    Equation(
        "group-norm", "group normalization", "∂z/∂x = r (ĝ − (1 Σ ĝ + x̂ ĝᵀx̂) / N), ĝ = γ ∘ ∂z/∂y", _group_norm
    ),
    Equation(
        "layer-norm", "layer normalization", "group normalization of each pixel, in one group", _layer_norm
    ),
    Equation(
        "transposed",
        "transposed convolution",
        "y = Sᵀ vec(x), ∂z/∂x = S vec(∂z/∂y), ∂z/∂w by (2.21)",
        _transposed,
    ),
    Equation(
        "upsampling",
        "nearest neighbours",
        "y = n aᵀ(x), ∂z/∂x = n a(∂z/∂y), a the mean over blocks of n",
        _upsampling,
    ),
    Equation(
        "zero-padding", "zero padding", "means over windows of one cell, and their adjoint", _zero_padding
    ),
)
