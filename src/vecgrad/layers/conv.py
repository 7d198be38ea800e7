"""Convolution, section 2, and the fully connected layer, section 3: one forward pass and three gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import INITIALS, Initial, Layer, Parameter, image_shape, known, positive
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, PaddingLike, Pair, Window, paddings, pair, window
from vecgrad.spec.tensor import Shape, as_map, size


@dataclass(frozen=True)
class Conv2D(Layer):
    """y = φ(x) C + 1 bᵀ, formula (2.9): the kernel is not flipped (cross-correlation).

    filters: K, the channels out. kernel_size, stride, dilation: an integer or (height, width).
    padding: "valid", "same", an integer, (v, h) or ((top, bottom), (left, right)). groups: the channels in and
    out are cut into that many independent parts. Weight: (R, S, C / groups, K); bias: (K,).
    frozen: the weight stays as it is; the bias is trained.

    >>> Conv2D(32, 3, padding="same").infer((28, 28, 1))
    (28, 28, 32)
    """

    filters: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: PaddingLike = "valid"
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True
    initial: Initial = "he_normal"
    frozen: bool = False

    def __post_init__(self) -> None:
        positive(self.filters, "filters")
        positive(self.groups, "groups")
        known(self.initial, "initial", INITIALS)
        k, s, d = (
            pair(self.kernel_size, "kernel_size"),
            pair(self.stride, "stride"),
            pair(self.dilation, "dilation"),
        )
        paddings((1, 1), k, s, self.padding, d)

    def geometry(self, shape: Shape) -> Conv:
        """The convolution that this layer is on an input of ``shape``."""
        h, w, c = image_shape(self, shape)
        if c % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"groups={self.groups} must divide both the {c} input channels and the {self.filters} filters"
            )
        sliding = window((h, w), self.kernel_size, self.stride, self.padding, self.dilation)
        return Conv(sliding, c, self.filters, self.groups)

    def infer(self, shape: Shape) -> Shape:
        return self.geometry(shape).out_shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        g = self.geometry(shape)
        fan_in = g.window.taps * g.channels_in // g.groups
        fan_out = g.window.taps * g.channels_out // g.groups
        found = {
            "weight": Parameter(g.weight_shape, self.initial, fan_in, fan_out, not self.frozen, self.frozen)
        }
        if self.bias:
            found["bias"] = Parameter((self.filters,), "zeros")
        return found

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.geometry(x.shape)
        y = e.conv(x, p["weight"], g)
        if self.bias:
            y = e.map(lambda y, b: y + b, y, p["bias"], formula="bias")
        return y, (x, g)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, g = saved
        gradients = {} if self.frozen else {"weight": e.conv_dw(x, dy, g)}
        if self.bias:
            gradients["bias"] = e.reduce("sum", dy, over="pixels")
        return e.conv_dx(dy, p["weight"], g), gradients

    def window(self, shape: Shape) -> Window:
        return self.geometry(shape).window

    def flops(self, shape: Shape) -> int:
        return self.geometry(shape).flops


@dataclass(frozen=True)
class Dense(Layer):
    """A convolution whose kernel covers the whole map (section 3): its gradients are Conv2D's, nothing is derived anew.

    units: K. Takes a vector (F,) or a map (H, W, C), which it reads in C order. Weight: (F, K); bias: (K,).

    >>> Dense(10).infer((4, 4, 3))
    (10,)
    """

    units: int
    bias: bool = True
    initial: Initial = "he_normal"

    def __post_init__(self) -> None:
        positive(self.units, "units")
        known(self.initial, "initial", tuple(law for law in INITIALS if law != "identity"))

    def geometry(self, shape: Shape) -> Conv:
        """The convolution that covers a map of ``shape``."""
        h, w, c = as_map(shape)
        return Conv(window((h, w), (h, w)), c, self.units)

    def infer(self, shape: Shape) -> Shape:
        return (self.units,)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        features = size(shape)
        found = {"weight": Parameter((features, self.units), self.initial, features, self.units)}
        if self.bias:
            found["bias"] = Parameter((self.units,), "zeros")
        return found

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.geometry(x.shape)
        image = e.reshape(x, g.in_shape)
        y = e.reshape(e.conv(image, e.reshape(p["weight"], g.weight_shape), g), (self.units,))
        if self.bias:
            y = e.map(lambda y, b: y + b, y, p["bias"], formula="bias")
        return y, (image, x.shape, g)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        image, shape, g = saved
        dy_image = e.reshape(dy, g.out_shape)
        gradients = {"weight": e.reshape(e.conv_dw(image, dy_image, g), (size(shape), self.units))}
        if self.bias:
            gradients["bias"] = e.reduce("sum", dy, over="pixels")
        dx = e.conv_dx(dy_image, e.reshape(p["weight"], g.weight_shape), g)
        return e.reshape(dx, shape), gradients

    def window(self, shape: Shape) -> Window:
        return self.geometry(shape).window

    def flops(self, shape: Shape) -> int:
        return self.geometry(shape).flops
