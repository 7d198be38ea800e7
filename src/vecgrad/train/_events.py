"""What the training loop tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.train._history import Epoch


@dataclass(frozen=True)
class EpochStart:
    """An epoch begins: number ``epoch`` of those up to ``epochs``, in ``steps`` steps."""

    epoch: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class StepEnd:
    """Step ``step`` of the epoch, from 1, is done: ``images`` images, the ``loss`` before it."""

    epoch: int
    step: int
    images: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over, and measured."""

    epoch: int
    epochs: int
    record: Epoch


Event = EpochStart | StepEnd | EpochEnd
