"""Section 6, losses and updates. Each rule is compared with its closed form after several steps."""

from __future__ import annotations

import numpy as np

from vecgrad.reference import losses, updates
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import gradient

RATE = 0.125


def _mse(draw: Draw) -> Trial:
    shape = (draw.size(1, 4, small=2), draw.size(1, 4, small=2), draw.size(1, 3, small=1))
    x, t = draw.reals(*shape), draw.reals(*shape)
    total = sum((a - b) ** 2 for a, b in zip(x.flat, t.flat, strict=True)) / x.size
    by_steps = gradient(lambda x: np.mean((x - t) ** 2), x)
    return trial(
        {"x": x, "t": t},
        ("z", losses.mean_squared_error(x, t), "Σ (x − t)² / m, term by term", total),
        ("∂z/∂x by complex steps", by_steps, "2 (x − t) / m", losses.mean_squared_error_dx(x, t)),
    )


def _cross_entropy(draw: Draw) -> Trial:
    n, classes = draw.size(1, 4, small=2), draw.size(2, 5, small=3)
    x = draw.reals(n, classes)
    hard = np.eye(classes)[draw.rng.integers(0, classes, n)]
    soft = np.abs(draw.reals(n, classes))  # rows of any sum
    P = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    one_by_one = -sum(t * np.log(p) for t, p in zip(hard.flat, P.flat, strict=True)) / n
    return trial(
        {"x": x, "t": hard, "t of other sums": soft},
        ("z", losses.cross_entropy(x, hard), "−(1/n) Σ t log softmax(x), term by term", one_by_one),
        ("∂z/∂x by complex steps", _entropy_slope(x, hard), "(softmax(x) − t) / n", (P - hard) / n),
        ("∂z/∂x by complex steps", _entropy_slope(x, hard), "the same", losses.cross_entropy_dx(x, hard)),
        (
            "∂z/∂x, t of other sums",
            _entropy_slope(x, soft),
            "((Σ t) softmax(x) − t) / n",
            losses.cross_entropy_dx(x, soft),
        ),
        ("softmax(x + 1000)", losses.softmax(x + 1000), "softmax(x)", P),
    )


def _entropy_slope(x: Array, t: Array) -> Array:
    def z(x: Array) -> Array:
        P = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return np.asarray(-np.sum(t * np.log(P)) / len(x))

    return gradient(z, x)


def _steps(draw: Draw) -> tuple[Array, list[Array]]:
    """A start and the gradients of a few steps."""
    size = draw.size(1, 5, small=2)
    return draw.reals(size), [draw.reals(size) for _ in range(draw.size(1, 6, small=3))]


def _descent(draw: Draw) -> Trial:
    w, _ = _steps(draw)
    curvature = np.abs(draw.reals(len(w)))
    steps, end = draw.size(1, 6, small=3), w
    for _ in range(steps):
        end = updates.gradient_descent(end, curvature * end, RATE)
    closed = (1 - RATE * curvature) ** steps * w
    name = f"w after {steps} steps of w ← w − α a w"
    return trial({"w": w, "a": curvature, "α": RATE}, (name, end, f"(1 − α a)^{steps} w", closed))


def _momentum(draw: Draw) -> Trial:
    return _momentum_trial(draw, nesterov=False)


def _nesterov(draw: Draw) -> Trial:
    return _momentum_trial(draw, nesterov=True)


def _momentum_trial(draw: Draw, nesterov: bool) -> Trial:
    w, gradients = _steps(draw)
    mu, end, v = 0.5, w, np.zeros_like(w)
    for g in gradients:
        end, v = updates.momentum(end, g, v, RATE, mu, nesterov)
    velocities = [
        np.asarray(sum(mu ** (k - i) * gradients[i] for i in range(k + 1))) for k in range(len(gradients))
    ]
    moves = [g + mu * v_k if nesterov else v_k for g, v_k in zip(gradients, velocities, strict=True)]
    return trial(
        {"w": w, "gradients": gradients, "α, μ": [RATE, mu]},
        ("v after the steps", v, "Σ_i μ^(k−i) g_i", velocities[-1]),
        (
            "w after the steps",
            end,
            "w − α Σ (g + μ v)" if nesterov else "w − α Σ v",
            w - RATE * np.sum(moves, axis=0),
        ),
    )


def _decay(draw: Draw) -> Trial:
    w, decay = draw.reals(draw.size(1, 5, small=3)), 0.25
    t = draw.reals(len(w))
    by_steps = gradient(lambda w: np.sum((w - t) ** 2) / 2 + decay / 2 * np.sum(w**2), w)
    return trial(
        {"w": w, "t": t, "λ": decay},
        ("∂/∂w of ½ Σ (w − t)² + ½ λ Σ w²", by_steps, "g + λ w", updates.with_decay(w - t, w, decay)),
    )


def _decoupled(draw: Draw) -> Trial:
    w, decay = draw.reals(draw.size(1, 5, small=3)), 0.25
    steps, end = draw.size(1, 6, small=3), w
    for _ in range(steps):
        end = updates.decayed(end, RATE, decay)
    name = f"w after {steps} steps with g = 0"
    return trial(
        {"w": w, "α, λ": [RATE, decay]}, (name, end, f"(1 − α λ)^{steps} w", (1 - RATE * decay) ** steps * w)
    )


def _adam(draw: Draw) -> Trial:
    w, gradients = _steps(draw)
    betas, epsilon = (0.5, 0.75), 1e-3
    end, m, v = w, np.zeros_like(w), np.zeros_like(w)
    for step, g in enumerate(gradients, start=1):
        end, m, v = updates.adam(end, g, m, v, step, RATE, betas, epsilon)
    closed = w.copy()
    for step in range(1, len(gradients) + 1):
        first, second = (
            _weighted_mean([g**power for g in gradients[:step]], beta)
            for power, beta in zip((1, 2), betas, strict=True)
        )
        closed -= RATE * first / (np.sqrt(second) + epsilon)
    return trial(
        {"w": w, "gradients": gradients, "α, β₁, β₂, ε": [RATE, *betas, epsilon]},
        ("w after the steps", end, "w − α Σ m̂ / (√v̂ + ε), m̂ and v̂ as weighted means", closed),
    )


def _weighted_mean(values: list[Array], beta: float) -> Array:
    """The mean with weights β^(age): what bias correction makes of an exponential average."""
    weights = beta ** np.arange(len(values))[::-1]
    return np.asarray(np.average(values, axis=0, weights=weights))


EQUATIONS = (
    Equation("mse", "mean squared error", "z = (1/m) Σ (x − t)², ∂z/∂x = 2 (x − t) / m", _mse),
    Equation(
        "cross-entropy",
        "softmax cross entropy",
        "z = −(1/n) Σ t log softmax(x), ∂z/∂x = ((Σ_c t_c) softmax(x) − t) / n",
        _cross_entropy,
    ),
    Equation("descent", "gradient descent", "w ← w − α ∂z/∂w", _descent),
    Equation("momentum", "momentum", "v ← μ v + g, w ← w − α v", _momentum),
    Equation("nesterov", "Nesterov's momentum", "v ← μ v + g, w ← w − α (g + μ v)", _nesterov),
    Equation("weight-decay", "weight decay", "λ adds λ w to g", _decay),
    Equation("decoupled-decay", "decoupled weight decay", "w ← w − α λ w", _decoupled),
    Equation("adam", "Adam", "w ← w − α m̂ / (√v̂ + ε)", _adam),
)
