"""What the door hands out: checked images and labels, and how to prepare more of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._lazy import Images, LazyImages, chosen
from vecgrad.data._order import split
from vecgrad.data._preparation import Preparation
from vecgrad.spec.errors import ArgumentError

# Images that are read together where all are gone through: bounds the memory.
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, as the reader holds them: (n, h, w, c), channels last; labels int64 (n,).

    Images are arrays or ``LazyImages``: brackets with an index array give a batch of either as an array.
    ``preparation.arrays`` turns any of the images into the network's input. Validation and test
    parts are None where the source has none and none was asked for. ``class_names[k]`` is label k;
    where ``targets`` is "numbers" there are none, and labels are float32 (n, k). ``skipped`` says of each
    broken image that was left out on request what is wrong with it. Names are what the source calls its images, in
    their order: paths below the folder, as the CSV file has them, or in the archive; None where images are arrays.
    """

    name: str
    train_images: Images | LazyImages
    train_labels: NDArray[Any]
    class_names: tuple[str, ...]
    preparation: Preparation
    validation_images: Images | LazyImages | None = None
    validation_labels: NDArray[Any] | None = None
    test_images: Images | LazyImages | None = None
    test_labels: NDArray[Any] | None = None
    skipped: tuple[str, ...] = ()
    train_names: tuple[str, ...] | None = None
    validation_names: tuple[str, ...] | None = None
    test_names: tuple[str, ...] | None = None

    @property
    def classes(self) -> int:
        """The number of classes; 0 where the labels are numbers."""
        return len(self.class_names)

    @property
    def targets(self) -> Literal["classes", "numbers"]:
        """What the labels are: class numbers, or numbers to predict."""
        return "classes" if self.class_names else "numbers"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a prepared image."""
        return self.preparation.shape

    def part(self, name: Literal["train", "validation", "test"]) -> tuple[Images | LazyImages, NDArray[Any]]:
        """(images, labels) of a part, the images prepared: float32, batch by batch where memory has no room for all.

        Raises ArgumentError where there is no such part.
        """
        images, labels = getattr(self, f"{name}_images", None), getattr(self, f"{name}_labels", None)
        if images is None or labels is None:
            raise ArgumentError(f"{self.name}: has no {name} images")
        return self.preparation.images(images), labels

    def with_validation(self, fraction: float, seed: int = 0) -> Dataset:
        """The same with a stratified ``fraction`` of the training images held out for validation.

        The preparation stays: it is a property of the data that were read, not of the split. Raises
        ArgumentError where there are validation images already.
        """
        if self.validation_images is not None:
            raise ArgumentError(f"{self.name}: has validation images already; use them, or open it without")
        labels = self.train_labels
        kept, held_out = split(labels if self.targets == "classes" else len(labels), fraction, seed)
        return replace(
            self,
            train_images=chosen(self.train_images, kept),
            train_labels=labels[kept],
            validation_images=chosen(self.train_images, held_out),
            validation_labels=labels[held_out],
            train_names=some_names(self.train_names, kept),
            validation_names=some_names(self.train_names, held_out),
        )

    def test_digest(self) -> str:
        """SHA-256 of the test images and labels, in hexadecimal. Raises ArgumentError where there are none."""
        images, labels = self.test_images, self.test_labels
        if images is None or labels is None:
            raise ArgumentError(f"{self.name}: has no test images")
        found = hashlib.sha256(repr((images.shape, str(images.dtype))).encode())
        for start in range(0, len(images), _CHUNK):
            found.update(images[start : start + _CHUNK].tobytes())
        found.update(labels.tobytes())
        return found.hexdigest()

    def __str__(self) -> str:
        height, width, channels = self.input_shape
        parts = [
            (self.train_images, "training"),
            (self.validation_images, "validation"),
            (self.test_images, "test"),
        ]
        counts = ", ".join(f"{len(images):,} {part}" for images, part in parts if images is not None)
        what = f"{self.classes} classes"
        if self.targets == "numbers":
            numbers = self.train_labels.shape[1]
            what = "a number each" if numbers == 1 else f"{numbers} numbers each"
        skipped = f"; {broken_images(self.skipped)} skipped" if self.skipped else ""
        return f"{self.name}: {counts} images of {height}×{width}×{channels}, {what}{skipped}"


def some_names(names: tuple[str, ...] | None, indices: NDArray[np.int64]) -> tuple[str, ...] | None:
    """Those at ``indices``."""
    return None if names is None else tuple(names[i] for i in indices)


def broken_images(skipped: tuple[str, ...]) -> str:
    """Their number in words."""
    return "1 broken image" if len(skipped) == 1 else f"{len(skipped):,} broken images"
