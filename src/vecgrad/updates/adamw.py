"""AdamW: Adam with the weight decay taken out of the gradient (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vecgrad.spec.emitter import Emitter
from vecgrad.updates.adam import Adam


@dataclass(frozen=True)
class AdamW(Adam):
    """w ← w − α λ w − α m̂ / (√v̂ + ε), m̂ and v̂ as in ``Adam`` from the loss's own gradient; λ is weight_decay.

    In ``Adam`` λ w goes through the division by √v̂, which makes the decay of an entry weaker the larger its gradients are;
    here all entries decay alike. By default weights alone decay; PyTorch's is ``decay="all"``.

    >>> AdamW().weight_decay, AdamW().factors("0.bias", (8,))
    (0.01, (1.0, 0.0))
    """

    weight_decay: float = 0.01
    decay: Literal["all", "weights"] = field(default="weights", kw_only=True)

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.weight_decay:
            rate, shrink = self.rate(e), self.shrink(e, self.weight_decay)
            w = e.map(lambda w: w - (rate * shrink) * w, w, formula="weight-decay")
        return self.moved(e, w, g, s)
