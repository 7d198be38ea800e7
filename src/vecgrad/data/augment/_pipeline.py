"""A pipeline of augmentations over a data set: batches as functions of the seed, the epoch and the images' indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecgrad.data._lazy import LazyImages
from vecgrad.data._preparation import Preparation
from vecgrad.data.augment._base import Array, Augmentation, Mixing, Range, as_float
from vecgrad.data.augment._draws import Draws
from vecgrad.data.augment._normalize import Normalize
from vecgrad.data.augment._text import augmentations
from vecgrad.spec.errors import ArgumentError, DataError

# Images that are looked at to find out in which units they come.
_SAMPLE = 1024
# Float32 bytes of images that go through the pipeline together: with a copy or two they stay in a second-level cache.
_BYTES = 1 << 20
# Images that are normalised together where nothing is random.
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Augmentations that know their images (n, H, W, C), in memory or lazy, and targets, class numbers (n,) or rows (n, …).

    ``classes``: the number of classes, where targets are class numbers and something mixes them. ``partners``: the
    images that may be mixed in, by index; None: all.
    """

    steps: tuple[Augmentation, ...]
    source: Array | LazyImages
    targets: Array | None = None
    classes: int | None = None
    partners: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        augment: Any,
        images: Array | LazyImages,
        targets: Array | None = None,
        *,
        classes: int | None = None,
        partners: NDArray[np.int64] | None = None,
        preparation: Preparation | None = None,
    ) -> Pipeline:
        """augment: as ``augmentations`` takes it. preparation: what was done to float images already.

        Whatever depends on the images is measured and decided here. Raises ArgumentError for augmentations that
        cannot work on them.
        """
        steps = augmentations(augment)
        if images.ndim != 4:
            raise ArgumentError(
                f"augmentations need images (n, height, width, channels), got shape {images.shape}"
            )
        if sum(isinstance(step, Normalize) for step in steps) > 1:
            raise ArgumentError("augment holds Normalize twice; once is enough")
        if targets is None and any(isinstance(step, Mixing) for step in steps):
            raise ArgumentError("augmentations that mix images need their targets")
        _, height, width, channels = images.shape
        for step in steps:
            step.check((height, width, channels))
        steps = tuple(step.measured(images) if isinstance(step, Normalize) else step for step in steps)
        return cls(_settled(steps, images, preparation), images, targets, classes, partners)

    @property
    def normalize(self) -> Normalize | None:
        """The Normalize among the steps."""
        return next((step for step in self.steps if isinstance(step, Normalize)), None)

    def batch(
        self, indices: ArrayLike, *, seed: int = 0, epoch: int = 0
    ) -> tuple[Array, NDArray[Any] | None]:
        """(images, targets) of ``indices`` (n,), augmented; targets become rows where something mixes them."""
        return self._done(len(self.steps), np.asarray(indices, np.int64), seed, epoch)

    def plain(self, images: Array) -> Array:
        """Images (n, H, W, C) with nothing random done to them: what a trained network is to be shown."""
        step = self.normalize
        if step is None:
            return images
        kind = np.float64 if images.dtype == np.float64 else np.float32
        result = np.empty(images.shape, kind)
        for start in range(0, len(images), _CHUNK):
            part = slice(start, start + _CHUNK)
            result[part] = step.normalised(np.array(images[part]))
        return result

    def _done(
        self, count: int, indices: NDArray[np.int64], seed: int, epoch: int
    ) -> tuple[Array, Array | None]:
        """After the first ``count`` steps; contiguous."""
        draws = [Draws(seed, epoch, indices, position) for position in range(count)]
        n = max(1, _BYTES // (4 * int(np.prod(self.source.shape[1:]))))
        parts = [slice(start, start + n) for start in range(0, max(1, len(indices)), n)]
        x, t = self._part(indices[parts[0]], [each.part(parts[0]) for each in draws])
        if len(parts) == 1:
            return np.ascontiguousarray(x), t
        images = np.empty((len(indices), *x.shape[1:]), x.dtype)
        targets = None if t is None else np.empty((len(indices), *t.shape[1:]), t.dtype)
        for part in parts:
            if part.start:
                x, t = self._part(indices[part], [each.part(part) for each in draws])
            images[part] = x
            if targets is not None:
                targets[part] = t
        return images, targets

    def _part(self, indices: NDArray[np.int64], draws: list[Draws]) -> tuple[Array, Array | None]:
        x: Array = self.source[indices]  # a copy, which the steps may overwrite
        t = None if self.targets is None else self.targets[indices]
        for step, drawn in zip(self.steps, draws, strict=False):
            if isinstance(step, Mixing):
                x, t = self._mixed(step, x, t, drawn)
            else:
                x = step.images(x, drawn)
        return x, t

    def _mixed(self, step: Mixing, x: Array, t: Array | None, draws: Draws) -> tuple[Array, Array]:
        assert t is not None
        rows = _rows(t, self.classes)
        # The same two calls for every image, so that those that follow get the same numbers in any batch.
        chosen = np.flatnonzero(draws.uniform() < step.probability)
        number = draws.below(len(self.source) if self.partners is None else len(self.partners))
        if not len(chosen):
            return as_float(x), rows
        partners = number[chosen] if self.partners is None else self.partners[number[chosen]]
        other, other_t = self._done(draws.position, partners, draws.seed, draws.epoch)
        assert other_t is not None
        within = Draws(draws.seed, draws.epoch, draws.indices[chosen], draws.position)
        within.word()
        within.word()
        mixed, share = step.mix(x[chosen], other, within)
        x = as_float(x)
        x[chosen] = mixed
        share = share.astype(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1))
        rows[chosen] = rows[chosen] * share + _rows(other_t, self.classes) * (1 - share)
        return x, rows


def _settled(
    steps: Sequence[Augmentation], images: Array | LazyImages, preparation: Preparation | None
) -> tuple[Augmentation, ...]:
    channels = images.shape[-1]
    scale = next((step.scale for step in steps if isinstance(step, Normalize)), None)
    if scale is not None:
        range_ = Range((0.0,) * channels, (float(scale),) * channels)
    elif images.dtype.kind in "ui":
        range_ = Range((0.0,) * channels, (float(np.iinfo(images.dtype).max),) * channels)
    elif preparation is not None and preparation.channels == channels:
        range_ = Normalize(preparation.mean, preparation.std, 1.0).after(Range((), ()))
    else:
        range_ = Range((0.0,) * channels, (1.0,) * channels, known=False)
    found = []
    sample = images[:_SAMPLE]
    for step in steps:
        step = step.settled(range_, sample)
        range_ = step.after(range_)
        found.append(step)
    return tuple(found)


def _rows(t: Array, classes: int | None) -> Array:
    """Targets as floats with a row for each image: class numbers become rows with a single 1."""
    if t.ndim > 1 or classes is None:
        return t.astype(np.result_type(t.dtype, np.float32), copy=True)
    if t.dtype.kind not in "iu":
        raise DataError(f"class numbers must be integers, got dtype {t.dtype}")
    rows = np.zeros((len(t), classes), np.float32)
    rows[np.arange(len(t)), t] = 1
    return rows
