"""Binary cross entropy on logits: each output a yes-or-no question of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecgrad.losses.base import Loss, factors, mean
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.scalar import Expr, absolute, exp, log, maximum, where
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """z = Σ w (−p t log σ(x) − (1 − t) log(1 − σ(x))) / (entries · Σ w); ∂z/∂x = w ((p t + 1 − t) σ(x) − p t) / (entries · Σ w).

    x: logits of any shape, no sigmoid in front; t: as large, from 0 to 1. pos_weight p: how much a yes counts, a number or one
    for each output (the last axis). Both logarithms are softplus(±x), taken of exp(−|x|), so that nothing overflows.

    >>> BinaryCrossEntropy(pos_weight=3)
    BinaryCrossEntropy(pos_weight=3)
    """

    pos_weight: float | tuple[float, ...] | None = None

    targets = "shares"

    def __post_init__(self) -> None:
        if isinstance(self.pos_weight, list):
            object.__setattr__(self, "pos_weight", tuple(self.pos_weight))
        if self.pos_weight is not None:
            given = self.pos_weight if isinstance(self.pos_weight, tuple) else (self.pos_weight,)
            factors(given, "pos_weight")

    def check(self, shape: Shape) -> None:
        if isinstance(self.pos_weight, tuple) and (not shape or len(self.pos_weight) != shape[-1]):
            raise ShapeError(
                f"binary cross entropy has {len(self.pos_weight)} numbers in pos_weight, but the network's output has "
                f"shape {shape}; give one number, or one for each of its last axis"
            )

    def rows_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], 2 * shape[-1]) if isinstance(self.pos_weight, tuple) else shape

    @property
    def as_given(self) -> bool:
        return not isinstance(self.pos_weight, tuple)

    def rows(self, t: Any, w: Any) -> Any:
        """With one weight for each output: p t, and behind it along the last axis 1 − t."""
        if not isinstance(self.pos_weight, tuple):
            return t
        halves = t[..., None, :] * (self.pos_weight, (-1.0,) * len(self.pos_weight)) + ((0.0,), (1.0,))
        return halves.reshape(*t.shape[:-1], -1)

    def forward(self, e: Emitter, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        scale = mean(e) * (1.0 / size(x.shape))
        if isinstance(self.pos_weight, tuple):
            classes = x.shape[-1]
            yes, no = e.part(t, 0, classes), e.part(t, classes, 2 * classes)
        else:
            weight = 1.0 if self.pos_weight is None else self.pos_weight
            yes = e.map(lambda t: weight * t, t, formula="binary-cross-entropy")
            no = e.map(lambda t: 1 - t, t, formula="binary-cross-entropy")
        each = e.map(
            lambda x, a, b, w: w * scale * ((a + b) * _softplus_of_minus(x) + b * x), x, yes, no, w,
            formula="binary-cross-entropy",
        )  # fmt: skip
        z = e.reduce("sum", e.reduce("sum", each, over="channels"), over="pixels")
        return z, (x, yes, no, w, scale)

    def backward(self, e: Emitter, saved: Any) -> Any:
        x, yes, no, w, scale = saved
        return e.map(
            lambda x, a, b, w: w * scale * ((a + b) * _sigmoid(x) - a), x, yes, no, w,
            formula="binary-cross-entropy",
        )  # fmt: skip

    def probabilities(self, e: Emitter, x: Any) -> Any:
        """σ(x): what the logits say of each question."""
        return e.map(_sigmoid, x, formula="binary-cross-entropy")


def _softplus_of_minus(x: Expr) -> Expr:
    """log(1 + exp(−x)) = −log σ(x)."""
    return log(1 + exp(-absolute(x))) + maximum(-x, 0)


def _sigmoid(x: Expr) -> Expr:
    small = exp(-absolute(x))
    return where(x < 0, small, 1) / (1 + small)
