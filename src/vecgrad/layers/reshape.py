"""Layers that change how entries are arranged or scaled, and have no parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class Flatten(Layer):
    """A map (H, W, C) as a vector of H·W·C features, in C order: a view, nothing is computed.

    >>> Flatten().infer((4, 4, 3))
    (48,)
    """

    def infer(self, shape: Shape) -> Shape:
        return (size(shape),)

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.reshape(x, (size(x.shape),)), x.shape

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.reshape(dy, saved), {}


@dataclass(frozen=True)
class Rescale(Layer):
    """x · scale + offset. A model that begins with Rescale takes uint8 images as they are.

    >>> Rescale(1 / 255).infer((8, 8, 1))
    (8, 8, 1)
    """

    scale: float = 1.0 / 255.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        for value, what in ((self.scale, "scale"), (self.offset, "offset")):
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not abs(value) < float("inf")
            ):
                raise ArgumentError(f"{what} must be a finite number, got {value!r}")

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.map(lambda x: x * self.scale + self.offset, x), None

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.map(lambda dy: dy * self.scale, dy), {}

    def flops(self, shape: Shape) -> int:
        return 2 * size(shape)
