"""The training loop: a generator of events, so that whoever listens decides what to show and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vecgrad.data import Ahead, Preparation, batches, check_images, check_labels, split
from vecgrad.data.augment import Pipeline, augmentations, to_json
from vecgrad.program import Program, door
from vecgrad.spec.errors import ArgumentError, DataError, TrainingError
from vecgrad.train._events import EpochEnd, EpochStart, Event, StepEnd
from vecgrad.train._history import Epoch
from vecgrad.train._interrupt import Whole
from vecgrad.train.schedules import Schedule, by_name

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[Array, Array]

# Training images on which accuracy is measured after an epoch: ± 2 % at most, and a small part of an epoch's time.
_SAMPLE = 512


def events(
    program: Program,
    X: Any,
    y: Any,
    epochs: int = 5,
    *,
    validation: tuple[Any, Any] | float | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    schedule: str | Schedule | None = None,
    augment: Any = None,
    training_accuracy: bool = True,
) -> Iterator[Event]:
    """Trains ``program`` while the events are taken; arguments as in ``fit``. All are checked before this returns.

    training_accuracy: measure the accuracy on a sample of the training images after each epoch; False saves its time.
    Whoever stops taking events stops the training, between two steps.
    """
    return Loop.of(
        program, X, y, epochs, validation, sample_weight, shuffle, schedule, augment, training_accuracy
    ).run()


@dataclass(frozen=True)
class Loop:
    """A training that can begin: everything was checked and converted once.

    With a ``pipeline`` the images are as they came: it makes of them, batch by batch, what the program takes.
    """

    program: Program
    images: Array
    labels: Array
    weights: Array | None
    validation: Pair | None
    epochs: int
    first_epoch: int
    shuffle: bool
    schedule: Schedule
    pipeline: Pipeline | None = None
    training_accuracy: bool = True

    @staticmethod
    def of(
        program: Program,
        X: Any,
        y: Any,
        epochs: int,
        validation: tuple[Any, Any] | float | None,
        sample_weight: Any,
        shuffle: bool,
        schedule: str | Schedule | None,
        augment: Any = None,
        training_accuracy: bool = True,
    ) -> Loop:
        """Raises ArgumentError, ShapeError or DataError for whatever could not be trained on."""
        if program.loss is None or program.optimizer is None:
            raise ArgumentError("training needs a loss and an optimizer; pass both to compile")
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(f"epochs must be a positive integer, got {epochs!r}")
        steps = augmentations(augment)
        images, labels = _raw(program, X, y) if steps else _pair(program, X, y, "training")
        weights = (
            None if sample_weight is None else door.weights(sample_weight, len(images), program.dtype)[0]
        )
        held_out: Any = validation
        if isinstance(validation, float):
            kept, apart = split(labels if labels.ndim == 1 else len(labels), validation, program.seed)
            held_out = images[apart], labels[apart]
            images, labels = images[kept], labels[kept]
            weights = None if weights is None else door.weights(weights[kept], len(kept), program.dtype)[0]
        pipeline = _pipeline(program, steps, images, labels, weights) if steps else None
        n = len(images)
        rest = n % program.batch_size
        if 0 < rest < program.least_images:
            raise ArgumentError(
                f"{n} images in batches of {program.batch_size} leave a last batch of {rest}, and a training step of this "
                f"model needs {program.least_images} at least (batch normalization of one value per channel); compile it "
                f"with another batch_size, or train on one image fewer"
            )
        # The epochs of a program count on, through saving and loading too, so that none repeats another's order.
        first = program.steps // -(-n // program.batch_size)
        return Loop(
            program,
            images,
            labels,
            weights,
            None if held_out is None else _validation(program, held_out, pipeline),
            epochs,
            first,
            bool(shuffle),
            by_name(schedule),
            pipeline,
            training_accuracy,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What a run folder should know of the training."""
        return {
            "epochs": self.epochs,
            "first_epoch": self.first_epoch + 1,
            "images": len(self.images),
            "validation_images": 0 if self.validation is None else len(self.validation[0]),
            "weighted": self.weights is not None,
            "shuffle": self.shuffle,
            "schedule": self.schedule.to_json(),
            "augment": [] if self.pipeline is None else to_json(self.pipeline.steps),
        }

    def run(self) -> Iterator[Event]:
        """The events of all epochs."""
        if self.pipeline is not None and self.pipeline.normalize is not None:
            found = self.pipeline.normalize.preparation(self.images)
            self.program.data = {**(self.program.data or {}), "preparation": found.to_json()}
        for number in range(self.epochs):
            yield from self._epoch(number)

    def _epoch(self, number: int) -> Iterator[Event]:
        program, n = self.program, len(self.images)
        label = self.first_epoch + number + 1
        last = self.first_epoch + self.epochs
        steps = -(-n // program.batch_size)
        yield EpochStart(label, last, steps)
        started, rate, total, weight = time.perf_counter(), 0.0, 0.0, 0.0
        busy, counted = 0.0, 0
        order = batches(n, program.batch_size, program.seed, label - 1, self.shuffle)
        with self._feed(order, label - 1) as feed:
            began = time.perf_counter()
            for step, (chosen, x, t) in enumerate(feed):
                share = self._weight(chosen)
                if not share:
                    continue
                rate = self._rate((number * steps + step) / (self.epochs * steps))
                w = None if self.weights is None else self.weights[chosen]
                with Whole():
                    loss = program.step(x, t, w, rate)
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss became {loss} in epoch {label}, step {step + 1}; lower the learning rate (it was {rate:g})"
                    )
                total, weight = total + loss * share, weight + share
                # The training's first step may compile: its time says nothing about those to come.
                if number or step or steps == 1:
                    busy, counted = busy + time.perf_counter() - began, counted + len(chosen)
                yield StepEnd(label, step + 1, len(chosen), loss, rate)
                began = time.perf_counter()
        yield EpochEnd(
            label, last, self._measured(label, total / weight, rate, started, counted / busy if busy else 0.0)
        )

    def _feed(
        self, order: Iterator[Array], epoch: int
    ) -> AbstractContextManager[Iterator[tuple[Array, Array, Any]]]:
        """(indices, images, targets) of the batches."""
        if self.pipeline is not None:
            return Ahead(partial(_made, self.pipeline, self.program.seed, epoch), order)
        # Gathered here and not ahead in a thread: of arrays in memory that takes microseconds.
        return nullcontext((chosen, self.images[chosen], self.labels[chosen]) for chosen in order)

    def _weight(self, chosen: Array) -> float:
        return (
            float(len(chosen)) if self.weights is None else float(self.weights[chosen].sum(dtype=np.float64))
        )

    def _rate(self, progress: float) -> float:
        assert self.program.optimizer is not None
        return self.program.optimizer.learning_rate * self.schedule.factor(progress)

    def _measured(self, label: int, loss: float, rate: float, started: float, speed: float) -> Epoch:
        n = len(self.images)
        accuracy = None
        assert self.program.loss is not None
        if self.training_accuracy and self.program.loss.targets == "classes":
            sample = slice(None, None, -(-n // _SAMPLE))
            shown = self.images[sample] if self.pipeline is None else self.pipeline.plain(self.images[sample])
            accuracy = self.program.evaluate(shown, self.labels[sample]).accuracy
        found = None if self.validation is None else self.program.evaluate(*self.validation)
        return Epoch(
            epoch=label,
            loss=loss,
            accuracy=accuracy,
            validation_loss=None if found is None else found.loss,
            validation_accuracy=None if found is None else found.accuracy,
            learning_rate=rate,
            images=n,
            seconds=time.perf_counter() - started,
            images_per_second=speed,
        )


def _pair(program: Program, X: Any, y: Any, what: str) -> Pair:
    """Images and labels as every step will take them."""
    assert program.loss is not None
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


def _raw(program: Program, X: Any, y: Any) -> Pair:
    """Images as they came, for a pipeline, and targets."""
    if len(program.input_shape) != 3:
        raise ArgumentError(
            f"augment needs a network for images (height, width, channels); this one takes {program.input_shape}"
        )
    images = check_images(X, what="training images", shape=program.input_shape)
    return images, _targets(program, y, len(images))


def _pipeline(program: Program, steps: Any, images: Array, labels: Array, weights: Array | None) -> Pipeline:
    assert program.loss is not None
    told = (program.data or {}).get("preparation")
    found = Pipeline.of(
        steps,
        images,
        labels,
        classes=program.output_shape[-1] if program.loss.targets == "classes" else None,
        # An image of weight zero is as if it were not there.
        partners=None if weights is None else np.flatnonzero(weights > 0),
        preparation=None if told is None else Preparation.from_json(told),
    )
    program.check_images(found.plain(images[:1]))
    return found


def _made(pipeline: Pipeline, seed: int, epoch: int, chosen: Array) -> tuple[Array, Array, Any]:
    # A plain function of its arguments: see Ahead.
    return (chosen, *pipeline.batch(chosen, seed=seed, epoch=epoch))


def _validation(program: Program, given: Any, pipeline: Pipeline | None) -> Pair:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ArgumentError(
            "validation must be (images, labels), or the fraction of the images to hold out, as a float"
        )
    images, labels = given
    if pipeline is not None:
        images = pipeline.plain(check_images(images, what="validation images", shape=program.input_shape))
    return _pair(program, images, labels, "validation")
