"""Affine: rotated, moved, scaled and sheared images, read between pixels bilinearly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data.augment._base import Array, Augmentation, as_float, number, pair, require
from vecgrad.data.augment._draws import Draws
from vecgrad.data.augment._shift import pad

# Pixels warped together: their coordinates and four neighbours stay in a second-level cache of 2 MB.
_BLOCK = 16384


@dataclass(frozen=True)
class Affine(Augmentation):
    """Each image sheared, scaled and rotated about its centre, then moved, by amounts drawn for it.

    rotation: up to so many degrees either way. translate: up to this share of the height and of the width, one number
    or two. scale: (from, to), drawn evenly on a logarithmic scale. shear: up to so many degrees, along the rows.
    mode: what lies outside is "zero", in the units that the images have at this point, or the nearest pixel ("edge").
    """

    rotation: float = 0.0
    translate: float | tuple[float, float] = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    mode: str = "zero"

    def __post_init__(self) -> None:
        require(
            self, "rotation", number(self.rotation) and 0 <= self.rotation <= 180, "degrees from 0 to 180"
        )
        good = all(number(part) and 0 <= part <= 1 for part in pair(self.translate))
        require(self, "translate", good, "a number from 0 to 1, or two (height, width)")
        low, high = self.scale if isinstance(self.scale, (tuple, list)) and len(self.scale) == 2 else (0, 0)
        object.__setattr__(self, "scale", (low, high) if low else self.scale)
        good = number(low) and number(high) and 0 < low <= high
        require(self, "scale", good, "two positive numbers (from, to)")
        require(self, "shear", number(self.shear) and 0 <= self.shear <= 80, "degrees from 0 to 80")
        require(self, "mode", self.mode in ("zero", "edge"), '"zero" or "edge"')

    def images(self, x: Array, draws: Draws) -> Array:
        _, height, width, _ = x.shape
        down, right = pair(self.translate)
        low, high = map(math.log, self.scale)
        amounts = (
            draws.uniform(-self.rotation, self.rotation),
            draws.uniform(-self.shear, self.shear),
            draws.uniform(low, high),
            draws.uniform(-down, down) * height,
            draws.uniform(-right, right) * width,
        )
        # One image at a time: NumPy's loops for sines may round differently for other lengths.
        each = np.stack(amounts, axis=1).tolist()
        return warp(x, np.array([_inverse(*row, height=height, width=width) for row in each]), self.mode)


def _inverse(
    rotation: float, shear: float, log_scale: float, down: float, right: float, *, height: int, width: int
) -> list[float]:
    """(a, b, c, d, e, f): the pixel (y, x) of the result comes from (a y + b x + c, d y + e x + f).

    The image's point p, seen from the centre, goes to s R(θ) S(φ) p + t, so the inverse is S(−φ) R(−θ) (q − t) / s.
    """
    sine, cosine = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
    slope, inverse = math.tan(math.radians(shear)), math.exp(-log_scale)
    # R turns x towards y; S adds slope · y to x.
    a, b = inverse * cosine, -inverse * sine
    d, e = inverse * sine - slope * a, inverse * cosine - slope * b
    y, x = (height - 1) / 2, (width - 1) / 2
    return [a, b, y - a * (y + down) - b * (x + right), d, e, x - d * (y + down) - e * (x + right)]


def warp(x: Array, inverse: NDArray[np.float64], mode: str) -> Array:
    """Images (n, H, W, C) whose pixel (y, x) is read from (a y + b x + c, d y + e x + f), ``inverse`` (n, 6).

    Between pixels bilinearly, in the images' float type; a pixel's centre is at its integer coordinates. Outside lie
    zeros or, with ``mode="edge"``, the nearest pixels.
    """
    n, height, width, channels = x.shape
    x = as_float(x)
    result = np.empty_like(x)
    y, z = np.arange(height)[:, np.newaxis], np.arange(width)
    step = max(1, _BLOCK // (height * width))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        a, b, c, d, e, f = inverse[part].T[:, :, np.newaxis, np.newaxis]
        row, rest_y = _cell(a * y + b * z + c, height, mode)
        column, rest_x = _cell(d * y + e * z + f, width, mode)
        source = pad(x[part], 1, 1, mode)
        image = np.arange(len(source))[:, np.newaxis, np.newaxis] * ((height + 2) * (width + 2))
        place = (row + 1) * (width + 2) + (column + 1) + image
        result[part] = _read(source.reshape(-1, channels), place, width + 2, rest_y, rest_x)
    return result


def _cell(at: NDArray[np.float64], length: int, mode: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(the pixel before a coordinate, −1 … length − 1, how far behind it the coordinate lies, 0 … 1)."""
    low, high = (0, length - 1) if mode == "edge" else (-1, length)
    at = np.clip(at, low, high)
    before = np.minimum(np.floor(at), length - 1)
    return before.astype(np.int64), at - before


def _read(
    pixels: Array, place: NDArray[np.int64], pitch: int, rest_y: NDArray[Any], rest_x: NDArray[Any]
) -> Array:
    """The weighted mean of the pixels at ``place``, right of it, below it, and right of that one."""
    y, x = (rest.astype(pixels.dtype)[..., np.newaxis] for rest in (rest_y, rest_x))
    above = np.take(pixels, place, axis=0)
    above += x * (np.take(pixels, place + 1, axis=0) - above)
    below = np.take(pixels, place + pitch, axis=0)
    below += x * (np.take(pixels, place + (pitch + 1), axis=0) - below)
    above += y * (below - above)
    return above
