"""The update rules: pure functions from parameters w, gradient g and state to the next w and state.

The conventions are PyTorch's. ``rate`` is α, the learning rate.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array


def gradient_descent(w: Array, g: Array, rate: float) -> Array:
    """w − α g.

    >>> gradient_descent(np.array([1.0]), np.array([2.0]), 0.25)
    array([0.5])
    """
    return w - rate * g


def momentum(
    w: Array, g: Array, v: Array, rate: float, mu: float, nesterov: bool = False
) -> tuple[Array, Array]:
    """(w, v) after v ← μ v + g and w ← w − α v; with ``nesterov`` w ← w − α (g + μ v). v starts at 0.

    >>> momentum(np.array([1.0]), np.array([2.0]), np.array([4.0]), 0.25, 0.5)
    (array([0.]), array([4.]))
    """
    v = mu * v + g
    return w - rate * (g + mu * v if nesterov else v), v


def with_decay(g: Array, w: Array, decay: float) -> Array:
    """The gradient with weight decay: g + λ w.

    >>> with_decay(np.array([1.0]), np.array([2.0]), 0.5)
    array([2.])
    """
    return g + decay * w


def decayed(w: Array, rate: float, decay: float) -> Array:
    """Decoupled weight decay: w − α λ w, before the rule's own step.

    >>> decayed(np.array([8.0]), 0.5, 0.25)
    array([7.])
    """
    return w - rate * decay * w


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    step: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """(w, m, v) after step number ``step`` (from 1) of Adam (Kingma and Ba, 2015); m and v start at 0.

    m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − α m̂ / (√v̂ + ε) with
    m̂ = m / (1 − β₁^step), v̂ = v / (1 − β₂^step).

    >>> adam(np.array([1.0]), np.array([4.0]), np.zeros(1), np.zeros(1), 1, 0.5)[0].round(6)
    array([0.5])
    """
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return w - rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v
