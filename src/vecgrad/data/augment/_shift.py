"""Flips and crops: pixels change their places and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data.augment._base import Array, Augmentation, Shape, count, pair, require
from vecgrad.data.augment._draws import Draws
from vecgrad.spec.errors import ArgumentError

_MODES = ("reflect", "zero", "edge")
# Channels up to which a copy by channels was measured to beat one by pixels.
_FEW = 8


@dataclass(frozen=True)
class Flip(Augmentation):
    """Left and right exchanged for half of the images (``horizontal``), top and bottom for half (``vertical``).

    mode: "random" draws anew in every epoch. "alternating" draws in the first epoch and then turns every image over
    from epoch to epoch, so that any two epochs in a row show both sides of it (Jordan, "94 % on CIFAR-10 in 3.29
    seconds on a single GPU", 2024).

    >>> from vecgrad.data.augment import Pipeline
    >>> import numpy as np
    >>> x, epochs = np.arange(2.0).reshape(1, 1, 2, 1), range(4)
    >>> views = [Pipeline.of(Flip(mode="alternating"), x).batch([0], seed=1, epoch=e)[0].ravel() for e in epochs]
    >>> [view.tolist() for view in views]
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """

    horizontal: bool = True
    vertical: bool = False
    mode: str = "random"

    def __post_init__(self) -> None:
        require(self, "horizontal", isinstance(self.horizontal, bool), "true or false")
        require(self, "vertical", isinstance(self.vertical, bool), "true or false")
        require(self, "mode", self.mode in ("random", "alternating"), '"random" or "alternating"')
        if not (self.horizontal or self.vertical):
            raise ArgumentError("Flip: neither horizontal nor vertical is true, so it does nothing")

    def images(self, x: Array, draws: Draws) -> Array:
        source = draws.at(0) if self.mode == "alternating" else draws
        odd = self.mode == "alternating" and draws.epoch % 2 == 1
        sideways, upright = source.coin() ^ odd, source.coin() ^ odd
        if self.horizontal:
            _turn(x, sideways, columns=True)
        if self.vertical:
            _turn(x, upright, columns=False)
        return x


def _turn(x: Array, which: NDArray[np.bool_], *, columns: bool) -> None:
    """Turns the images ``which`` over, in place."""
    picked = x[which]
    if columns:
        turned = np.empty_like(picked)
        for new, old in zip(_loops(turned), _loops(picked), strict=True):
            new[...] = old[:, :, ::-1]
        x[which] = turned
    else:
        x[which] = picked[:, ::-1]


@dataclass(frozen=True)
class PadCrop(Augmentation):
    """The image padded by ``padding`` pixels on all sides, or (rows, columns), and a window of its size cut out anywhere.

    mode: "reflect" mirrors at the outermost pixels, which are not repeated; "edge" repeats them; "zero" pads with 0 in
    the units that the images have at this point (behind a normalisation that is their mean).
    """

    padding: int | tuple[int, int] = 4
    mode: str = "reflect"

    def __post_init__(self) -> None:
        sides = pair(self.padding)
        good = all(count(side, 0) for side in sides) and any(sides)
        require(self, "padding", good, "a positive integer or two (rows, columns)")
        require(self, "mode", self.mode in _MODES, " or ".join(map(repr, _MODES)))

    def check(self, shape: Shape) -> None:
        for side, length, what in zip(pair(self.padding), shape, ("rows", "columns"), strict=False):
            if self.mode == "reflect" and side >= length:
                raise ArgumentError(
                    f"PadCrop: {length} {what} can be reflected by at most {length - 1}, not by {side}; "
                    f'use a smaller padding or mode="edge"'
                )

    def images(self, x: Array, draws: Draws) -> Array:
        n, height, width, channels = x.shape
        rows, columns = pair(self.padding)
        padded = pad(x, rows, columns, self.mode)
        image, row, pixel, _ = padded.strides
        # Every window of every image as a view; a row of a window is contiguous.
        windows = np.lib.stride_tricks.as_strided(
            padded,
            (n, 2 * rows + 1, 2 * columns + 1, height, width * channels),
            (image, row, pixel, row, padded.itemsize),
            writeable=False,
        )
        top, left = draws.below(2 * rows + 1), draws.below(2 * columns + 1)
        return windows[np.arange(n), top, left].reshape(x.shape)


def pad(x: Array, rows: int, columns: int, mode: str) -> NDArray[Any]:
    """Images (n, H, W, C) with ``rows`` above and below and ``columns`` on either side."""
    n, height, width, channels = x.shape
    shape = (n, height + 2 * rows, width + 2 * columns, channels)
    padded = np.zeros(shape, x.dtype) if mode == "zero" else np.empty(shape, x.dtype)
    padded[:, rows : rows + height, columns : columns + width] = x
    if mode == "zero":
        return padded
    # The columns of the image's rows first, then whole rows, so that corners are right.
    for axis, side, length in ((2, columns, width), (1, rows, height)):
        for part in _loops(padded) if axis == 2 else [padded]:
            along = part.swapaxes(0, axis)
            for distance in range(1, side + 1):
                near = side + (distance if mode == "reflect" else 0)
                far = side + length - 1 - (distance if mode == "reflect" else 0)
                along[side - distance], along[side + length - 1 + distance] = along[near], along[far]
    return padded


def _loops(x: Array) -> list[Array]:
    """Views of x that are best copied one by one where pixels are not copied in rows.

    Few channels one at a time: NumPy's inner loop would be as short as they are few.
    """
    channels = x.shape[-1]
    return [x[..., k : k + 1] for k in range(channels)] if channels <= _FEW else [x]
