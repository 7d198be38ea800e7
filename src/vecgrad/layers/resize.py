"""Layers that repeat pixels or put zeros around them: poolings of section 4 run the other way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, image_shape
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.geometry import Axis, PaddingLike, Pair, Window, paddings, pair
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class UpSample2D(Layer):
    """Each pixel as a block of ``factor`` (an integer or (height, width)) equal ones: nearest neighbours.

    With a the mean over blocks (average pooling, each block a window of n cells), aᵀ shares a pixel out over its block in n-ths.
    So y = n aᵀ(x), and ∂z/∂x = n a(∂z/∂y), the sum over the block. Copies are exact for n = 2ⁱ and n = 2ⁱ + 2ʲ, which x / n · n
    is; for others, 7 the first, they may be off by a unit in the last place.

    >>> UpSample2D(2).infer((7, 7, 8))
    (14, 14, 8)
    """

    factor: int | Pair = 2

    def __post_init__(self) -> None:
        pair(self.factor, "factor")

    def scatter(self, shape: Shape) -> Window:
        """The blocks as windows on the output."""
        h, w, _ = image_shape(self, shape)
        down, right = pair(self.factor, "factor")
        return Window(Axis(h * down, down, down), Axis(w * right, right, right))

    def infer(self, shape: Shape) -> Shape:
        return (*self.scatter(shape).in_size, shape[2])

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.scatter(x.shape)
        return e.map(lambda share: share * g.taps, e.avg_pool_dx(x, g, False), formula="upsampling"), g

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        taps = saved.taps
        return e.map(lambda mean: mean * taps, e.avg_pool(dy, saved, False), formula="upsampling"), {}


@dataclass(frozen=True)
class ZeroPad2D(Layer):
    """Zeros around the map. padding: an integer, (v, h) or ((top, bottom), (left, right)).

    It is the average over windows of one cell, of which those in the padding count as 0; the gradient is ∂z/∂y without its rim.
    Where a convolution alone reads the padded map, it does not exist: the convolution pads more.

    >>> ZeroPad2D(((0, 1), (0, 1))).infer((8, 8, 3))
    (9, 9, 3)
    """

    padding: PaddingLike = 1

    def __post_init__(self) -> None:
        if isinstance(self.padding, str):
            raise ArgumentError(
                f"padding must be an integer, (v, h) or ((top, bottom), (left, right)), got {self.padding!r}"
            )
        paddings((1, 1), (1, 1), (1, 1), self.padding, (1, 1))

    def window(self, shape: Shape) -> Window:
        h, w, _ = image_shape(self, shape)
        rows, cols = paddings((h, w), (1, 1), (1, 1), self.padding, (1, 1))
        return Window(Axis(h, 1, before=rows[0], after=rows[1]), Axis(w, 1, before=cols[0], after=cols[1]))

    def infer(self, shape: Shape) -> Shape:
        return (*self.window(shape).out_size, shape[2])

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.window(x.shape)
        return e.avg_pool(x, g, True), g

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.avg_pool_dx(dy, saved, True), {}
