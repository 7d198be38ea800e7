"""What an augmentation is: a frozen record that changes a batch of images by numbers drawn for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._numbers import is_integer, is_number, plain
from vecgrad.data.augment._draws import Draws, Floats
from vecgrad.spec.errors import ArgumentError

Array = NDArray[Any]
Shape = tuple[int, int, int]
# What fields of augmentations may be.
count, number = is_integer, is_number


@dataclass(frozen=True)
class Range:
    """The numbers that mean black and white at some point of a pipeline, channel by channel.

    ``known``: somebody said so (a preparation, the type uint8); else it is a guess that data may contradict.
    """

    black: tuple[float, ...]
    white: tuple[float, ...]
    known: bool = True


@dataclass(frozen=True)
class Augmentation:
    """Base of all augmentations of single images.

    Write one of your own as a frozen dataclass with ``images``; its fields must be numbers, text, None or tuples of
    them. What is drawn comes from ``draws`` alone, so that an image's fate depends on (seed, epoch, its index).
    """

    def images(self, x: Array, draws: Draws) -> Array:
        """The images x (n, H, W, C) augmented: same shape. ``x`` belongs to the callee and may be overwritten."""
        raise NotImplementedError

    def check(self, shape: Shape) -> None:
        """Raises ArgumentError where images (H, W, C) cannot be augmented so."""

    def settled(self, range_: Range, sample: Array) -> Augmentation:
        """The same with everything decided that depends on the training images, of which ``sample`` are some."""
        return self

    def after(self, range_: Range) -> Range:
        """What black and white are behind it."""
        return range_


@dataclass(frozen=True)
class Mixing(Augmentation):
    """Base of augmentations that mix an image with another one, and its target with the other's, by a share."""

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        require(self, "alpha", number(self.alpha) and 0.01 <= self.alpha <= 100, "a number from 0.01 to 100")
        require(
            self, "probability", number(self.probability) and 0 < self.probability <= 1,
            "a number above 0, at most 1",
        )  # fmt: skip

    def images(self, x: Array, draws: Draws) -> Array:
        raise TypeError(f"{type(self).__name__} mixes two images; call mix")

    def mix(self, x: Array, other: Array, draws: Draws) -> tuple[Array, Floats]:
        """(the mixed images, the share (n,) that x has in them)."""
        raise NotImplementedError


def require(record: Any, field: str, good: bool, expected: str) -> None:
    """ArgumentError unless ``good``, naming the record's class and field. NumPy's numbers become Python's."""
    value = getattr(record, field)
    if not good:
        raise ArgumentError(f"{type(record).__name__}: {field} must be {expected}, got {value!r}")
    object.__setattr__(record, field, plain(value))


def pair(value: object) -> tuple[Any, Any]:
    """(height, width) from one value for both or from two."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    return value, value


def as_float(x: Array) -> Array:
    """x where it is float32 or float64, else as float32."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
