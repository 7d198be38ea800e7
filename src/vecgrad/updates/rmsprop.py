"""RMSprop (Tieleman and Hinton 2012), by PyTorch's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.scalar import maximum, sqrt
from vecgrad.updates.base import Update, number


@dataclass(frozen=True)
class RMSprop(Update):
    """q ← ρ q + (1 − ρ) g²; w ← w − α g / (√q + ε), ρ being smoothing.

    centered: m ← ρ m + (1 − ρ) g too, and q − m², the gradient's variance, takes the place of q under the root (Graves 2013).
    With momentum μ: v ← μ v + g / (√q + ε); w ← w − α v. weight_decay λ adds λ w to g.

    >>> RMSprop(momentum=0.9, centered=True).state()
    ('square', 'mean', 'velocity')
    """

    learning_rate: float = 0.01
    smoothing: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number(self.smoothing, "smoothing", 0.0, 1.0)
        number(self.epsilon, "epsilon", 0.0)
        number(self.momentum, "momentum", 0.0, 1.0)
        number(self.weight_decay, "weight_decay", 0.0)

    def state(self) -> tuple[str, ...]:
        return (
            "square",
            *(("mean",) if self.centered else ()),
            *(("velocity",) if self.momentum else ()),
        )

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        rate, rho = self.rate(e), self.smoothing
        g = self.with_decay(e, g, w, self.weight_decay)
        kept = {
            "square": e.map(lambda q, g: rho * q + (1 - rho) * (g * g), s["square"], g, formula="rmsprop")
        }
        spread = kept["square"]
        if self.centered:
            kept["mean"] = e.map(lambda m, g: rho * m + (1 - rho) * g, s["mean"], g, formula="rmsprop")
            # Rounding may leave less than nothing of a variance.
            spread = e.map(lambda q, m: maximum(q - m * m, 0), spread, kept["mean"], formula="rmsprop")
        move = e.map(lambda g, q: g / (sqrt(q) + self.epsilon), g, spread, formula="rmsprop")
        if self.momentum:
            move = kept["velocity"] = e.map(
                lambda v, m: self.momentum * v + m, s["velocity"], move, formula="momentum"
            )
        return e.map(lambda w, m: w - rate * m, w, move, formula="rmsprop"), kept
