"""Dropout (Srivastava et al. 2014): entries, or whole channels, left out at random in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, finite, image_shape
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.scalar import where
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each entry is 0 with probability ``rate``, else x / (1 − rate); a prediction leaves x as it is.

    Backward: ∂z/∂x = ∂z/∂y / (1 − rate) where the entry was kept, else 0. The mask depends on the program's seed, the step, which
    of the model's masks it is, the image's number in the batch and the entry, and on nothing else: not on threads,
    processors or on what was drawn before, so a program that was saved goes on with the masks that it would have had. It is kept as
    a byte for each entry until the backward pass, where drawing it again would take longer than reading it.

    >>> Dropout(0.5).infer((128,))
    (128,)
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        finite(self.rate, "rate", least=0.0, below=1.0)

    def mask(self, shape: Shape) -> Shape:
        """The shape of an image's mask."""
        return shape

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        if not e.training or self.rate == 0:
            return x, None
        kept = e.keep(x, self.mask(x.shape), self.rate)
        return self._masked(e, x, kept), kept

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return dy if saved is None else self._masked(e, dy, saved), {}

    def _masked(self, e: Emitter, x: Any, kept: Any) -> Any:
        scale = 1 / (1 - self.rate)
        return e.map(lambda x, k: where(k > 0, x * scale, 0), x, kept, formula="dropout")

    def flops(self, shape: Shape) -> int:
        return size(shape)


@dataclass(frozen=True)
class SpatialDropout2D(Dropout):
    """Dropout of whole channels of an image's map (Tompson et al. 2015); torch.nn.Dropout2d.

    >>> SpatialDropout2D(0.2).infer((8, 8, 16))
    (8, 8, 16)
    """

    def infer(self, shape: Shape) -> Shape:
        return image_shape(self, shape)

    def mask(self, shape: Shape) -> Shape:
        return (1, 1, shape[-1])
