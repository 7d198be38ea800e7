"""Gradient descent, with momentum, Nesterov's variant and weight decay, by PyTorch's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.updates.base import Update, number


@dataclass(frozen=True)
class SGD(Update):
    """w ← w − α g; with momentum μ: v ← μ v + g, w ← w − α v; Nesterov: w ← w − α (g + μ v).

    weight_decay λ adds λ w to g.

    >>> SGD(learning_rate=0.1, momentum=0.9).state()
    ('velocity',)
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number(self.momentum, "momentum", 0.0, 1.0)
        number(self.weight_decay, "weight_decay", 0.0)
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov=True needs momentum above 0")

    def state(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        rate = self.rate(e)
        g = self.with_decay(e, g, w, self.weight_decay)
        if not self.momentum:
            return e.map(lambda w, g: w - rate * g, w, g, formula="descent"), {}
        v = e.map(lambda v, g: self.momentum * v + g, s["velocity"], g, formula="momentum")
        if self.nesterov:
            new = e.map(lambda w, g, v: w - rate * (g + self.momentum * v), w, g, v, formula="nesterov")
        else:
            new = e.map(lambda w, v: w - rate * v, w, v, formula="momentum")
        return new, {"velocity": v}
