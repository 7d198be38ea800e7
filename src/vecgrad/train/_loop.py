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

from vecgrad.data import Ahead, LazyImages, batches
from vecgrad.data.augment import Pipeline, augmentations, to_json
from vecgrad.program import Program, door
from vecgrad.spec.errors import ArgumentError, TrainingError
from vecgrad.train._events import EpochEnd, EpochStart, Event, StepEnd
from vecgrad.train._examples import Examples, Images
from vecgrad.train._history import Epoch
from vecgrad.train._interrupt import Whole
from vecgrad.train.schedules import Schedule, by_name

Array = np.ndarray[Any, np.dtype[Any]]

# Training images on which accuracy is measured after an epoch: ± 2 % at most, and a small part of an epoch's time.
_SAMPLE = 512


def events(
    program: Program,
    X: Any,
    y: Any = None,
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
    """A training that can begin: everything was checked, and converted as far as memory has room for it.

    With a pipeline the images are as they came: it makes of them, batch by batch, what the program takes.
    """

    program: Program
    given: Examples
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
        given = Examples.of(program, X, y, validation, sample_weight, steps)
        n = len(given.images)
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
            given,
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
            "images": len(self.given.images),
            "validation_images": 0 if self.given.validation is None else len(self.given.validation[0]),
            "weighted": self.given.weights is not None,
            "shuffle": self.shuffle,
            "schedule": self.schedule.to_json(),
            "augment": [] if self.given.pipeline is None else to_json(self.given.pipeline.steps),
        }

    def run(self) -> Iterator[Event]:
        """The events of all epochs."""
        if self.given.told:
            self.program.data = {**(self.program.data or {}), **self.given.told}
        for number in range(self.epochs):
            yield from self._epoch(number)

    def _epoch(self, number: int) -> Iterator[Event]:
        program, n = self.program, len(self.given.images)
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
                share = self._counted(chosen, t)
                if not share:
                    continue
                rate = self._rate(number * steps + step, self.epochs * steps)
                w = None if self.given.weights is None else self.given.weights[chosen]
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
        given = self.given
        ahead = {"depth": 3, "workers": 2} if isinstance(given.images, LazyImages) else {}
        if given.pipeline is not None:
            return Ahead(partial(_made, given.pipeline, self.program.seed, epoch), order, **ahead)
        if ahead:
            return Ahead(partial(_read, given.images, given.labels), order, **ahead)
        # Gathered here and not ahead in a thread: of arrays in memory that takes microseconds.
        return nullcontext((chosen, given.images[chosen], given.labels[chosen]) for chosen in order)

    def _counted(self, chosen: Array, t: Array) -> float:
        """What the batch's loss is a mean over: its images, or their weights, of their classes too."""
        w, n, loss = self.given.weights, len(chosen), self.program.loss
        assert loss is not None
        weights = np.ones(n) if w is None else w[chosen].astype(np.float64)
        if loss.as_given:
            return float(n) if w is None else float(weights.sum())
        targets = door.targets(t, n, loss, self.program.output_shape, self.program.dtype)
        return loss.counted(targets, weights)

    def _rate(self, step: int, steps: int) -> float:
        assert self.program.optimizer is not None
        # A warm-up begins at zero: one shorter than a step would be nothing but an idle step.
        short = self.schedule.warming if self.schedule.warming * steps < 1 else 0.0
        return self.program.optimizer.learning_rate * self.schedule.factor(max(step / steps, short))

    def _measured(self, label: int, loss: float, rate: float, started: float, speed: float) -> Epoch:
        n = len(self.given.images)
        accuracy = None
        assert self.program.loss is not None
        if self.training_accuracy and self.program.loss.targets == "classes":
            accuracy = self.program.evaluate(*self.given.some(_SAMPLE)).accuracy
        held_out = self.given.validation
        found = None if held_out is None else self.program.evaluate(*held_out)
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


def _made(pipeline: Pipeline, seed: int, epoch: int, chosen: Array) -> tuple[Array, Array, Any]:
    # A plain function of its arguments: see Ahead.
    return (chosen, *pipeline.batch(chosen, seed=seed, epoch=epoch))


def _read(images: Images, labels: Array, chosen: Array) -> tuple[Array, Array, Any]:
    return chosen, images[chosen], labels[chosen]
