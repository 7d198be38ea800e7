"""Normalize: from pixels as they were read to what the network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vecgrad.data._lazy import LazyImages
from vecgrad.data._preparation import Preparation
from vecgrad.data.augment._base import Array, Augmentation, Range, Shape, as_float, number, require
from vecgrad.data.augment._draws import Draws
from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True)
class Normalize(Augmentation):
    """(pixel / scale − mean) / std, channel by channel, as float32 (float64 stays).

    What is None is measured on the training images when training starts, as ``Preparation.of`` does: ``scale`` is the
    number that means white. It is done to validation images too, and the program then knows the preparation. With it in
    a pipeline, images can be kept as uint8, a quarter of the memory.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if number(value):
                value = (value,)
            if value is not None:
                value = tuple(float(part) if number(part) else part for part in value)
                object.__setattr__(self, name, value)
        good = self.mean is None or all(map(number, self.mean))
        require(self, "mean", good, "one number for each channel, or none")
        good = self.std is None or all(number(part) and part > 0 for part in self.std)
        require(self, "std", good, "one positive number for each channel, or none")
        good = self.scale is None or (number(self.scale) and self.scale > 0)
        require(self, "scale", good, "a positive number or none")

    def check(self, shape: Shape) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and len(value) not in (1, shape[2]):
                raise ArgumentError(f"Normalize: {len(value)} numbers as {name} for {shape[2]} channels")

    def measured(self, images: Array | LazyImages) -> Normalize:
        """With what was None measured on ``images`` (n, H, W, C), and one number for each channel."""
        channels = images.shape[-1]
        found = self
        if None in (self.mean, self.std, self.scale):
            took = Preparation.of(images, scale=self.scale, normalise=None in (self.mean, self.std))
            found = replace(
                self, mean=self.mean or took.mean, std=self.std or took.std, scale=self.scale or took.scale
            )
        assert found.mean is not None
        assert found.std is not None
        wide = {
            name: value * channels if len(value) == 1 else value
            for name, value in (("mean", found.mean), ("std", found.std))
        }
        return replace(found, **wide)  # type: ignore[arg-type]

    def images(self, x: Array, draws: Draws) -> Array:
        return self.normalised(x)

    def normalised(self, x: Array) -> Array:
        """x (n, H, W, C), to the bit what ``Preparation.arrays`` makes of it. Only once it is measured."""
        assert self.mean is not None
        assert self.std is not None
        assert self.scale is not None
        width = x.shape[2]
        x = as_float(x)
        # A row of pixels at a time: an inner loop as long as the channels alone would crawl.
        rows = x.reshape(-1, width * x.shape[3])
        rows *= np.tile(1.0 / (self.scale * np.asarray(self.std)), width).astype(x.dtype)
        rows += np.tile(-np.asarray(self.mean) / np.asarray(self.std), width).astype(x.dtype)
        return x

    def after(self, range_: Range) -> Range:
        assert self.mean is not None
        assert self.std is not None
        black, white = (
            tuple((value - m) / s for m, s in zip(self.mean, self.std, strict=True)) for value in (0.0, 1.0)
        )
        return Range(black, white)

    def preparation(self, images: Array | LazyImages) -> Preparation:
        """The same as the record that a run keeps, for files and arrays that are to be predicted."""
        assert self.mean is not None
        assert self.std is not None
        found = Preparation.of(images, scale=self.scale, normalise=False)
        return replace(found, mean=self.mean, std=self.std)
