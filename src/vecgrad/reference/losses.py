"""The two losses, scalars z, each beside its gradient. Both are means over the images given."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array, common_dtype, expect_shape
from vecgrad.spec.errors import ShapeError


def mean_squared_error(x: Array, t: Array) -> np.generic:
    """z = (1/m) Σ (x − t)² over all m entries; x and t of one shape. Raises ShapeError otherwise.

    >>> float(mean_squared_error(np.array([1.0, 5.0]), np.array([1.0, 1.0])))
    8.0
    """
    x, t = _pair(x, t)
    z: np.generic = np.sum((x - t) ** 2) / x.dtype.type(x.size)
    return z


def mean_squared_error_dx(x: Array, t: Array) -> Array:
    """∂z/∂x = 2 (x − t) / m.

    >>> mean_squared_error_dx(np.array([1.0, 5.0]), np.array([1.0, 1.0]))
    array([0., 4.])
    """
    x, t = _pair(x, t)
    dx: Array = 2 * (x - t) / x.dtype.type(x.size)
    return dx


def log_softmax(x: Array) -> Array:
    """log softmax of each row of logits (n, classes), shifted by the row's maximum so that nothing overflows.

    >>> log_softmax(np.array([[1000.0, 1000.0]])).round(4)
    array([[-0.6931, -0.6931]])
    """
    x = x.astype(common_dtype(x), copy=False)
    shifted = x - x.real.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def softmax(x: Array) -> Array:
    """Each row of logits (n, classes) as probabilities: positive, of sum 1.

    >>> softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    return np.asarray(np.exp(log_softmax(x)))


def cross_entropy(x: Array, t: Array) -> np.generic:
    """z = −(1/n) Σ t log softmax(x): logits x and targets t, both (n, classes). Raises ShapeError otherwise.

    >>> round(float(cross_entropy(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]]))), 4)
    0.6931
    """
    x, t = _pair(x, t)
    expect_shape("x", x, (None, x.shape[-1]))
    z: np.generic = -np.sum(t * log_softmax(x)) / x.dtype.type(len(x))
    return z


def cross_entropy_dx(x: Array, t: Array) -> Array:
    """∂z/∂x = ((Σ_c t_c) softmax(x) − t) / n; (softmax(x) − t) / n for targets of sum 1.

    >>> cross_entropy_dx(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]]))
    array([[-0.5,  0.5]])
    """
    x, t = _pair(x, t)
    expect_shape("x", x, (None, x.shape[-1]))
    dx: Array = (t.sum(axis=1, keepdims=True) * softmax(x) - t) / x.dtype.type(len(x))
    return dx


def _pair(x: Array, t: Array) -> tuple[Array, Array]:
    """Both in their common dtype; a mean over nothing is refused."""
    expect_shape("t", t, x.shape)
    if not x.size:
        raise ShapeError(
            f"a loss is a mean, and x of shape {x.shape} has no entries; give at least one image"
        )
    dtype = common_dtype(x, t)
    return x.astype(dtype, copy=False), t.astype(dtype, copy=False)
