"""ColorJitter: other light, another camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data.augment._base import Array, Augmentation, Range, Shape, as_float, number, require
from vecgrad.data.augment._draws import Draws
from vecgrad.spec.errors import ArgumentError

# Brightness of red, green and blue (ITU-R BT.601), as Pillow and PyTorch turn colour into grey.
_GREY = (0.299, 0.587, 0.114)
# Images changed together: their copies stay in a second-level cache of 2 MB.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue changed, in this order, by amounts drawn for each image.

    brightness, contrast, saturation: factors from 1 − b (at least 0) to 1 + b: towards black, towards the image's mean
    grey, towards each pixel's grey, or away from them; results are kept within black and white. hue: turns of the
    colour circle, up to so many either way, at most ½. As in torchvision, but for the fixed order.

    black, white: the numbers that mean them where the images come in, one for all channels or one for each. None: found
    from the type of integers, from a Normalize before it, or from the preparation that the program knows; else 0 and 1.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    black: float | tuple[float, ...] | None = None
    white: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(self, name, number(value) and value >= 0, "a number of at least 0")
        require(self, "hue", number(self.hue) and 0 <= self.hue <= 0.5, "a number from 0 to 0.5")
        for name in ("black", "white"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            good = value is None or all(map(number, _tuple(value)))
            require(self, name, good, "a number, one for each channel, or none")
        if self.black is not None and self.white is not None and not self._spread().all():
            raise ArgumentError(f"ColorJitter: black and white are both {self.black!r}")

    def _spread(self) -> NDArray[Any]:
        return np.asarray(self.white, np.float64) - np.asarray(self.black, np.float64)

    def check(self, shape: Shape) -> None:
        channels = shape[2]
        if (self.saturation or self.hue) and channels != 3:
            raise ArgumentError(
                f"ColorJitter: saturation and hue need 3 channels, the images have {channels}"
            )
        for name in ("black", "white"):
            value = getattr(self, name)
            if value is not None and len(_tuple(value)) not in (1, channels):
                raise ArgumentError(
                    f"ColorJitter: {len(_tuple(value))} numbers as {name} for {channels} channels"
                )

    def settled(self, range_: Range, sample: Array) -> ColorJitter:
        guessed = not range_.known and None in (self.black, self.white)
        if guessed and sample.size and not (sample.min() >= 0 and sample.max() <= 1):
            raise ArgumentError(
                f"ColorJitter: the images reach from {sample.min():.4g} to {sample.max():.4g}, which is not 0 (black) to 1 "
                f"(white); say what the two are: ColorJitter(…, black=, white=)"
            )
        black = range_.black if self.black is None else self.black
        return replace(self, black=black, white=range_.white if self.white is None else self.white)

    def images(self, x: Array, draws: Draws) -> Array:
        factors = [
            draws.uniform(max(0.0, 1.0 - amount), 1.0 + amount)
            for amount in (self.brightness, self.contrast, self.saturation)
        ]
        turns = draws.uniform(-self.hue, self.hue)
        x = as_float(x)
        black = np.asarray(self.black, x.dtype)
        spread = self._spread().astype(x.dtype)
        step = max(1, _BLOCK // x[0].size) if len(x) else 1
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            light = (x[part] - black) / spread
            light = self._changed(light, [factor[part] for factor in factors], turns[part])
            x[part] = light * spread + black
        return x

    def _changed(self, light: Array, factors: list[NDArray[np.float64]], turns: NDArray[np.float64]) -> Array:
        """light: 0 black … 1 white."""
        brightness, contrast, saturation = (
            factor.astype(light.dtype)[:, np.newaxis, np.newaxis, np.newaxis] for factor in factors
        )
        if self.brightness:
            light = np.clip(light * brightness, 0, 1)
        if self.contrast:
            # A row of sums for each image: its order depends on the image's shape alone.
            mean = grey(light).reshape(len(light), -1).mean(axis=1, dtype=np.float64).astype(light.dtype)
            light = np.clip(light * contrast + (1 - contrast) * mean[:, None, None, None], 0, 1)
        if self.saturation:
            light = np.clip(light * saturation + (1 - saturation) * grey(light)[..., None], 0, 1)
        if self.hue:
            light = turned(light, turns.astype(light.dtype)[:, np.newaxis, np.newaxis])
        return light


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def grey(light: Array) -> Array:
    """(n, H, W) of (n, H, W, C): weighted for 3 channels, else the mean."""
    if light.shape[-1] == 3:
        red, green, blue = (light[..., k] * light.dtype.type(_GREY[k]) for k in range(3))
        return np.asarray(red + green + blue)
    total = np.ascontiguousarray(light[..., 0])
    for channel in range(1, light.shape[-1]):
        total = total + light[..., channel]
    return np.asarray(total / light.dtype.type(light.shape[-1]))


def turned(light: Array, turns: Array) -> Array:
    """Colours (n, H, W, 3) with their hue moved by ``turns`` of the circle; value and saturation stay.

    Channel k of a colour of hue h (in turns), value v and chroma c is v − c · max(0, min(r, 4 − r, 1)) with
    r = (n_k + 6 h) mod 6, n = (5, 3, 1): the hue's hexagon without its six cases.
    """
    red, green, blue = (np.ascontiguousarray(light[..., k]) for k in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turns
    found = np.empty_like(light)
    for channel, start in enumerate((5, 3, 1)):
        place = np.mod(sixth + start, 6)
        found[..., channel] = value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1)
    return found
