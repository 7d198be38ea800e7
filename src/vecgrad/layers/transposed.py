"""The transposed convolution: the data gradient (2.30) of a convolution, run forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import INITIALS, Initial, Layer, Parameter, image_shape, known, positive
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.geometry import Axis, Conv, PaddingLike, Pair, Window, paddings, pair
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class ConvTranspose2D(Layer):
    """y = Sᵀ vec(x) + bias, where vec(v) ↦ S vec(v) is the convolution from maps of y's size to maps of x's.

    That convolution's geometry has this layer's kernel, stride, padding, dilation and groups, ``filters`` channels in
    and x's channels out. So y is its gradient with respect to its input (2.30), and this layer's gradients are the other
    two functions of the triple: ∂z/∂x is the convolution itself of ∂z/∂y (2.9), and ∂z/∂w its weight gradient (2.21) with
    ∂z/∂y as the image and x as the gradient, for ⟨∂z/∂y, Sᵀ vec(x)⟩ = ⟨S ∂z/∂y, vec(x)⟩ is linear in w.

    Weight: (R, S, filters / groups, C), as that convolution has it; bias: (filters,). The height is
    (H − 1) · stride − top − bottom + dilation · (R − 1) + 1 + output_padding, as torch.nn.ConvTranspose2d has it.
    output_padding, less than the stride, chooses among the heights that the convolution brings to H.

    >>> ConvTranspose2D(8, 3, stride=2, padding=1, output_padding=1).infer((7, 7, 16))
    (14, 14, 8)
    """

    filters: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: PaddingLike = "valid"
    output_padding: int | Pair = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True
    initial: Initial = "he_normal"

    def __post_init__(self) -> None:
        positive(self.filters, "filters")
        positive(self.groups, "groups")
        known(self.initial, "initial", INITIALS)
        if self.padding == "same":
            raise ArgumentError(
                "padding='same' leaves the output's size open; give padding and output_padding in numbers"
            )
        k, s, d = self._pairs()
        paddings((1, 1), k, s, self.padding, d)
        extra = pair(self.output_padding, "output_padding", least=0)
        if extra[0] >= s[0] or extra[1] >= s[1]:
            raise ArgumentError(
                f"output_padding must be less than the stride {self.stride!r}, got {self.output_padding!r}"
            )

    def _pairs(self) -> tuple[Pair, Pair, Pair]:
        return (
            pair(self.kernel_size, "kernel_size"),
            pair(self.stride, "stride"),
            pair(self.dilation, "dilation"),
        )

    def scatter(self, shape: Shape) -> Window:
        """The window of the convolution from the output to an input of ``shape``."""
        inside = image_shape(self, shape)
        k, s, d = self._pairs()
        pads = paddings((1, 1), k, s, self.padding, d)
        extra = pair(self.output_padding, "output_padding", least=0)
        axes = []
        for i, name in ((0, "height"), (1, "width")):
            size = (inside[i] - 1) * s[i] - sum(pads[i]) + d[i] * (k[i] - 1) + 1 + extra[i]
            if size < 1:
                raise ShapeError(
                    f"the output's {name} would be {size}: ({inside[i]} − 1) · stride {s[i]} − padding {pads[i][0]} and "
                    f"{pads[i][1]} + dilation {d[i]} · (kernel {k[i]} − 1) + 1 + output padding {extra[i]}; use less padding"
                )
            axes.append(Axis(size, k[i], s[i], *pads[i], d[i]))
        return Window(*axes)

    def geometry(self, shape: Shape) -> Conv:
        """The convolution from the output to an input of ``shape``."""
        channels = image_shape(self, shape)[2]
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"groups={self.groups} must divide both the {channels} input channels and the {self.filters} filters"
            )
        return Conv(self.scatter(shape), self.filters, channels, self.groups)

    def infer(self, shape: Shape) -> Shape:
        return self.geometry(shape).in_shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        g = self.geometry(shape)
        stride = g.window.stride
        # An output entry meets one tap in stride rows, and in stride columns.
        fan_in = max(1, g.window.taps * g.channels_out // g.groups // (stride[0] * stride[1]))
        fan_out = g.window.taps * self.filters // g.groups
        found = {"weight": Parameter(g.weight_shape, self.initial, fan_in, fan_out)}
        if self.bias:
            found["bias"] = Parameter((self.filters,), "zeros")
        return found

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        g = self.geometry(x.shape)
        y = e.conv_dx(x, p["weight"], g)
        if self.bias:
            y = e.map(lambda y, b: y + b, y, p["bias"], formula="bias")
        return y, (x, g)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, g = saved
        gradients = {"weight": e.conv_dw(dy, x, g)}
        if self.bias:
            gradients["bias"] = e.reduce("sum", dy, over="pixels")
        return e.conv(dy, p["weight"], g), gradients

    def flops(self, shape: Shape) -> int:
        return self.geometry(shape).flops
