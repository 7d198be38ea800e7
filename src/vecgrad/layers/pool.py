"""Pooling, section 4: no parameters; the gradient goes back through the windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, image_shape
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, PaddingLike, Pair, Window, paddings, pair, window
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class _Pool2D(Layer):
    """pool_size: the window, an integer or (height, width). stride: None means the window's size.

    padding and dilation as in Conv2D. A window that holds no image cell is refused.
    """

    pool_size: int | Pair
    stride: int | Pair | None = None
    padding: PaddingLike = "valid"
    dilation: int | Pair = 1

    def __post_init__(self) -> None:
        k = pair(self.pool_size, "pool_size")
        s = k if self.stride is None else pair(self.stride, "stride")
        paddings((1, 1), k, s, self.padding, pair(self.dilation, "dilation"))

    def window(self, shape: Shape) -> Window:
        h, w, _ = image_shape(self, shape)
        stride = self.pool_size if self.stride is None else self.stride
        found = window((h, w), self.pool_size, stride, self.padding, self.dilation)
        for axis, what in ((found.rows, "row"), (found.cols, "column")):
            empty = _empty_window(axis)
            if empty is not None:
                raise ShapeError(
                    f"the window of output {what} {empty} lies in the padding only (size {axis.size}, kernel "
                    f"{axis.kernel}, stride {axis.stride}, padding {axis.before} and {axis.after}, dilation "
                    f"{axis.dilation}); use less padding"
                )
        return found

    def infer(self, shape: Shape) -> Shape:
        return (*self.window(shape).out_size, shape[2])

    def flops(self, shape: Shape) -> int:
        return size(self.infer(shape)) * self.window(shape).taps


def _empty_window(axis: Axis) -> int | None:
    """The first output pixel whose window holds no image cell, or None."""
    for p in range(axis.out):
        if all(axis.source(p, r) is None for r in range(axis.kernel)):
            return p
    return None


@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """The largest entry of each window (4.2). Of equal ones the paper's choice: smallest column, then smallest row.

    >>> MaxPool2D(2).infer((28, 28, 32))
    (14, 14, 32)
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.window(x.shape)
        y, index = e.max_pool(x, g)
        return y, (index, g)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        index, g = saved
        return e.max_pool_dx(dy, index, g), {}


@dataclass(frozen=True)
class AvgPool2D(_Pool2D):
    """The mean of each window: over its image cells, or with ``count_padding`` over all its cells, padding as zeros.

    >>> AvgPool2D(3, stride=2, padding=1).infer((8, 8, 4))
    (4, 4, 4)
    """

    count_padding: bool = False

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.window(x.shape)
        return e.avg_pool(x, g, self.count_padding), g

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return e.avg_pool_dx(dy, saved, self.count_padding), {}


@dataclass(frozen=True)
class _GlobalPool2D(Layer):
    """Pooling with one window, the whole map: (H, W, C) → (C,)."""

    def window(self, shape: Shape) -> Window:
        h, w, _ = image_shape(self, shape)
        return window((h, w), (h, w))

    def infer(self, shape: Shape) -> Shape:
        return (image_shape(self, shape)[2],)

    def flops(self, shape: Shape) -> int:
        return size(shape)


@dataclass(frozen=True)
class GlobalAvgPool2D(_GlobalPool2D):
    """The mean of each channel: y = 1ᵀ x / (H·W), so ∂z/∂x = 1 ∂z/∂yᵀ / (H·W), the same at every pixel.

    >>> GlobalAvgPool2D().infer((7, 7, 512))
    (512,)
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.reshape(e.avg_pool(x, self.window(x.shape), False), x.shape[2:]), x

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        # x says how large the map is, and is not read; the map joins the one that comes next, an activation's say.
        cells = size(saved.shape[:2])
        pixel = e.reshape(dy, (1, 1, *dy.shape))
        return e.map(lambda g, x: g / cells, pixel, saved, formula="average-pooling"), {}


@dataclass(frozen=True)
class GlobalMaxPool2D(_GlobalPool2D):
    """The largest entry of each channel (4.2); of equal ones the first, down then right. Its gradient goes there (4.5).

    >>> GlobalMaxPool2D().infer((7, 7, 512))
    (512,)
    """

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.window(x.shape)
        y, index = e.max_pool(x, g)
        return e.reshape(y, x.shape[2:]), (index, g)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        index, g = saved
        return e.max_pool_dx(e.reshape(dy, (1, 1, *dy.shape)), index, g), {}
