"""The slow twin: the same model through the eager emitter, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vecgrad.graph.build import Wanted, run
from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.kernels.reasons import Algorithm
from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.program.flat import FlatLayout
from vecgrad.program.rule import advance, factor_arrays
from vecgrad.updates import AVERAGE, Update

Array = np.ndarray[Any, np.dtype[Any]]


class ReferenceBackend:
    """Computes with NumPy on flat arrays of its own: ``weights`` and ``state``, both changed by ``step`` only."""

    name = "reference"

    def __init__(
        self, model: Layer, loss: Loss | None, update: Update | None, layout: FlatLayout, dtype: Any,
        threads: int | None = None, algorithm: Algorithm = "auto",
    ) -> None:  # fmt: skip
        # Kept for a copy that compiles: NumPy has its own threads, and the reference knows direct sums only.
        self.threads = threads
        self.algorithm: Algorithm = algorithm
        self._model, self._loss, self._update, self._layout = model, loss, update, layout
        self._dtype = np.dtype(dtype)
        self.weights: Array = np.zeros(layout.total, dtype)
        self.state: dict[str, Array] = {
            name: np.zeros(layout.kept(name), dtype) for name in (update.arrays() if update else ())
        }
        self._factors = factor_arrays(update, layout) if update else {}

    def changed(self) -> None:
        """The weights were written from outside: nothing is derived from them here."""

    def run(
        self, wanted: Wanted, x: Array, t: Array | None, w: Array | None, scalars: Mapping[str, float]
    ) -> dict[str, Array]:
        """What is wanted, by the names that ``graph.build.record`` documents."""
        e = EagerEmitter(scalars, self._dtype, wanted.training)
        flat = self.state[AVERAGE] if wanted.averaged else self.weights
        p = {name: EagerValue(view, False) for name, view in self._layout.views(flat).items()}
        target, weight = (EagerValue(a, True) if a is not None else None for a in (t, w))
        results = run(
            e, self._model, self._loss, EagerValue(x, True), target, weight, p, wanted, self._layout.trained
        )
        found = {name: value.array for name, value in results.values.items()}
        found |= {f"gradient.{name}": value.array for name, value in results.gradients.items()}
        found |= {f"statistic.{name}": value.array for name, value in results.statistics.items()}
        if wanted.trace:
            found |= {f"trace.{name}": array for name, array in e.marks.items()}
        # A result may be a view of an input or of the weights, which will change.
        return {name: array.copy() for name, array in found.items()}

    def shortcut(self, wanted: Wanted, name: str, n: int) -> None:
        """None: the reference goes the long way always."""

    def stepping(self, n: int) -> None:
        """None: the reference goes the long way always."""

    def step(self, x: Array, t: Array, w: Array, scalars: Mapping[str, float]) -> float:
        """One training step; the loss before it."""
        assert self._update is not None
        wanted = Wanted(training=True, loss=True, gradients=True, statistics=True)
        found = self.run(wanted, x, t, w, scalars)
        gradient = np.zeros(self._layout.entries, self._dtype)
        for name, slot in self._layout.trained.items():
            gradient[slot.offset : slot.offset + slot.length] = found[f"gradient.{name}"].reshape(-1)
        for name, view in self._layout.views(self.weights).items():
            if f"statistic.{name}" in found:
                view[...] = found[f"statistic.{name}"]
        advance(self._update, self._layout, {**scalars, **self._factors}, self.weights, gradient, self.state)
        return float(found["loss"][0])
