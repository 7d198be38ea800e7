"""Activations, each beside its gradient. Arrays of any shape, real or complex; NaN stays NaN."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype


def relu(x: Array) -> Array:
    """x where x > 0, else 0 (5.1).

    >>> relu(np.array([-1.0, 0.0, 2.0, np.nan]))
    array([ 0.,  0.,  2., nan])
    """
    x = _floating(x)
    return np.where(x.real <= 0, x.dtype.type(0), x)  # "<=" and not ">": NaN must pass


def relu_dx(dy: Array, x: Array) -> Array:
    """∂z/∂x = ∂z/∂y where x > 0, else 0 (5.3); so ReLU'(0) = 0 (5.2).

    >>> relu_dx(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    dy = _floating(dy)
    return np.where(x.real > 0, dy, dy.dtype.type(0))


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e^(−x)), without overflow at either end.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    x = _floating(x)
    right = x.real >= 0
    e = np.exp(np.where(right, -x, x))
    y: Array = np.where(right, 1, e) / (1 + e)
    return y


def sigmoid_dx(dy: Array, x: Array) -> Array:
    """∂z/∂x = ∂z/∂y σ(x) (1 − σ(x)), with σ(−x) for 1 − σ(x), which cancels where x is large.

    >>> sigmoid_dx(np.array([8.0]), np.array([0.0]))
    array([2.])
    """
    x = _floating(x)
    return _floating(dy) * sigmoid(x) * sigmoid(-x)


def tanh(x: Array) -> Array:
    """tanh(x) = (e^x − e^(−x)) / (e^x + e^(−x)).

    >>> tanh(np.array([0.0]))
    array([0.])
    """
    return np.asarray(np.tanh(_floating(x)))


def tanh_dx(dy: Array, x: Array) -> Array:
    """∂z/∂x = ∂z/∂y (1 − tanh²(x)).

    >>> tanh_dx(np.array([3.0]), np.array([0.0]))
    array([3.])
    """
    slope: Array = 1 - tanh(x) ** 2
    return _floating(dy) * slope


def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope · x.

    >>> leaky_relu(np.array([-2.0, 3.0]), 0.5)
    array([-1.,  3.])
    """
    x = _floating(x)
    return np.where(x.real > 0, x, slope * x)


def leaky_relu_dx(dy: Array, x: Array, slope: float) -> Array:
    """∂z/∂x = ∂z/∂y where x > 0, else slope · ∂z/∂y.

    >>> leaky_relu_dx(np.array([4.0, 4.0]), np.array([-2.0, 3.0]), 0.5)
    array([2., 4.])
    """
    dy = _floating(dy)
    return np.where(x.real > 0, dy, slope * dy)


def elu(x: Array, alpha: float) -> Array:
    """x where x > 0, else α (eˣ − 1).

    >>> elu(np.array([0.0, 3.0]), 1.0)
    array([0., 3.])
    """
    x = _floating(x)
    return np.where(x.real > 0, x, alpha * np.expm1(np.where(x.real > 0, 0, x)))


def elu_dx(dy: Array, x: Array, alpha: float) -> Array:
    """∂z/∂x = ∂z/∂y where x > 0, else α eˣ ∂z/∂y.

    >>> elu_dx(np.array([4.0, 4.0]), np.array([0.0, 3.0]), 0.5)
    array([2., 4.])
    """
    dy = _floating(dy)
    return np.where(x.real > 0, dy, alpha * np.exp(np.where(x.real > 0, 0, x)) * dy)


def silu(x: Array) -> Array:
    """x σ(x).

    >>> silu(np.array([0.0, 1000.0]))
    array([   0., 1000.])
    """
    y: Array = _floating(x) * sigmoid(x)
    return y


def silu_dx(dy: Array, x: Array) -> Array:
    """By the product rule ∂z/∂x = ∂z/∂y (σ(x) + x σ'(x)), with σ' = σ (1 − σ).

    >>> silu_dx(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    slope: Array = sigmoid(x) + sigmoid_dx(x, x)
    return _floating(dy) * slope


def erf(x: Array) -> Array:
    """2/√π ∫₀ˣ e^(−t²) dt by its series 2/√π e^(−x²) Σₙ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)), for |Re x| < 7; ±1 beyond.

    The series solves f' = 1 + 2x f, which e^(x²) ∫₀ˣ e^(−t²) dt does; for real x its terms have one sign.

    >>> erf(np.array([0.0, 1.0, -9.0])).round(6)
    array([ 0.      ,  0.842701, -1.      ])
    """
    x = _floating(x)
    near = np.abs(x.real) < 7
    z = np.where(near, x, 0)
    term = total = z
    for n in range(1, 220):
        term = term * (2 * z * z / (2 * n + 1))
        total = total + term
    sides = np.where(np.isnan(x), x, np.sign(x.real))
    y: Array = np.where(near, total * np.exp(-z * z) * (2 / np.sqrt(np.pi)), sides)
    return y


def gelu(x: Array) -> Array:
    """x Φ(x) with Φ(x) = (1 + erf(x / √2)) / 2.

    >>> gelu(np.array([0.0, 50.0]))
    array([ 0., 50.])
    """
    x = _floating(x)
    y: Array = x * (1 + erf(x * np.sqrt(0.5))) / 2
    return y


def gelu_dx(dy: Array, x: Array) -> Array:
    """∂z/∂x = ∂z/∂y (Φ(x) + x φ(x)): Φ' is the density φ(x) = e^(−x²/2) / √(2π).

    >>> gelu_dx(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    x = _floating(x)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    slope: Array = (1 + erf(x * np.sqrt(0.5))) / 2 + x * density
    return _floating(dy) * slope


def gelu_tanh(x: Array) -> Array:
    """x (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³).

    >>> gelu_tanh(np.array([0.0, 50.0]))
    array([ 0., 50.])
    """
    x = _floating(x)
    y: Array = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    return y


def gelu_tanh_dx(dy: Array, x: Array) -> Array:
    """∂z/∂x = ∂z/∂y ((1 + tanh u) / 2 + x (1 − tanh² u) u' / 2) with u' = √(2/π) (1 + 3 · 0.044715 x²).

    >>> gelu_tanh_dx(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    x = _floating(x)
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    slope: Array = (1 + t) / 2 + x * (1 - t * t) * inner / 2
    return _floating(dy) * slope


def _floating(x: Array) -> Array:
    return x.astype(common_dtype(x), copy=False)
