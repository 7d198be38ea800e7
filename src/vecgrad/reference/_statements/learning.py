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


def _rows(draw: Draw) -> tuple[Array, Array]:
    """Logits and rows of a single 1."""
    n, classes = draw.size(1, 4, small=2), draw.size(2, 5, small=3)
    return draw.reals(n, classes), np.eye(classes)[draw.rng.integers(0, classes, n)]


def _smoothing(draw: Draw) -> Trial:
    x, t = _rows(draw)
    rows, epsilon = losses.smoothed(t, 0.25), 0.25
    even = np.full_like(t, 1 / t.shape[1])
    mixed = (1 - epsilon) * float(losses.cross_entropy(x, t)) + epsilon * float(losses.cross_entropy(x, even))
    return trial(
        {"x": x, "t": t, "ε": epsilon},
        ("z of smoothed rows", losses.cross_entropy(x, rows), "(1 − ε) z(t) + ε z(1/classes)", mixed),
        (
            "∂z/∂x by complex steps",
            _entropy_slope(x, rows),
            "(softmax(x) − smoothed) / n",
            losses.cross_entropy_dx(x, rows),
        ),
    )


def _class_weight(draw: Draw) -> Trial:
    x, t = _rows(draw)
    weight = np.abs(draw.reals(t.shape[1])) + 0.25
    rows = losses.class_weighted(t, weight)
    classes = t.argmax(axis=1)
    logs = np.log(np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))
    each = [float(weight[c]) * -float(row[c]) for row, c in zip(logs, classes, strict=True)]
    mean = sum(each) / sum(float(weight[c]) for c in classes)
    return trial(
        {"x": x, "classes": classes, "c": weight},
        (
            "z of weighted rows",
            losses.cross_entropy(x, rows),
            "Σ c_y (−log softmax(x)_y) / Σ c_y, image by image",
            mean,
        ),
        (
            "∂z/∂x by complex steps",
            _entropy_slope(x, rows),
            "((Σ t) softmax(x) − t) / n",
            losses.cross_entropy_dx(x, rows),
        ),
    )


def _binary(draw: Draw) -> Trial:
    n, outputs = draw.size(1, 4, small=2), draw.size(1, 4, small=2)
    x, t, p = draw.reals(n, outputs), draw.rng.random((n, outputs)), np.abs(draw.reals(outputs)) + 0.25

    def z(x: Array) -> Array:
        sigma = 1 / (1 + np.exp(-x))
        return np.asarray(-np.mean(p * t * np.log(sigma) + (1 - t) * np.log(1 - sigma)))

    slope = losses.binary_cross_entropy_dx(x, t, p)
    return trial(
        {"x": x, "t": t, "p": p},
        ("z", losses.binary_cross_entropy(x, t, p), "−mean(p t log σ(x) + (1 − t) log(1 − σ(x)))", z(x)),
        ("∂z/∂x by complex steps", gradient(z, x), "((p t + 1 − t) σ(x) − p t) / m", slope),
    )


def _huber(draw: Draw) -> Trial:
    n, delta = draw.size(2, 8, small=4), 0.5
    t, d = draw.reals(n), draw.reals(n)
    x = t + np.where(np.abs(np.abs(d) - delta) < 1e-3, 2 * d, d)
    z = sum(abs(e) * min(abs(e), delta) - min(abs(e), delta) ** 2 / 2 for e in x - t) / n
    # On the side of δ on which each entry is, a polynomial, for which complex steps are made.
    sign, small = np.sign(x - t), np.abs(x - t) <= delta

    def beside(x: Array) -> Array:
        return np.asarray(np.mean(np.where(small, (x - t) ** 2 / 2, delta * sign * (x - t) - delta**2 / 2)))

    by_steps = gradient(beside, x)
    return trial(
        {"x": x, "t": t, "δ": delta},
        ("z", losses.huber(x, t, delta), "(1/m) Σ (q |d| − q²/2) with q = min(|d|, δ), term by term", z),
        ("∂z/∂x by complex steps", by_steps, "min(max(x − t, −δ), δ) / m", losses.huber_dx(x, t, delta)),
    )


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


def _rmsprop(draw: Draw) -> Trial:
    w, gradients = _steps(draw)
    rho, mu, epsilon = 0.75, 0.5, 1e-3
    end, state = w, (np.zeros_like(w),) * 3
    for g in gradients:
        end, *rest = updates.rmsprop(end, g, *state, RATE, rho, epsilon, mu, centered=True)
        state = (rest[0], rest[1], rest[2])
    moves = []
    for k in range(1, len(gradients) + 1):
        weights = (1 - rho) * rho ** np.arange(k)[::-1]
        square, mean = (np.tensordot(weights, np.array(gradients[:k]) ** power, 1) for power in (2, 1))
        moves.append(gradients[k - 1] / (np.sqrt(square - mean**2) + epsilon))
    closed = w.copy()
    for k, move in enumerate(moves):
        closed -= RATE * move * sum(mu**i for i in range(len(moves) - k))
    return trial(
        {"w": w, "gradients": gradients, "α, ρ, μ, ε": [RATE, rho, mu, epsilon]},
        ("w after the steps", end, "w − α Σ_k (Σ_i μ^i) g_k / (√(q_k − m_k²) + ε)", closed),
    )


