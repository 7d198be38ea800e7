"""What the door hands out: checked images and labels, and how to prepare more of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vecgrad.data._checks import Images, Labels
from vecgrad.data._order import split
from vecgrad.data._preparation import Preparation
from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, as the reader holds them: (n, h, w, c), channels last; labels int64 (n,).

    ``preparation.arrays`` turns any of the images into the network's input. Validation and test
    parts are None where the source has none and none was asked for. ``class_names[k]`` is label k.
    """

    name: str
    train_images: Images
    train_labels: Labels
    class_names: tuple[str, ...]
    preparation: Preparation
    validation_images: Images | None = None
    validation_labels: Labels | None = None
    test_images: Images | None = None
    test_labels: Labels | None = None

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a prepared image."""
        return self.preparation.shape

    def with_validation(self, fraction: float, seed: int = 0) -> Dataset:
        """The same with a stratified ``fraction`` of the training images held out for validation.

        The preparation stays: it is a property of the data that were read, not of the split. Raises
        ArgumentError where there are validation images already.
        """
        if self.validation_images is not None:
            raise ArgumentError(f"{self.name}: has validation images already; use them, or open it without")
        kept, held_out = split(self.train_labels, fraction, seed)
        return replace(
            self,
            train_images=self.train_images[kept],
            train_labels=self.train_labels[kept],
            validation_images=self.train_images[held_out],
            validation_labels=self.train_labels[held_out],
        )

    def __str__(self) -> str:
        height, width, channels = self.input_shape
        parts = [
            (self.train_images, "training"),
            (self.validation_images, "validation"),
            (self.test_images, "test"),
        ]
        counts = ", ".join(f"{len(images):,} {part}" for images, part in parts if images is not None)
        return f"{self.name}: {counts} images of {height}×{width}×{channels}, {self.classes} classes"
