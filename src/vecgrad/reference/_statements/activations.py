"""Section 5: ReLU, (5.1)–(5.3), and the sigmoid, tanh and NaN of section 6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecgrad.reference import pooling
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.activations import (
    elu,
    elu_dx,
    erf,
    gelu,
    gelu_dx,
    gelu_tanh,
    gelu_tanh_dx,
    leaky_relu,
    leaky_relu_dx,
    relu,
    relu_dx,
    sigmoid,
    sigmoid_dx,
    silu,
    silu_dx,
    tanh,
    tanh_dx,
)
from vecgrad.reference.calculus import gradient
from vecgrad.spec.geometry import Axis, Window


def _vector(draw: Draw) -> Array:
    """Numbers other than 0 of both signs, where there is room for both."""
    return draw.distinct(draw.size(1, 12, small=6)) / (1 if draw.small else 3)


def _positive_part(x: Array) -> Array:
    """(x + √x²) / 2: ReLU away from 0, without a comparison."""
    return np.asarray((x + np.sqrt(x**2)) / 2)


def _slope(f: Callable[[Array], Array], x: Array) -> Array:
    """f' at each entry of x, by complex steps."""
    return gradient(lambda x: np.sum(f(x)), x)


def _relu(draw: Draw) -> Trial:
    x = np.append(_vector(draw), 0.0)
    return trial({"x": x}, ("ReLU(x)", relu(x), "(x + |x|) / 2", (x + np.abs(x)) / 2))


def _relu_slope(draw: Draw) -> Trial:
    x = _vector(draw)
    return trial(
        {"x": x},
        ("ReLU'(x)", relu_dx(np.ones_like(x), x), "by complex steps", _slope(_positive_part, x)),
        ("ReLU'(0), ReLU'(−0)", relu_dx(np.ones(2), np.array([0.0, -0.0])), "0, by definition", [0.0, 0.0]),
    )


def _relu_gradient(draw: Draw) -> Trial:
    x = _vector(draw)
    t = draw.reals(len(x))
    by_steps = gradient(lambda x: np.sum((_positive_part(x) - t) ** 2) / 2, x)
    return trial(
        {"x": x, "t, with z = ½ Σ (ReLU(x) − t)²": t},
        ("∂z/∂x by complex steps", by_steps, "∂z/∂y where x > 0, else 0", relu_dx(relu(x) - t, x)),
    )


def _sigmoid(draw: Draw) -> Trial:
    x = _vector(draw)
    slope = sigmoid_dx(np.ones_like(x), x)
    far = np.array([-750.0, 750.0])
    return trial(
        {"x": x},
        ("σ(x)", sigmoid(x), "1 / (1 + e^(−x))", 1 / (1 + np.exp(-x))),
        ("σ'(x) = σ(x) (1 − σ(x))", slope, "by complex steps", _slope(lambda x: 1 / (1 + np.exp(-x)), x)),
        (
            "σ' ≤ 1/4, with equality at 0",
            np.maximum(slope, 0.25),
            "1/4",
            np.full_like(x, sigmoid_dx(np.ones(1), np.zeros(1))),
        ),
        (
            "σ(±750), σ'(±750)",
            np.append(sigmoid(far), sigmoid_dx(np.ones(2), far).round(300)),
            "no overflow",
            [0, 1, 0, 0],
        ),
    )


def _tanh(draw: Draw) -> Trial:
    x = _vector(draw)
    e = np.exp(-2 * x)
    by_steps = _slope(lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)), x)
    return trial(
        {"x": x},
        ("tanh(x)", tanh(x), "(1 − e^(−2x)) / (1 + e^(−2x))", (1 - e) / (1 + e)),
        ("tanh'(x) = 1 − tanh²(x)", tanh_dx(np.ones_like(x), x), "by complex steps", by_steps),
    )


def _leaky_relu(draw: Draw) -> Trial:
    x, slope = _vector(draw), 0.25

    def twin(x: Array) -> Array:
        return (1 - slope) * _positive_part(x) + slope * x

    return trial(
        {"x": x, "slope": slope},
        ("LeakyReLU(x)", leaky_relu(x, slope), "(1 − slope) ReLU(x) + slope x", twin(x)),
        ("its slope", leaky_relu_dx(np.ones_like(x), x, slope), "by complex steps", _slope(twin, x)),
    )


