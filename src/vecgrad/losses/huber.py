"""Huber's loss (1964): squares of small errors, absolute values of large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecgrad.losses.base import Loss, factors, mean
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.scalar import absolute, maximum, minimum
from vecgrad.spec.tensor import size


@dataclass(frozen=True)
class Huber(Loss):
    """z = Σ w h(x − t) / (entries per image · Σ w), h(d) = d²/2 where |d| ≤ δ, else δ (|d| − δ/2).

    With q = min(|d|, δ) both are q |d| − q²/2. ∂z/∂x = w min(max(x − t, −δ), δ) / (entries · Σ w): no image pulls harder than δ.

    >>> Huber(delta=2)
    Huber(delta=2)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        factors((self.delta,), "delta")
        if not self.delta:
            raise ArgumentError("delta must be above 0, got 0")

    def forward(self, e: Emitter, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        scale = mean(e) * (1.0 / size(x.shape))
        off = e.map(lambda x, t: x - t, x, t, formula="huber")
        far = e.map(absolute, off, formula="huber")
        near = e.map(lambda a: minimum(a, self.delta), far, formula="huber")
        each = e.map(lambda a, q, w: w * scale * (q * (a - 0.5 * q)), far, near, w, formula="huber")
        z = e.reduce("sum", e.reduce("sum", each, over="channels"), over="pixels")
        return z, (off, w, scale)

    def backward(self, e: Emitter, saved: Any) -> Any:
        off, w, scale = saved
        return e.map(
            lambda d, w: w * scale * maximum(minimum(d, self.delta), -self.delta), off, w, formula="huber"
        )
