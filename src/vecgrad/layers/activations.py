"""Activations, section 5: maps from entry to entry, each with its derivative in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.scalar import exp, tanh, where
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
