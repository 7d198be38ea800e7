"""Mixup and CutMix: two images in one, and their targets in the same shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecgrad.data.augment._base import Array, Mixing, as_float
from vecgrad.data.augment._draws import Draws, Floats
from vecgrad.data.augment._erase import rectangles


@dataclass(frozen=True)
class Mixup(Mixing):
    """λ · image + (1 − λ) · another image, λ from Beta(``alpha``, ``alpha``); targets likewise (Zhang et al. 2018).

    The other image is any of the data set, drawn for each image, with what stands before in the pipeline done to it.
    ``probability``: the share of images that are mixed at all.
    """

    alpha: float = 0.2

    def mix(self, x: Array, other: Array, draws: Draws) -> tuple[Array, Floats]:
        share = draws.beta(self.alpha)
        x, other = as_float(x), as_float(other)
        kept = share.astype(x.dtype)[:, np.newaxis, np.newaxis, np.newaxis]
        x = x * kept
        x += other * (1 - kept)
        return x, share


@dataclass(frozen=True)
class CutMix(Mixing):
    """A rectangle of another image pasted over: 1 − λ of the area, λ from Beta(``alpha``, ``alpha``) (Yun et al. 2019).

    Its sides have the image's proportions and its centre is any pixel; what lies outside is cut off, and targets are
    mixed by the area that remains. The other image is chosen as for Mixup.
    """

    def mix(self, x: Array, other: Array, draws: Draws) -> tuple[Array, Floats]:
        _, height, width, _ = x.shape
        side = np.sqrt(1.0 - draws.beta(self.alpha))
        rows, columns = (np.floor(length * side).astype(np.int64) for length in (height, width))
        top, left = draws.below(height) - rows // 2, draws.below(width) - columns // 2
        inside = rectangles(height, width, top, left, rows, columns)
        x[inside] = other[inside]
        return x, 1.0 - inside.sum(axis=(1, 2)) / float(height * width)
