"""Normalization over the batch (Ioffe and Szegedy 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, Parameter
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.scalar import sqrt, where
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = γ (x − m) / √(v + ε) + β for each channel; takes maps (H, W, C) and vectors (F,).

    In training, m and v are mean and variance over the batch's images, weighted as the loss weights them, and pixels. The
    running statistics follow them, new = (1 − momentum) · old + momentum · batch's, the variance as the unbiased estimate, which
    counts the images that the weights stand for (``spec.emitter.weighing``); predictions use these. frozen: training uses them
    too, and leaves them as they are.
    scale, shift: whether there are γ and β. Parameters: weight (γ), bias (β); statistics: running_mean, running_var.
    Backward: ``vecgrad.reference.normalization`` derives it.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    frozen: bool = False
    scale: bool = True
    shift: bool = True

    def __post_init__(self) -> None:
        for value, what, least in ((self.momentum, "momentum", True), (self.epsilon, "epsilon", False)):
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
            if not good or (not least and value == 0):
                raise ArgumentError(
                    f"{what} must be a number from 0 to 1{'' if least else ', above 0'}, got {value!r}"
                )

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        channels = shape[-1:]
        found = {"weight": Parameter(channels, "ones")} if self.scale else {}
        if self.shift:
            found["bias"] = Parameter(channels, "zeros")
        found["running_mean"] = Parameter(channels, "zeros", trained=False, fixed=self.frozen)
        found["running_var"] = Parameter(channels, "ones", trained=False, fixed=self.frozen)
        return found

    def least_images(self, shape: Shape) -> int:
        return 1 if self.frozen or size(shape[:-1]) > 1 else 2

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        batch = e.training and not self.frozen
        mean, variance = e.moments(x, e.weight) if batch else (p["running_mean"], p["running_var"])
        rate = e.map(lambda v: 1 / sqrt(v + self.epsilon), variance, formula="batch-norm")
        factor = e.map(lambda g, r: g * r, p["weight"], rate, formula="batch-norm") if self.scale else rate
        if self.shift:
            y = e.map(lambda x, m, k, b: (x - m) * k + b, x, mean, factor, p["bias"], formula="batch-norm")
        else:
            y = e.map(lambda x, m, k: (x - m) * k, x, mean, factor, formula="batch-norm")
        return y, (x, mean, variance, rate, factor, batch)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, mean, variance, rate, factor, batch = saved
        found = {}
        if batch or self.shift:
            total = e.reduce("sum", dy, over="pixels")
        if batch or self.scale:
            hat = e.map(lambda g, x, m, r: g * ((x - m) * r), dy, x, mean, rate, formula="batch-norm")
            along = e.reduce("sum", hat, over="pixels")
        if self.scale:
            found["weight"] = along
        if self.shift:
            found["bias"] = total
        if not batch:
            return e.map(lambda g, k: g * k, dy, factor, formula="batch-norm"), found
        # One over N, the entries of a channel, weighted.
        share = e.scalar("inverse_weight") / size(x.shape[:-1])
        slope = e.map(lambda a, r: a * r * share, along, rate, formula="batch-norm")
        offset = e.map(lambda s: s * share, total, formula="batch-norm")
        entries = size(x.shape[:-1]) / e.scalar("inverse_images")
        unbiased = where(entries > 1, entries / (entries - 1), 1)
        found["running_mean"] = e.map(self._follow, p["running_mean"], mean, formula="batch-norm")
        found["running_var"] = e.map(
            lambda old, v: self._follow(old, v * unbiased), p["running_var"], variance, formula="batch-norm"
        )
        dx = e.map(
            lambda g, x, w, m, k, s, o: k * (g - w * (o + (x - m) * s)),
            dy, x, e.weight, mean, factor, slope, offset,
            formula="batch-norm",
        )  # fmt: skip
        return dx, found

    def _follow(self, old: Any, new: Any) -> Any:
        return (1 - self.momentum) * old + self.momentum * new

    def flops(self, shape: Shape) -> int:
        return 2 * size(shape)
