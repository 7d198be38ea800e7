"""The losses, scalars z, each beside its gradient. All are means over the images given."""

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


def smoothed(t: Array, epsilon: float) -> Array:
    """Label smoothing: (1 − ε) t + ε (Σ_c t_c) / classes, for rows t (n, classes).

    Cross entropy is linear in t, so its value on these rows is (1 − ε) times that on t plus ε times the mean of −log softmax(x)
    over all classes: logits gain nothing any more by growing without bound.

    >>> smoothed(np.array([[1.0, 0.0]]), 0.5)
    array([[0.75, 0.25]])
    """
    return np.asarray((1 - epsilon) * t + epsilon * t.sum(axis=1, keepdims=True) / t.shape[1])


def class_weighted(t: Array, weight: Array, epsilon: float = 0.0) -> Array:
    """Rows t (n, classes) with which cross entropy is the mean over images that weigh u_n = weight · t_n each.

    z = −Σ_n Σ_c weight_c s_nc log softmax(x)_nc / Σ_n u_n, s being t smoothed by ε. It is ``cross_entropy`` on the rows
    weight ∘ s · n / Σ u, and so is its gradient: both are linear in the rows. With ε = 0 and one 1 in each row a class of
    weight 2 is every image of it twice.

    >>> class_weighted(np.eye(2), np.array([1.0, 3.0]))
    array([[0.5, 0. ],
           [0. , 1.5]])
    """
    return np.asarray(weight * smoothed(t, epsilon) * (len(t) / np.sum(weight * t)))


def binary_cross_entropy(x: Array, t: Array, pos_weight: Array | float = 1.0) -> np.generic:
    """z = −(1/m) Σ (p t log σ(x) + (1 − t) log(1 − σ(x))) over all m entries; p broadcasts along the last axis.

    log σ(x) = −softplus(−x) and log(1 − σ(x)) = −softplus(x), with softplus(x) = log(1 + exp x).

    >>> round(float(binary_cross_entropy(np.array([0.0, 0.0]), np.array([1.0, 0.0]))), 4)
    0.6931
    """
    x, t = _pair(x, t)
    yes, no = pos_weight * t, 1 - t
    z: np.generic = np.sum(yes * np.logaddexp(0, -x) + no * np.logaddexp(0, x)) / x.dtype.type(x.size)
    return z


def binary_cross_entropy_dx(x: Array, t: Array, pos_weight: Array | float = 1.0) -> Array:
    """∂z/∂x = ((p t + 1 − t) σ(x) − p t) / m: the slopes of softplus(−x) and softplus(x) are σ(x) − 1 and σ(x).

    >>> binary_cross_entropy_dx(np.array([0.0, 0.0]), np.array([1.0, 0.0]))
    array([-0.25,  0.25])
    """
    x, t = _pair(x, t)
    yes, no = pos_weight * t, 1 - t
    sigma = np.exp(-np.logaddexp(0, -x))
    return np.asarray(((yes + no) * sigma - yes) / x.dtype.type(x.size))


def huber(x: Array, t: Array, delta: float = 1.0) -> np.generic:
    """z = (1/m) Σ h(x − t): h(d) = d²/2 where |d| ≤ δ, else δ (|d| − δ/2), the line that continues it with the same slope.

    >>> float(huber(np.array([0.5, 3.0]), np.array([0.0, 0.0])))
    1.3125
    """
    x, t = _pair(x, t)
    far = np.abs(x - t)
    z: np.generic = np.sum(np.where(far <= delta, far**2 / 2, delta * (far - delta / 2))) / x.dtype.type(
        x.size
    )
    return z


def huber_dx(x: Array, t: Array, delta: float = 1.0) -> Array:
    """∂z/∂x = min(max(x − t, −δ), δ) / m.

    >>> huber_dx(np.array([0.5, 3.0]), np.array([0.0, 0.0]))
    array([0.25, 0.5 ])
    """
    x, t = _pair(x, t)
    return np.asarray(np.clip(x - t, -delta, delta) / x.dtype.type(x.size))


def _pair(x: Array, t: Array) -> tuple[Array, Array]:
    """Both in their common dtype; a mean over nothing is refused."""
    expect_shape("t", t, x.shape)
    if not x.size:
        raise ShapeError(
            f"a loss is a mean, and x of shape {x.shape} has no entries; give at least one image"
        )
    dtype = common_dtype(x, t)
    return x.astype(dtype, copy=False), t.astype(dtype, copy=False)
