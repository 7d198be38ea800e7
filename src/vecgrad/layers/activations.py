"""Activations, section 5: maps from entry to entry, each with its derivative in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, Literal

from vecgrad.layers.base import Layer, finite, known
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.scalar import Expr, erf, exp, tanh, where
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class ReLU(Layer):
    """x where x > 0, else 0 (5.1); ReLU'(0) = 0 (5.2). NaN passes through, so that divergence shows.

    Backward (5.3) tests y > 0, which holds exactly where x > 0: the input need not be kept.
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        y = e.map(lambda x: where(x <= 0, 0, x), x, formula="5.1")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.map(lambda dy, y: where(y > 0, dy, 0), dy, saved, formula="5.3"), {}

    def flops(self, shape: Shape) -> int:
        return size(shape)


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where x > 0, else slope · x; slope ≥ 0, so that the output's sign is the input's, which need not be kept.

    Backward: ∂z/∂x = ∂z/∂y where y > 0, else slope · ∂z/∂y; at 0 the slope counts.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        finite(self.slope, "slope", least=0.0)

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        y = e.map(lambda x: where(x > 0, x, self.slope * x), x, formula="leaky-relu")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        slope = self.slope
        return e.map(lambda dy, y: where(y > 0, dy, slope * dy), dy, saved, formula="leaky-relu"), {}

    def flops(self, shape: Shape) -> int:
        return 2 * size(shape)


@dataclass(frozen=True)
class ELU(Layer):
    """x where x > 0, else α (eˣ − 1) (Clevert, Unterthiner and Hochreiter 2016); alpha ≥ 0.

    eˣ − 1 = 2t / (1 − t) with t = tanh(x / 2): no digits cancel where x is small.
    Backward from the output alone: ∂z/∂x = ∂z/∂y where y > 0, else (y + α) ∂z/∂y, for there α eˣ = y + α.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        finite(self.alpha, "alpha", least=0.0)

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        def body(x: Expr) -> Expr:
            t = tanh(0.5 * x)
            return where(x > 0, x, (2 * self.alpha) * (t / (1 - t)))

        y = e.map(body, x, formula="elu")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        alpha = self.alpha
        return e.map(lambda dy, y: where(y > 0, dy, dy * (y + alpha)), dy, saved, formula="elu"), {}

    def flops(self, shape: Shape) -> int:
        return 6 * size(shape)


@dataclass(frozen=True)
class SiLU(Layer):
    """x σ(x) (Elfwing, Uchibe and Doya 2018), also called swish.

    Backward: ∂z/∂x = ∂z/∂y σ(x) (1 + x (1 − σ(x))). The output does not tell x, so the input is kept.
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.map(lambda x: x / (1 + exp(-x)), x, formula="silu"), x

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        def body(dy: Expr, x: Expr) -> Expr:
            s = 1 / (1 + exp(-x))
            return dy * (s * (1 + x * (1 - s)))

        return e.map(body, dy, saved, formula="silu"), {}

    def flops(self, shape: Shape) -> int:
        return 4 * size(shape)


@dataclass(frozen=True)
class GELU(Layer):
    """x Φ(x) with the normal distribution Φ(x) = (1 + erf(x / √2)) / 2 (Hendrycks and Gimpel 2016).

    Backward: ∂z/∂x = ∂z/∂y (Φ(x) + x φ(x)) with the density φ(x) = e^(−x²/2) / √(2π). approximate="tanh":
    Φ(x) ≈ (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³), whose derivative is (1 − tanh² u) u' / 2.
    The output does not tell x, so the input is kept.
    """

    approximate: Literal["none", "tanh"] = "none"

    def __post_init__(self) -> None:
        known(self.approximate, "approximate", ("none", "tanh"))

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        def body(x: Expr) -> Expr:
            inner = tanh(_gelu_argument(x)) if self.approximate == "tanh" else erf(x * sqrt(0.5))
            return (0.5 * x) * (1 + inner)

        return e.map(body, x, formula="gelu"), x

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        def exact(dy: Expr, x: Expr) -> Expr:
            density = sqrt(0.5 / pi) * exp(-0.5 * (x * x))
            return dy * ((0.5 + 0.5 * erf(x * sqrt(0.5))) + x * density)

        def approximate(dy: Expr, x: Expr) -> Expr:
            t = tanh(_gelu_argument(x))
            slope = sqrt(2 / pi) * (1 + (3 * _CUBIC) * (x * x))
            return dy * (0.5 * (1 + t) + (0.5 * x) * ((1 - t * t) * slope))

        body = approximate if self.approximate == "tanh" else exact
        return e.map(body, dy, saved, formula="gelu"), {}

    def flops(self, shape: Shape) -> int:
        return 5 * size(shape)


_CUBIC = 0.044715


def _gelu_argument(x: Expr) -> Expr:
    """√(2/π) (x + 0.044715 x³)."""
    return sqrt(2 / pi) * (x + _CUBIC * (x * (x * x)))


@dataclass(frozen=True)
class Sigmoid(Layer):
    """σ(x) = 1 / (1 + e^(−x)); σ' = σ (1 − σ)."""

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        y = e.map(lambda x: 1 / (1 + exp(-x)), x, formula="sigmoid")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.map(lambda dy, y: dy * (y * (1 - y)), dy, saved, formula="sigmoid"), {}

    def flops(self, shape: Shape) -> int:
        return 4 * size(shape)


@dataclass(frozen=True)
class Tanh(Layer):
    """tanh x; tanh' = 1 − tanh²."""

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        y = e.map(tanh, x, formula="tanh")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.map(lambda dy, y: dy * (1 - y * y), dy, saved, formula="tanh"), {}

    def flops(self, shape: Shape) -> int:
        return 4 * size(shape)


@dataclass(frozen=True)
class Softmax(Layer):
    """e^(x − max) / Σ e^(x − max) over the channels; ∂z/∂x = y (∂z/∂y − Σ y ∂z/∂y).

    Never the last layer in front of cross entropy, which takes logits.
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        top = e.reduce("max", x, over="channels")
        raised = e.map(lambda x, m: exp(x - m), x, top, formula="cross-entropy")
        total = e.reduce("sum", raised, over="channels")
        y = e.map(lambda r, s: r / s, raised, total, formula="cross-entropy")
        return y, y

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        along = e.reduce("sum", e.map(lambda y, dy: y * dy, saved, dy), over="channels")
        return e.map(lambda y, dy, s: y * (dy - s), saved, dy, along, formula="cross-entropy"), {}

    def flops(self, shape: Shape) -> int:
        return 5 * size(shape)
