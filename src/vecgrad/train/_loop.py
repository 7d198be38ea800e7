"""The training loop: a generator of events, so that whoever listens decides what to show and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.data import batches, check_labels
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
    validation_data: tuple[Any, Any] | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    schedule: str | Schedule | None = None,
    training_accuracy: bool = True,
) -> Iterator[Event]:
    """Trains ``program`` while the events are taken; arguments as in ``fit``. All are checked before this returns.

    training_accuracy: measure the accuracy on a sample of the training images after each epoch; False saves its time.
    Whoever stops taking events stops the training, between two steps.
    """
    return Loop.of(
        program, X, y, epochs, validation_data, sample_weight, shuffle, schedule, training_accuracy
    ).run()


@dataclass(frozen=True)
class Loop:
    """A training that can begin: everything was checked and converted once."""

    program: Program
    images: Array
    labels: Array
    weights: Array | None
    validation: Pair | None
    epochs: int
    first_epoch: int
    shuffle: bool
    schedule: Schedule
    training_accuracy: bool = True

    @staticmethod
    def of(
        program: Program,
        X: Any,
        y: Any,
        epochs: int,
        validation_data: tuple[Any, Any] | None,
        sample_weight: Any,
        shuffle: bool,
        schedule: str | Schedule | None,
        training_accuracy: bool = True,
    ) -> Loop:
        """Raises ArgumentError, ShapeError or DataError for whatever could not be trained on."""
        if program.loss is None or program.optimizer is None:
            raise ArgumentError("training needs a loss and an optimizer; pass both to compile")
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(f"epochs must be a positive integer, got {epochs!r}")
        images, labels = _pair(program, X, y, "training")
        n = len(images)
        # The epochs of a program count on, through saving and loading too, so that none repeats another's order.
        first = program.steps // -(-n // program.batch_size)
        return Loop(
            program,
            images,
            labels,
            None if sample_weight is None else door.weights(sample_weight, n, program.dtype)[0],
            None if validation_data is None else _validation(program, validation_data),
            epochs,
            first,
            bool(shuffle),
            by_name(schedule),
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
        }

    def run(self) -> Iterator[Event]:
        """The events of all epochs."""
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
        # Batches are gathered here and not ahead in a thread: of arrays in memory that takes microseconds.
        for step, chosen in enumerate(batches(n, program.batch_size, program.seed, label - 1, self.shuffle)):
            began = time.perf_counter()
            share = self._weight(chosen)
            if not share:
                continue
            rate = self._rate((number * steps + step) / (self.epochs * steps))
            w = None if self.weights is None else self.weights[chosen]
            with Whole():
                loss = program.step(self.images[chosen], self.labels[chosen], w, rate)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {label}, step {step + 1}; lower the learning rate (it was {rate:g})"
                )
            total, weight = total + loss * share, weight + share
            # The training's first step may compile: its time says nothing about those to come.
            if number or step or steps == 1:
                busy, counted = busy + time.perf_counter() - began, counted + len(chosen)
            yield StepEnd(label, step + 1, len(chosen), loss, rate)
        yield EpochEnd(
            label, last, self._measured(label, total / weight, rate, started, counted / busy if busy else 0.0)
        )

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
            accuracy = self.program.evaluate(self.images[sample], self.labels[sample]).accuracy
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
    labels = np.asarray(y)
    if program.loss.targets == "classes" and labels.ndim == 1:
        return images, check_labels(labels, program.output_shape[-1], count=len(images))
    return images, door.targets(labels, len(images), program.loss, program.output_shape, program.dtype)


def _validation(program: Program, given: Any) -> Pair:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ArgumentError("validation_data must be (images, labels)")
    return _pair(program, given[0], given[1], "validation")
