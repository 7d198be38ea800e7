"""From an estimator's parameters to a program that can be trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from vecgrad.layers import Layer, Sequential
from vecgrad.losses import Loss
from vecgrad.program import Program, compile
from vecgrad.train import MODELS, BuiltIn, Schedule, fitting
from vecgrad.updates import UPDATES, Update

Shape3 = tuple[int, int, int]


# Fewer steps than this leave a network untrained; few images are therefore seen for more epochs, up to a limit.
_STEPS, _MOST_EPOCHS = 1000, 200
# The squared error's gradient grows with the error where that of cross entropy is at most 1, for which the built-in
# rates were chosen.
_SQUARED = 0.25


@dataclass(frozen=True)
class Recipe:
    """A network for an image shape and how it is trained, after the user's parameters and the built-in's."""

    model: Layer
    optimizer: Update
    schedule: str | Schedule | None
    batch_size: int
    epochs: int

    @classmethod
    def of(cls, params: Any, shape: Shape3, outputs: int, images: int, loss: str | Loss) -> Recipe:
        """params: ``architecture``, ``optimizer``, ``schedule``, ``batch_size``, ``max_iter`` as the estimator was given them.

        What is "auto" or None is the built-in's: of the named one, or of the one that fits the shape. Raises
        ShapeError for layers that cannot work on the shape, ValueError where they end in another number of outputs.
        """
        architecture = params.architecture
        named = isinstance(architecture, str) and architecture != "auto"
        built_in: BuiltIn = MODELS[architecture] if named else fitting(shape)
        optimizer, schedule = params.optimizer, params.schedule
        if optimizer is None:
            optimizer = built_in.optimizer
            if loss == "mse":
                optimizer = replace(optimizer, learning_rate=_SQUARED * optimizer.learning_rate)
        elif isinstance(optimizer, str):
            optimizer = UPDATES[optimizer]()
        batch_size = built_in.batch_size if params.batch_size == "auto" else int(params.batch_size)
        enough = math.ceil(_STEPS / math.ceil(images / batch_size))
        epochs = max(built_in.epochs, min(enough, _MOST_EPOCHS))
        return cls(
            model=_model(architecture, built_in, shape, outputs),
            optimizer=optimizer,
            schedule=built_in.schedule if schedule == "auto" else schedule,
            batch_size=batch_size,
            epochs=epochs if params.max_iter == "auto" else int(params.max_iter),
        )

    def program(self, shape: Shape3, loss: str | Loss, seed: int, dtype: str, threads: int | None) -> Program:
        """The network with its first parameters."""
        return compile(
            self.model,
            shape,
            loss=loss,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            threads=None if threads is None else int(threads),
            seed=seed,
            dtype=dtype,
        )


def _model(architecture: Any, built_in: BuiltIn, shape: Shape3, outputs: int) -> Layer:
    if isinstance(architecture, str):
        return built_in.build(shape, outputs)
    if callable(architecture) and not isinstance(architecture, Layer):
        architecture = architecture(shape, outputs)
    model = architecture if isinstance(architecture, Layer) else Sequential(architecture)
    found = model.infer(shape)
    if found != (outputs,):
        raise ValueError(
            f"architecture gives {found} for images of {shape}, but y needs ({outputs},): "
            f"end it with Flatten() and Dense({outputs})"
        )
    return model
