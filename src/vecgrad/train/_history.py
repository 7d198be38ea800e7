"""What training told: one record an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vecgrad.train import _curve

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Epoch:
    """One epoch, numbered from 1 since the program was made.

    ``loss`` is the mean over the batches as they were trained on (weighted), each before its step. ``accuracy``
    is measured after the epoch on a sample of the training images; None where targets are values.
    ``images_per_second`` is that of the steps, a training's first left out because it may compile; ``seconds``
    counts everything, measuring included.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    images: int
    seconds: float
    images_per_second: float

    def __str__(self) -> str:
        parts = [f"epoch {self.epoch}", f"loss {self.loss:.4f}"]
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.4f}")
        if self.validation_loss is not None:
            parts.append(f"validation loss {self.validation_loss:.4f}")
        if self.validation_accuracy is not None:
            parts.append(f"validation accuracy {self.validation_accuracy:.4f}")
        return "  ".join([*parts, f"{self.images_per_second:,.0f} images/s"])


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A program's parameters and its optimizer's state by name, after ``steps`` steps.

    ``program.load_parameters(parameters)`` and ``program.load_state(state, steps)`` bring it back.
    """

    parameters: Mapping[str, Array]
    state: Mapping[str, Mapping[str, Array]]
    steps: int


@dataclass(frozen=True)
class History:
    """The epochs that were finished, and the settings they were trained with.

    ``interrupted``: Ctrl-C or an error ended the training early; ``stopped_early``: patience did. ``best_epoch``: the epoch whose
    parameters the program has now, where the best was asked for; else None, and the program is as the last step left it.
    ``last``: what the last step left, where the program has the parameters of an earlier one.
    """

    epochs: tuple[Epoch, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    interrupted: bool = False
    best_epoch: int | None = None
    stopped_early: bool = False
    last: Checkpoint | None = field(default=None, compare=False, repr=False)

    @property
    def loss(self) -> list[float]:
        return [epoch.loss for epoch in self.epochs]

    @property
    def accuracy(self) -> list[float | None]:
        return [epoch.accuracy for epoch in self.epochs]

    @property
    def validation_loss(self) -> list[float | None]:
        return [epoch.validation_loss for epoch in self.epochs]

    @property
    def validation_accuracy(self) -> list[float | None]:
        return [epoch.validation_accuracy for epoch in self.epochs]

    @property
    def seconds(self) -> float:
        """Time of all finished epochs."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def images_per_second(self) -> float:
        """Over the steps of all finished epochs; 0 before the first is finished."""
        spent = sum(
            epoch.images / epoch.images_per_second for epoch in self.epochs if epoch.images_per_second
        )
        return sum(epoch.images for epoch in self.epochs) / spent if spent else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it, a loss that is no finite number as null; a run folder keeps "epochs" and "settings"."""
        ended = {
            "interrupted": self.interrupted,
            "stopped_early": self.stopped_early,
            "best_epoch": self.best_epoch,
        }
        return {"epochs": [_plain(epoch) for epoch in self.epochs], "settings": {**self.settings, **ended}}

    def pages(self) -> dict[str, str]:
        """The learning curve as files for people, text by name: "history.csv" and "curve.svg"; {} before an epoch is done."""
        if not self.epochs:
            return {}
        return {
            "history.csv": _curve.as_csv(self.epochs),
            "curve.svg": _curve.as_svg(self.epochs, self.best_epoch),
        }


def _plain(epoch: Epoch) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(epoch).items()
    }
