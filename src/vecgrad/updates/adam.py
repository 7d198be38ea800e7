"""Adam (Kingma and Ba 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.scalar import sqrt
from vecgrad.updates.base import Update, number


@dataclass(frozen=True)
class Adam(Update):
    """m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← w − α m̂ / (√v̂ + ε), m̂ and v̂ corrected for their zero start.

    weight_decay λ adds λ w to g.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number(self.beta1, "beta1", 0.0, 1.0)
        number(self.beta2, "beta2", 0.0, 1.0)
        number(self.epsilon, "epsilon", 0.0)
        number(self.weight_decay, "weight_decay", 0.0)

    def state(self) -> tuple[str, ...]:
        return ("mean", "square")

    def scalars(self, step: int) -> dict[str, float]:
        return {
            "correction1": 1.0 / (1.0 - self.beta1**step),
            "correction2": 1.0 / (1.0 - self.beta2**step),
        }

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.moved(e, w, self.with_decay(e, g, w, self.weight_decay), s)

    def moved(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The rule on a gradient as it is."""
        rate, c1, c2 = self.rate(e), e.scalar("correction1"), e.scalar("correction2")
        m = e.map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, s["mean"], g, formula="adam")
        v = e.map(lambda v, g: self.beta2 * v + (1 - self.beta2) * (g * g), s["square"], g, formula="adam")
        new = e.map(
            lambda w, m, v: w - rate * (m * c1) / (sqrt(v * c2) + self.epsilon), w, m, v, formula="adam"
        )
        return new, {"mean": m, "square": v}
