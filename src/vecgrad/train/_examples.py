"""What is trained on, checked before anything is changed: arrays, images that are read batch by batch, whole data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.data import (
    Dataset,
    LazyImages,
    Preparation,
    at_once,
    check_labels,
    check_stored,
    chosen,
    split,
)
from vecgrad.data.augment import Augmentation, Normalize, Pipeline, prepared
from vecgrad.program import Program, door
from vecgrad.spec.errors import ArgumentError, DataError

Array = np.ndarray[Any, np.dtype[Any]]
Images = Array | LazyImages
Pair = tuple[Images, Array]


@dataclass(frozen=True)
class Examples:
    """Images and targets as every step will take them, or with a ``pipeline`` as it will.

    ``told``: what the program is to know of its images once training begins.
    """

    images: Images
    labels: Array
    weights: Array | None
    validation: Pair | None
    pipeline: Pipeline | None
    told: Mapping[str, Any]

    @staticmethod
    def of(
        program: Program,
        X: Any,
        y: Any,
        validation: tuple[Any, Any] | float | None,
        sample_weight: Any,
        steps: Sequence[Augmentation],
    ) -> Examples:
        """Raises ArgumentError, ShapeError or DataError for whatever could not be trained on."""
        told: dict[str, Any] = {}
        measured = any(isinstance(step, Normalize) for step in steps)
        if isinstance(X, Dataset):
            dataset = X
            if y is not None:
                raise ArgumentError(f"{dataset.name}: is a data set with its labels; leave y out")
            preparation = _known(program) or dataset.preparation
            told = _told(program, dataset)
            steps = prepared(steps, preparation) if steps and not program.rescales else steps
            convert = None if steps or program.rescales else preparation
            X, y, validation = _parts(program, dataset, validation, convert)
        elif y is None:
            raise ArgumentError("y is missing: expected the labels of X, or a vecgrad.data.Dataset as X")
        if steps:
            steps = _normalised(program, X, steps)
            images, labels = _raw(program, X, y)
        else:
            images, labels = _pair(program, X, y, "training")
        weights = (
            None if sample_weight is None else door.weights(sample_weight, len(images), program.dtype)[0]
        )
        held_out: Any = validation
        if isinstance(validation, float):
            kept, apart = split(labels if labels.ndim == 1 else len(labels), validation, program.seed)
            held_out = chosen(images, apart), labels[apart]
            images, labels = chosen(images, kept), labels[kept]
            weights = None if weights is None else door.weights(weights[kept], len(kept), program.dtype)[0]
        pipeline = _pipeline(program, steps, images, labels, weights) if steps else None
        if measured and pipeline is not None and pipeline.normalize is not None:
            told["preparation"] = pipeline.normalize.preparation(images).to_json()
        found = None if held_out is None else _validation(program, held_out, pipeline)
        return Examples(images, labels, weights, found, pipeline, told)

    def some(self, most: int) -> Pair:
        """About so many of the training images, evenly, as the program takes them with nothing random done to them."""
        stride = -(-len(self.images) // most)
        if isinstance(self.images, LazyImages):
            images: Images = self.images.take(np.arange(0, len(self.images), stride))
        else:
            images = self.images[::stride]
        return (images if self.pipeline is None else plain(self.pipeline, images)), self.labels[::stride]


def plain(pipeline: Pipeline, images: Images) -> Images:
    """``pipeline.plain``, batch by batch where the images are lazy or memory has no room for the result."""
    if pipeline.normalize is None:
        return images
    if isinstance(images, LazyImages) or not at_once(4 * images.size):
        lazy = images if isinstance(images, LazyImages) else LazyImages.of(images)
        kind = np.float64 if images.dtype == np.float64 else np.float32
        return lazy.then(lambda part, _: pipeline.plain(part), kind)
    return pipeline.plain(images)


def _known(program: Program) -> Preparation | None:
    told = (program.data or {}).get("preparation")
    return None if told is None else Preparation.from_json(told)


def _told(program: Program, dataset: Dataset) -> dict[str, Any]:
    """What of the data set the program does not know yet."""
    told: dict[str, Any] = {"class_names": list(dataset.class_names)} if dataset.class_names else {}
    if not program.rescales:
        told["preparation"] = dataset.preparation.to_json()
    return {key: value for key, value in told.items() if key not in (program.data or {})}


def _parts(
    program: Program, dataset: Dataset, validation: Any, preparation: Preparation | None
) -> tuple[Images, Array, Any]:
    """(training images, labels, validation) of the data set; the images prepared if there is a ``preparation``."""

    def made(images: Images) -> Images:
        return images if preparation is None else preparation.images(images, dtype=program.dtype)

    if dataset.validation_images is not None:
        if isinstance(validation, float):
            raise ArgumentError(
                f"{dataset.name}: has validation images already; leave validation={validation} out"
            )
        if validation is None:
            validation = made(dataset.validation_images), dataset.validation_labels
    return made(dataset.train_images), dataset.train_labels, validation


def _pair(program: Program, X: Any, y: Any, what: str) -> Pair:
    """Images and labels as every step will take them."""
    images = program.check_images(X)
    if not len(images):
        raise DataError(f"there are no {what} images")
    return images, _targets(program, y, len(images))


def _targets(program: Program, y: Any, n: int) -> Array:
    assert program.loss is not None
    labels = np.asarray(y)
    if program.loss.targets == "classes" and labels.ndim == 1:
        return check_labels(labels, program.output_shape[-1], count=n)
    return door.targets(labels, n, program.loss, program.output_shape, program.dtype)


def _normalised(program: Program, X: Any, steps: Sequence[Augmentation]) -> Sequence[Augmentation]:
    """The steps with the program's own preparation, where it would prepare such images without augmentation."""
    known = _known(program)
    integers = getattr(getattr(X, "dtype", None), "kind", "f") in "iu"
    if known is None or not (integers and known.whole_numbers) or program.rescales:
        return steps
    return steps if any(isinstance(step, Normalize) for step in steps) else prepared(steps, known)


def _raw(program: Program, X: Any, y: Any) -> Pair:
    """Images as they came, for a pipeline, and targets."""
    if len(program.input_shape) != 3:
        raise ArgumentError(
            f"augment needs a network for images (height, width, channels); this one takes {program.input_shape}"
        )
    images = check_stored(X, what="training images", data_format="channels_last", shape=program.input_shape)
    return images, _targets(program, y, len(images))


def _pipeline(program: Program, steps: Any, images: Images, labels: Array, weights: Array | None) -> Pipeline:
    assert program.loss is not None
    found = Pipeline.of(
        steps,
        images,
        labels,
        classes=program.output_shape[-1] if program.loss.targets == "classes" else None,
        # An image of weight zero is as if it were not there.
        partners=None if weights is None else np.flatnonzero(weights > 0),
        preparation=_known(program),
    )
    program.check_images(found.plain(images[:1]))
    return found


def _validation(program: Program, given: Any, pipeline: Pipeline | None) -> Pair:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ArgumentError(
            "validation must be (images, labels), or the fraction of the images to hold out, as a float"
        )
    images, labels = given
    if pipeline is not None:
        stored = check_stored(
            images, what="validation images", data_format="channels_last", shape=program.input_shape
        )
        images = plain(pipeline, stored)
    return _pair(program, images, labels, "validation")
