"""How an image becomes the network's input, in a record that a run folder remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._checks import check_images, check_stored
from vecgrad.data._lazy import Images, LazyImages
from vecgrad.data._memory import at_once
from vecgrad.data._numbers import is_integer, is_number, plain
from vecgrad.spec.errors import ArgumentError, DataError

# Images whose statistics are summed together: bounds the float64 copies.
_CHUNK = 1024
# More images than this tell no more of means and deviations: every second, third … is counted then.
_MOST_COUNTED = 1 << 16
# Images that decide about the background; a plain background shows in far fewer.
_BACKGROUND_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class Preparation:
    """What the training images were, and what is done to every image before the network sees it.

    ``size`` (height, width) and ``channels`` say what an image is. ``scale`` is the number that means
    white in the arrays as they were read (255, 16, 1 …) and ``whole_numbers`` whether they held only
    integers. Then, channel by channel, the network gets (pixel / scale − mean) / std as float32;
    empty ``mean`` and ``std`` stand for zeros and ones.

    The rest is for image files. ``invert`` says whether black and white are exchanged: True, False or
    "auto", which compares backgrounds. ``background`` is the brightness (0 black … 1 white) of the
    training images' border, or None where they have no plain one. "auto" inverts a file when the
    median brightness of its own border lies on the other side of 1/2, and never without a background.

    >>> import numpy as np
    >>> preparation = Preparation(size=(1, 2), channels=1, scale=255, mean=(0.5,), std=(0.25,))
    >>> preparation.arrays(np.array([[[0, 255]]], np.uint8)).ravel().tolist()
    [-2.0, 2.0]
    """

    size: tuple[int, int]
    channels: int
    scale: float
    whole_numbers: bool = False
    invert: Literal["auto"] | bool = "auto"
    background: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.mean or (0.0,) * self.channels)
        object.__setattr__(self, "std", self.std or (1.0,) * self.channels)
        for name, expected, good in self._conditions():
            if not good:
                raise ArgumentError(f"preparation: {name} must be {expected}, got {getattr(self, name)!r}")
            object.__setattr__(self, name, plain(getattr(self, name)))

    def _conditions(self) -> list[tuple[str, str, bool]]:
        return [
            (
                "size",
                "two positive integers (height, width)",
                isinstance(self.size, tuple)
                and len(self.size) == 2
                and all(is_integer(side) for side in self.size),
            ),
            ("channels", "a positive integer", is_integer(self.channels)),
            ("scale", "a positive number", is_number(self.scale) and self.scale > 0),
            ("whole_numbers", "true or false", isinstance(self.whole_numbers, bool)),
            ("invert", '"auto", true or false', isinstance(self.invert, bool) or self.invert == "auto"),
            (
                "background",
                "a number from 0 to 1, or none",
                self.background is None or (is_number(self.background) and 0 <= self.background <= 1),
            ),
            (
                "mean",
                "one number for each channel",
                isinstance(self.mean, tuple)
                and len(self.mean) == self.channels
                and all(map(is_number, self.mean)),
            ),
            (
                "std",
                "one positive number for each channel",
                isinstance(self.std, tuple)
                and len(self.std) == self.channels
                and all(is_number(value) and value > 0 for value in self.std),
            ),
        ]

    @classmethod
    def of(
        cls,
        images: Images | LazyImages,
        *,
        scale: float | None = None,
        normalise: bool = True,
        invert: Literal["auto"] | bool = "auto",
        weights: NDArray[np.float64] | None = None,
    ) -> Preparation:
        """The preparation that training images (n, h, w, c) ask for: their size, mean, std and background.

        scale: the number that means white; None: 255 for uint8, 65535 for uint16, 1 for floats that do not exceed 1,
        else the largest number. Means and standard deviations are those of all pixels of a channel (a constant channel
        gets the standard deviation 1), an image counted ``weights`` (n,) times; ``normalise=False`` leaves them 0 and 1.
        Of more than 65,536 images every second, third … is counted, so that at most so many are.
        """
        _, height, width, channels = images.shape
        scale = float(scale or _white(images))
        mean, std = _statistics(images, scale, weights) if normalise else ((), ())
        return cls(
            size=(height, width),
            channels=channels,
            scale=scale,
            whole_numbers=_holds_whole_numbers(images),
            invert=invert,
            background=_plain_background(images, scale),
            mean=mean,
            std=std,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one prepared image: the network's input shape."""
        return (*self.size, self.channels)

    def arrays(self, X: object, *, what: str = "X", dtype: str = "float32") -> NDArray[Any]:
        """Images as the reader holds them, (n, H, W[, C]), prepared: (n, H, W, C) of ``dtype``, contiguous.

        Nothing is resized or inverted here. Raises DataError where ``X`` fails the checks of
        ``check_images`` or has another size or number of channels than the training images.
        """
        images = check_images(X, what=what, shape=self.shape)
        prepared: NDArray[Any] = np.array(images, dtype=dtype, order="C")
        factor = 1.0 / (self.scale * np.asarray(self.std))
        offset = -np.asarray(self.mean) / np.asarray(self.std)
        # A row of pixels at a time: an inner loop as long as the channels alone would crawl.
        rows = prepared.reshape(-1, self.size[1] * self.channels)
        rows *= np.tile(factor, self.size[1]).astype(dtype)
        rows += np.tile(offset, self.size[1]).astype(dtype)
        return prepared

    def images(self, X: Images | LazyImages, *, dtype: str = "float32") -> Images | LazyImages:
        """Images as the reader holds them, prepared: to the bit what ``arrays`` makes of them, when it is needed.

        Arrays are prepared here and now where an eighth of the memory holds the result. Larger ones, mapped or not, and
        ``LazyImages`` are prepared in batches, each when it is asked for: then this returns ``LazyImages``. Raises DataError as
        ``arrays``.
        """
        if isinstance(X, LazyImages) or not at_once(X.size * np.dtype(dtype).itemsize):
            stored = check_stored(X, what="X", data_format="channels_last", shape=self.shape)
            lazy = stored if isinstance(stored, LazyImages) else LazyImages.of(stored)
            return lazy.then(partial(self._batch, dtype), dtype)
        return self.arrays(X, dtype=dtype)

    def _batch(self, dtype: str, images: Images, places: NDArray[np.int64]) -> Images:
        return self.arrays(images, what=f"images {_told(places)}", dtype=dtype)

    def inverts(self, brightness: NDArray[Any]) -> bool:
        """Whether an image file of this brightness, (H, W, C) with 0 black … 1 white, gets inverted."""
        if self.invert != "auto":
            return self.invert
        if self.background is None:
            return False
        border = float(np.median(_border(brightness[np.newaxis])))
        return (border - 0.5) * (self.background - 0.5) < 0

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict that JSON can hold; the run folder that keeps it carries the version."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, *, what: str = "preparation") -> Preparation:
        """The record back from ``to_json``. ``what`` names the file in the errors.

        Raises DataError where a field is missing, unknown, or has an impossible value.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or set(data) != names:
            came = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise DataError(f"{what}: got {came}; expected exactly the fields {sorted(names)}")
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, (list, tuple))}
        try:
            if not (lists.keys() == {"size", "mean", "std"} and lists["mean"] and lists["std"]):
                raise ArgumentError(
                    "preparation: size, mean and std must be lists, and the other fields none"
                )
            return cls(**{**data, **lists})
        except (ArgumentError, TypeError, ValueError) as error:
            raise DataError(f"{what}: {error}") from error


def _statistics(
    images: Images | LazyImages, scale: float, weights: NDArray[np.float64] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    n, height, width, channels = images.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    each = np.ones(n) if weights is None else weights
    stride = -(-n // _MOST_COUNTED)
    for start in range(0, n, _CHUNK * stride):
        part = slice(start, start + _CHUNK * stride, stride)
        pixels = images[part].reshape(-1, height * width, channels) / scale
        total += each[part] @ pixels.sum(axis=1, dtype=np.float64)
        squares += each[part] @ np.square(pixels, dtype=np.float64).sum(axis=1)
    count = each[::stride].sum() * height * width
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    # What rounding leaves of a constant channel must not be blown up to variance 1.
    std = np.where(std > 1e-6 * np.sqrt(squares / count), std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _told(places: NDArray[np.int64]) -> str:
    """Numbers of images for an error message."""
    more = " …" if len(places) > 8 else ""
    return ", ".join(map(str, places[:8].tolist())) + more


def _white(images: Images | LazyImages) -> float:
    """The number that means white in arrays that came without a word about it."""
    if images.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(images.dtype).max)
    largest = max(float(chunk.max()) for chunk in _chunks(images))
    if images.dtype.kind == "f" and largest <= 1.0:
        return 1.0
    return largest if largest > 0 else 1.0


def _chunks(images: Images | LazyImages) -> Iterator[Images]:
    return (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))


def _holds_whole_numbers(images: Images | LazyImages) -> bool:
    if images.dtype.kind in "ui":
        return True
    return all(bool((chunk == np.floor(chunk)).all()) for chunk in _chunks(images))


def _plain_background(images: Images | LazyImages, scale: float) -> float | None:
    """Brightness of the border where grey images agree on one that is nearly black or nearly white."""
    if images.shape[-1] != 1:
        return None
    sample = images[:: -(-len(images) // _BACKGROUND_SAMPLE)]
    borders = np.median(_border(sample) / scale, axis=1)
    typical = float(np.median(borders))
    if not 0 <= typical <= 1 or 0.25 < typical < 0.75:
        return None
    agree = float(np.mean((borders < 0.5) == (typical < 0.5)))
    return typical if agree >= 0.95 else None


def _border(images: Images) -> NDArray[Any]:
    """The outermost ring of pixels of each image: (n, h, w, c) → (n, ring · c)."""
    n, height, width, _ = images.shape
    ring = np.zeros((height, width), dtype=bool)
    ring[[0, -1], :] = ring[:, [0, -1]] = True
    return images[:, ring].reshape(n, -1)
