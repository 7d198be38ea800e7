"""Cutout: a square of each image erased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecgrad.data.augment._base import Array, Augmentation, count, number, pair, require
from vecgrad.data.augment._draws import Draws


@dataclass(frozen=True)
class Cutout(Augmentation):
    """A rectangle of ``size`` pixels (or (rows, columns)) set to ``fill``; its centre is any pixel of the image.

    So parts of it may lie outside (DeVries and Taylor 2017). ``fill`` is in the units that the images have at this
    point: 0 behind a normalisation is their mean.
    """

    size: int | tuple[int, int] = 8
    fill: float = 0.0

    def __post_init__(self) -> None:
        require(self, "size", all(map(count, pair(self.size))), "a positive integer or two (rows, columns)")
        require(self, "fill", number(self.fill), "a number")

    def images(self, x: Array, draws: Draws) -> Array:
        _, height, width, _ = x.shape
        rows, columns = pair(self.size)
        inside = rectangles(
            height, width, draws.below(height) - rows // 2, draws.below(width) - columns // 2, rows, columns
        )
        x[inside] = self.fill
        return x


def rectangles(
    height: int,
    width: int,
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    rows: NDArray[np.int64] | int,
    columns: NDArray[np.int64] | int,
) -> NDArray[np.bool_]:
    """(n, height, width), true within a rectangle of each image; what lies outside of the image is cut off."""
    y, x = np.arange(height), np.arange(width)
    bottom, right = top + rows, left + columns
    vertical = (y >= top[:, np.newaxis]) & (y < bottom[:, np.newaxis])
    horizontal = (x >= left[:, np.newaxis]) & (x < right[:, np.newaxis])
    return np.asarray(vertical[:, :, np.newaxis] & horizontal[:, np.newaxis, :])
