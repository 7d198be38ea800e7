"""Mean squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecgrad.losses.base import Loss, mean
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.tensor import size


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """z = Σ w (x − t)² / (entries per image · Σ w); ∂z/∂x = 2 w (x − t) / (entries · Σ w)."""

    def forward(self, e: Emitter, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        scale = mean(e) * (1.0 / size(x.shape))
        off = e.map(lambda x, t: x - t, x, t, formula="mse")
        each = e.map(lambda d, w: w * scale * (d * d), off, w, formula="mse")
        z = e.reduce("sum", e.reduce("sum", each, over="channels"), over="pixels")
        return z, (off, w, scale)

    def backward(self, e: Emitter, saved: Any) -> Any:
        off, w, scale = saved
        return e.map(lambda d, w: w * (2 * scale) * d, off, w, formula="mse")