def _clip(draw: Draw) -> Trial:
    g, norm = draw.reals(draw.size(2, 6, small=3)), 0.5
    short = updates.clipped(g, norm)
    length = np.sqrt(sum(float(v) ** 2 for v in g))
    wanted = length if length + 1e-6 <= norm else norm * length / (length + 1e-6)
    return trial(
        {"g": g, "most": norm},
        ("‖clipped‖", np.sqrt(np.sum(short**2)), "min(‖g‖, most), but for the 1e-6", wanted),
        ("clipped ‖g‖", short * length, "g ‖clipped‖: the same direction", g * wanted),
    )


def _average(draw: Draw) -> Trial:
    decay, points = 0.75, [draw.reals(3) for _ in range(draw.size(2, 6, small=3))]
    end = points[0]
    for w in points[1:]:
        end = updates.averaged(end, w, decay)
    last = len(points) - 1
    closed = decay**last * points[0] + sum(
        (1 - decay) * decay ** (last - i) * points[i] for i in range(1, last + 1)
    )
    return trial(
        {"w": points, "d": decay}, ("a after the steps", end, "d^k w_0 + (1 − d) Σ_i d^(k−i) w_i", closed)
    )


def _lookahead(draw: Draw) -> Trial:
    w, _ = _steps(draw)
    curvature, k, share, rounds = (
        np.abs(draw.reals(len(w))),
        draw.size(1, 4, small=2),
        0.5,
        draw.size(1, 3, small=2),
    )
    slow = w
    for _ in range(rounds):
        fast = slow
        for _ in range(k):
            fast = updates.gradient_descent(fast, curvature * fast, RATE)
        slow = updates.lookahead(fast, slow, share)
    closed = (1 - share + share * (1 - RATE * curvature) ** k) ** rounds * w
    return trial(
        {"w": w, "a": curvature, "α, β": [RATE, share]},
        (
            f"s after {rounds} × {k} steps of w ← w − α a w",
            slow,
            f"(1 − β + β (1 − α a)^{k})^{rounds} w",
            closed,
        ),
    )


EQUATIONS = (
    Equation("mse", "mean squared error", "z = (1/m) Σ (x − t)², ∂z/∂x = 2 (x − t) / m", _mse),
    Equation(
        "cross-entropy",
        "softmax cross entropy",
        "z = −(1/n) Σ t log softmax(x), ∂z/∂x = ((Σ_c t_c) softmax(x) − t) / n",
        _cross_entropy,
    ),
    Equation("label-smoothing", "label smoothing", "t becomes (1 − ε) t + ε (Σ t) / classes", _smoothing),
    Equation("class-weight", "weights of classes", "z = −Σ c t log softmax(x) / Σ c t", _class_weight),
    Equation(
        "binary-cross-entropy",
        "binary cross entropy",
        "z = −mean(p t log σ(x) + (1 − t) log(1 − σ(x))), ∂z/∂x = ((p t + 1 − t) σ(x) − p t) / m",
        _binary,
    ),
    Equation("huber", "Huber's loss", "∂z/∂x = min(max(x − t, −δ), δ) / m", _huber),
    Equation("descent", "gradient descent", "w ← w − α ∂z/∂w", _descent),
    Equation("momentum", "momentum", "v ← μ v + g, w ← w − α v", _momentum),
    Equation("nesterov", "Nesterov's momentum", "v ← μ v + g, w ← w − α (g + μ v)", _nesterov),
    Equation("weight-decay", "weight decay", "λ adds λ w to g", _decay),
    Equation("decoupled-decay", "decoupled weight decay", "w ← w − α λ w", _decoupled),
    Equation("adam", "Adam", "w ← w − α m̂ / (√v̂ + ε)", _adam),
    Equation("rmsprop", "RMSprop", "w ← w − α g / (√(q − m²) + ε)", _rmsprop),
    Equation("clip", "clipping by norm", "g ← g · min(1, c / (‖g‖ + 1e-6))", _clip),
    Equation("average", "moving average of the parameters", "a ← d a + (1 − d) w", _average),
    Equation("lookahead", "lookahead", "s ← s + β (w − s), w ← s, every k steps", _lookahead),
)
