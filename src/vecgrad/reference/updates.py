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


def rmsprop(
    w: Array, g: Array, q: Array, m: Array, v: Array, rate: float, rho: float = 0.99, epsilon: float = 1e-8,
    mu: float = 0.0, centered: bool = False,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """(w, q, m, v) after a step of RMSprop (Tieleman and Hinton, 2012); q, m and v start at 0.

    q ← ρ q + (1 − ρ) g²,  m ← ρ m + (1 − ρ) g,  v ← μ v + g / (√(q − m²) + ε),  w ← w − α v; without ``centered`` m² is not
    taken off.

    >>> rmsprop(np.array([1.0]), np.array([4.0]), *np.zeros((3, 1)), 0.5, rho=0.75)[0].round(6)
    array([0.])
    """
    q, m = rho * q + (1 - rho) * g**2, rho * m + (1 - rho) * g
    v = mu * v + g / (np.sqrt(q - m**2 if centered else q) + epsilon)
    return w - rate * v, q, m, v


def clipped(g: Array, norm: float) -> Array:
    """g · min(1, norm / (‖g‖ + 1e-6)): no longer than ``norm``, in the same direction. g is that of all parameters.

    >>> clipped(np.array([3.0, 4.0]), 1.0).round(4)
    array([0.6, 0.8])
    """
    return np.asarray(g * min(1.0, norm / (float(np.sqrt(np.sum(g * g))) + 1e-6)))


def averaged(a: Array, w: Array, decay: float) -> Array:
    """The moving average d a + (1 − d) w of the parameters.

    >>> averaged(np.array([4.0]), np.array([8.0]), 0.75)
    array([5.])
    """
    return a + (1 - decay) * (w - a)


def lookahead(w: Array, slow: Array, share: float) -> Array:
    """The slow parameters after they followed, s + β (w − s), which w becomes too (Zhang et al., 2019).

    >>> lookahead(np.array([4.0]), np.array([0.0]), 0.5)
    array([2.])
    """
    return slow + share * (w - slow)
