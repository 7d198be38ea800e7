"""ReLU, sigmoid and tanh, each beside its gradient. Arrays of any shape; NaN stays NaN."""

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


def _floating(x: Array) -> Array:
    return x.astype(common_dtype(x), copy=False)
