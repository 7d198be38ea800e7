"""Normalization within an image: over the channels of a pixel, or over groups of channels and all pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, Parameter, positive
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.geometry import window
from vecgrad.spec.scalar import sqrt
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class _WithinImage(Layer):
    """Base: γ and β for each channel, and what a set of entries that are normalized together needs."""

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        self.infer(shape)
        found = {"weight": Parameter(shape[-1:], "ones")} if _of(self, "scale") else {}
        return found | ({"bias": Parameter(shape[-1:], "zeros")} if _of(self, "shift") else {})

    def flops(self, shape: Shape) -> int:
        return 7 * size(shape)


def _of(layer: Layer, name: str) -> bool:
    return bool(getattr(layer, name))


def _settings(epsilon: object) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon <= 1:
        raise ArgumentError(f"epsilon must be a number above 0 and at most 1, got {epsilon!r}")


@dataclass(frozen=True)
class LayerNorm(_WithinImage):
    """y = γ (x − m) / √(v + ε) + β with mean m and variance v of each pixel's channels, or of a vector's features.

    As torch.nn.LayerNorm(C) on arrays with channels last (Ba, Kiros and Hinton 2016). scale, shift: whether there are γ and
    β, a number for each channel. Parameters: weight (γ), bias (β). Backward: ``vecgrad.reference.normalization`` derives it.

    >>> LayerNorm().infer((7, 7, 512))
    (7, 7, 512)
    """

    epsilon: float = 1e-5
    scale: bool = True
    shift: bool = True

    def __post_init__(self) -> None:
        _settings(self.epsilon)

    def infer(self, shape: Shape) -> Shape:
        if not shape or shape[-1] < 2:
            raise ShapeError(
                "a single channel has no variance: its normalized value is 0; give it two or more"
            )
        return shape

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        count, epsilon = x.shape[-1], self.epsilon
        mean = e.map(lambda s: s / count, e.reduce("sum", x, over="channels"), formula="layer-norm")
        squares = e.map(lambda x, m: (x - m) * (x - m), x, mean, formula="layer-norm")
        total = e.reduce("sum", squares, over="channels")
        rate = e.map(lambda s: 1 / sqrt(s / count + epsilon), total, formula="layer-norm")
        y = e.map(lambda x, m, r: (x - m) * r, x, mean, rate, formula="layer-norm")
        return _affine(e, self, y, p, "layer-norm"), (x, mean, rate)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, mean, rate = saved
        count = x.shape[-1]
        found = {}
        if self.scale:
            along = e.map(lambda g, x, m, r: g * ((x - m) * r), dy, x, mean, rate, formula="layer-norm")
            found["weight"] = e.reduce("sum", along, over="pixels")
        if self.shift:
            found["bias"] = e.reduce("sum", dy, over="pixels")
        scale = (p["weight"],) if self.scale else ()
        weighted = e.map(_product, dy, *scale, formula="layer-norm")
        total = e.reduce("sum", weighted, over="channels")
        hat = e.map(
            lambda g, x, m, r, *k: _product(g, *k) * ((x - m) * r),
            dy,
            x,
            mean,
            rate,
            *scale,
            formula="layer-norm",
        )
        slope = e.reduce("sum", hat, over="channels")
        dx = e.map(
            lambda g, x, m, r, s, t, *k: r * (_product(g, *k) - (s + ((x - m) * r) * t) / count),
            dy, x, mean, rate, total, slope, *scale,
            formula="layer-norm",
        )  # fmt: skip
        return dx, found


@dataclass(frozen=True)
class GroupNorm(_WithinImage):
    """y = γ (x − m) / √(v + ε) + β with mean m and variance v over each image's pixels and ``groups`` equal parts of its channels.

    Takes maps (H, W, C) and vectors (F,) (Wu and He 2018). As many groups as channels are instance normalization, one is
    normalization of the whole image. scale, shift: whether there are γ and β, a number for each channel. Parameters: weight
    (γ), bias (β). Backward: ``vecgrad.reference.normalization`` derives it.

    >>> GroupNorm(8).infer((7, 7, 512))
    (7, 7, 512)
    """

    groups: int
    epsilon: float = 1e-5
    scale: bool = True
    shift: bool = True

    def __post_init__(self) -> None:
        positive(self.groups, "groups")
        _settings(self.epsilon)

    def infer(self, shape: Shape) -> Shape:
        channels = shape[-1] if shape else 1
        if channels % self.groups:
            raise ShapeError(f"groups={self.groups} must divide the {channels} channels")
        if size(shape) == self.groups:
            raise ShapeError(
                f"{self.groups} groups of {channels} channels have one entry each, and no variance: use fewer groups"
            )
        return shape

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        epsilon = self.epsilon
        mean = self._shared(e, x)
        squares = e.map(lambda x, m: (x - m) * (x - m), x, mean, formula="group-norm")
        variance = self._shared(e, squares)
        rate = e.map(lambda v: 1 / sqrt(v + epsilon), variance, formula="group-norm")
        y = e.map(lambda x, m, r: (x - m) * r, x, mean, rate, formula="group-norm")
        return _affine(e, self, y, p, "group-norm"), (x, mean, rate)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, mean, rate = saved
        pixels = size(x.shape[:-1])
        hat = e.map(lambda g, x, m, r: g * ((x - m) * r), dy, x, mean, rate, formula="group-norm")
        # Means over an image's pixels: what γ and β sum over images, and x over groups.
        along, level = _pixel_mean(e, hat), _pixel_mean(e, dy)
        found = {}
        for name, wanted, mean_of in (("weight", self.scale, along), ("bias", self.shift, level)):
            if wanted:
                total = e.map(lambda m: m * pixels, mean_of, formula="group-norm")
                found[name] = e.reduce("sum", total, over="pixels")
        scale = (p["weight"],) if self.scale else ()
        slope, offset = (
            self._over_groups(e, e.map(_product, mean_of, *scale, formula="group-norm"))
            for mean_of in (along, level)
        )
        dx = e.map(
            lambda g, x, m, r, s, o, *k: r * (_product(g, *k) - (o + ((x - m) * r) * s)),
            dy, x, mean, rate, slope, offset, *scale,
            formula="group-norm",
        )  # fmt: skip
        return dx, found

    def _shared(self, e: Emitter, x: Any) -> Any:
        """The mean of each group of an image, at each of its channels: (1, 1, C), or (F,) of vectors."""
        return self._over_groups(e, _pixel_mean(e, x))

    def _over_groups(self, e: Emitter, means: Any) -> Any:
        shape, each = means.shape, means.shape[-1] // self.groups
        if each == 1:
            return means
        parts = e.reshape(means, (1, self.groups, each))
        total = e.reduce("sum", parts, over="channels")
        return e.reshape(e.map(lambda part, s: s / each, parts, total, formula="group-norm"), shape)


def _pixel_mean(e: Emitter, x: Any) -> Any:
    """The mean of each image's channel: (H, W, C) → (1, 1, C); a vector stays."""
    if len(x.shape) < 3:
        return x
    return e.avg_pool(x, window(x.shape[:2], x.shape[:2]), False)


def _product(first: Any, *others: Any) -> Any:
    """first · γ, where there is a γ."""
    return first * others[0] if others else first


def _affine(e: Emitter, layer: Layer, y: Any, p: Mapping[str, Any], formula: str) -> Any:
    """γ y + β, as far as the layer has them."""
    if _of(layer, "scale"):
        y = e.map(lambda y, k: y * k, y, p["weight"], formula=formula)
    return e.map(lambda y, b: y + b, y, p["bias"], formula=formula) if _of(layer, "shift") else y
