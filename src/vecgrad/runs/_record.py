"""What a run holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vecgrad.data import Preparation
from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.spec.errors import DataError, RunError
from vecgrad.spec.tensor import Shape
from vecgrad.updates import Update

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with all that is needed to use it and to go on training.

    ``parameters`` by name ("0.weight") and ``state`` of the optimizer by state and parameter name have
    ``dtype``; ``steps`` training steps were made. ``data`` says where the images came from and how one is
    prepared (keys "class_names", "preparation" and whatever else the trainer notes), ``training`` how the
    network was trained, ``history`` is one record an epoch, ``metrics`` what was measured at the end. ``averaged``: predictions
    use the optimizer's average of the parameters, where it keeps one.
    """

    model: Layer
    input_shape: Shape
    output_shape: Shape
    loss: Loss | None
    optimizer: Update | None
    batch_size: int
    dtype: str
    seed: int
    steps: int
    parameters: Mapping[str, Array]
    state: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    averaged: bool = True
    name: str = "run"

    @property
    def preparation(self) -> Preparation:
        """How an image becomes the network's input. Raises RunError where the run does not know it."""
        if self.data is None or "preparation" not in self.data:
            raise RunError(f"{self.name}: knows no preparation of images; save the program with data=dataset")
        try:
            found = Preparation.from_json(self.data["preparation"])
        except DataError as error:
            raise RunError(f"{self.name}/config.json: {error}") from error
        if found.shape != self.input_shape:
            raise RunError(
                f"{self.name}/config.json: images are prepared to {found.shape}, "
                f"the network takes {self.input_shape}"
            )
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each output; numbers where the run has no names."""
        names = (self.data or {}).get("class_names")
        count = self.output_shape[-1]
        if names is None:
            return tuple(map(str, range(count)))
        if not isinstance(names, (list, tuple)) or len(names) != count:
            raise RunError(f"{self.name}/config.json: class_names must be {count} names, got {names!r}")
        return tuple(map(str, names))
