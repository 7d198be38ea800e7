"""Softmax cross entropy on logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecgrad.losses.base import Loss, factors, mean
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.scalar import exp, log
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """z = −Σ w t log softmax(x) / Σ w over the images; ∂z/∂x = w ((Σ t) softmax(x) − t) / Σ w.

    x: logits (classes,), no softmax in front. Computed from x − max x, so that no exponential overflows.
    label_smoothing ε: t becomes (1 − ε) t + ε (Σ t) / classes (Szegedy et al. 2016).
    class_weight c: class i counts c_i times, z = −Σ w c t log softmax(x) / Σ w (c · t), t smoothed above the line only. So an
    image weighs w (c · t), and z is the mean over the images thus weighted. For class numbers that is PyTorch's
    CrossEntropyLoss(weight, label_smoothing); for soft targets PyTorch divides by Σ w instead, so there a row that holds a
    single 1 is not the class of that number, which here it is. A batch of which all images weigh nothing has loss 0.

    z is linear in t: both are changes of the target's rows (``rows``), and forward and backward stay what they are.

    >>> CrossEntropy(label_smoothing=0.1, class_weight=(1.0, 2.0)).class_weight
    (1.0, 2.0)
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None

    targets = "classes"

    def __post_init__(self) -> None:
        factors((self.label_smoothing,), "label_smoothing")
        if self.label_smoothing > 1:
            raise ArgumentError(f"label_smoothing must be at most 1, got {self.label_smoothing!r}")
        if isinstance(self.class_weight, list):
            object.__setattr__(self, "class_weight", tuple(self.class_weight))
        if self.class_weight is not None:
            if not isinstance(self.class_weight, tuple):
                raise ArgumentError(
                    f"class_weight must be a tuple, a number per class, got {self.class_weight!r}"
                )
            factors(self.class_weight, "class_weight")
            if not any(self.class_weight):
                raise ArgumentError("class_weight is zero for every class: no image would count")

    @property
    def as_given(self) -> bool:
        return not self.label_smoothing and self.class_weight is None

    def rows(self, t: Any, w: Any) -> Any:
        """t (n, classes) smoothed and weighted; with weights relative to their mean over the batch, w being the images'."""
        smooth = t
        if self.label_smoothing:
            share = self.label_smoothing / t.shape[-1]
            smooth = t * (1 - self.label_smoothing) + t.sum(-1)[..., None] * share
        if self.class_weight is None:
            return smooth
        total = self.counted(t, w)
        return smooth * self.class_weight * (float(w.sum()) / total if total else 0.0)

    def counted(self, t: Any, w: Any) -> float:
        return float((w if self.class_weight is None else w * (t * self.class_weight).sum(-1)).sum())

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
        self._weighs(shape)

    def _weighs(self, shape: Shape) -> None:
        if self.class_weight is not None and len(self.class_weight) != shape[0]:
            raise ShapeError(
                f"class_weight has {len(self.class_weight)} numbers, but the network's output has {shape[0]} classes"
            )

    def probabilities(self, e: Emitter, x: Any) -> Any:
        """softmax(x): what the logits say of each class."""
        top = e.reduce("max", x, over="channels")
        raised = e.map(lambda x, m: exp(x - m), x, top, formula="cross-entropy")
        return e.map(
            lambda r, s: r / s, raised, e.reduce("sum", raised, over="channels"), formula="cross-entropy"
        )