def _elu(draw: Draw) -> Trial:
    x, alpha = _vector(draw), 0.5
    y = elu(x, alpha)
    slope = elu_dx(np.ones_like(x), x, alpha)
    return trial(
        {"x": x, "α": alpha},
        ("ELU'(x)", slope, "by complex steps", _slope(lambda x: elu(x, alpha), x)),
        ("ELU'(x)", slope, "from y = ELU(x): 1 where y > 0, else y + α", np.where(y > 0, 1, y + alpha)),
    )


def _silu(draw: Draw) -> Trial:
    x = _vector(draw)
    slope = silu_dx(np.ones_like(x), x)
    return trial(
        {"x": x},
        ("SiLU(x) = x σ(x)", silu(x), "x (1 + tanh(x / 2)) / 2", x * (1 + np.tanh(x / 2)) / 2),
        ("SiLU'(x)", slope, "by complex steps", _slope(lambda x: x / (1 + np.exp(-x)), x)),
    )


def _gelu(draw: Draw) -> Trial:
    x = _vector(draw)
    # The integral by Gauss and Legendre's rule, which knows no series.
    nodes, weights = np.polynomial.legendre.leggauss(80)
    t = x[:, None] * np.sqrt(0.5) * (nodes + 1) / 2
    integral = (np.exp(-t * t) * weights).sum(1) * x * np.sqrt(0.5) / np.sqrt(np.pi)
    one = np.ones_like(x)
    return trial(
        {"x": x},
        ("erf(x / √2)", erf(x * np.sqrt(0.5)), "2/√π ∫ e^(−t²) dt", integral),
        ("GELU(x) = x Φ(x)", gelu(x), "x (1 + erf(x / √2)) / 2", x * (1 + integral) / 2),
        ("GELU'(x) = Φ(x) + x φ(x)", gelu_dx(one, x), "by complex steps", _slope(gelu, x)),
        ("tanh form's slope", gelu_tanh_dx(one, x), "by complex steps", _slope(gelu_tanh, x)),
    )


def _nan(draw: Draw) -> Trial:
    x = draw.distinct(1, 4, 4)
    i, j = draw.integer(0, 3), draw.integer(0, 3)
    x[0, i, j] = np.nan
    g = Window(Axis(4, 2, 2), Axis(4, 2, 2))
    through_relu, pooled = np.maximum(np.nan_to_num(x), 0), x.reshape(2, 2, 2, 2).max(axis=(1, 3))[None]
    through_relu[0, i, j] = np.nan
    return trial(
        {"x": x},
        ("ReLU(x)", relu(x), "NaN where x is NaN", through_relu),
        ("max pooling of x", pooling.max_pool(x, g), "NaN where a tile holds one", pooled),
        ("the same by loops", pooling.max_pool_by_loops(x, g)[0], "NaN where a tile holds one", pooled),
    )


EQUATIONS = (
    Equation("5.1", "ReLU", "ReLU(x) = x if x > 0, else 0", _relu),
    Equation("5.2", "its slope", "ReLU'(x) = 1 if x > 0, else 0; ReLU'(0) = 0 by definition", _relu_slope),
    Equation("5.3", "its gradient", "∂z/∂x = ∂z/∂y where x > 0, else 0", _relu_gradient),
)
GENERAL = (
    Equation("sigmoid", "sigmoid", "σ(x) = 1 / (1 + e^(−x)), σ'(x) = σ(x) (1 − σ(x)) ≤ 1/4", _sigmoid),
    Equation("tanh", "hyperbolic tangent", "tanh'(x) = 1 − tanh²(x)", _tanh),
    Equation("leaky-relu", "leaky ReLU", "LeakyReLU(x) = x if x > 0, else slope x", _leaky_relu),
    Equation("elu", "ELU", "ELU(x) = x if x > 0, else α (eˣ − 1); ELU' = 1 if y > 0, else y + α", _elu),
    Equation("silu", "SiLU", "SiLU(x) = x σ(x), SiLU' = σ (1 + x (1 − σ))", _silu),
    Equation("gelu", "GELU", "GELU(x) = x Φ(x), GELU' = Φ + x φ with Φ = (1 + erf(x / √2)) / 2", _gelu),
    Equation("nan", "NaN", "NaN passes through ReLU and max pooling", _nan),
)
