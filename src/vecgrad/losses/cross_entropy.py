"""Softmax cross entropy on logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecgrad.losses.base import Loss, mean
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.scalar import exp, log
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """z = −Σ w t log softmax(x) / Σ w over the images; ∂z/∂x = w ((Σ t) softmax(x) − t) / Σ w.

    x: logits (classes,), no softmax in front. Computed from x − max x, so that no exponential overflows.
    """

    targets = "classes"

    def forward(self, e: Emitter, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        top = e.reduce("max", x, over="channels")
        raised = e.map(lambda x, m: exp(x - m), x, top, formula="cross-entropy")
        total = e.reduce("sum", raised, over="channels")
        truth = e.reduce("sum", t, over="channels")
        along = e.reduce("sum", e.map(lambda t, x, m: t * (x - m), t, x, top), over="channels")
        scale = mean(e)
        each = e.map(
            lambda w, s, tt, tx: w * scale * (tt * log(s) - tx),
            w,
            total,
            truth,
            along,
            formula="cross-entropy",
        )
        return e.reduce("sum", each, over="pixels"), (raised, total, t, truth, w)

    def backward(self, e: Emitter, saved: Any) -> Any:
        raised, total, t, truth, w = saved
        scale = mean(e)
        return e.map(
            lambda r, s, t, tt, w: w * scale * (tt * r / s - t), raised, total, t, truth, w,
            formula="cross-entropy",
        )  # fmt: skip

    def check(self, shape: Shape) -> None:
        if len(shape) != 1 or shape[0] < 2:
            raise ShapeError(
                f"cross entropy needs one logit per class, at least 2, as a vector, but the network's output has shape {shape}; "
                f"end it with Flatten() and Dense(number of classes)"
            )

    def probabilities(self, e: Emitter, x: Any) -> Any:
        """softmax(x): what the logits say of each class."""
        top = e.reduce("max", x, over="channels")
        raised = e.map(lambda x, m: exp(x - m), x, top, formula="cross-entropy")
        return e.map(
            lambda r, s: r / s, raised, e.reduce("sum", raised, over="channels"), formula="cross-entropy"
        )
