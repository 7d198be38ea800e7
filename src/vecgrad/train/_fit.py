"""The usual way to train: one call, one history."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError
from vecgrad.train._events import EpochEnd, Event
from vecgrad.train._history import Epoch, History
from vecgrad.train._loop import Loop
from vecgrad.train.schedules import Schedule

_log = logging.getLogger("vecgrad")


def fit(
    program: Program,
    X: Any,
    y: Any,
    epochs: int = 5,
    validation_data: tuple[Any, Any] | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    schedule: str | Schedule | None = None,
    on_event: Callable[[Event], None] | None = None,
    verbose: bool = False,
    keep_best: bool = False,
) -> History:
    """Train ``program`` for ``epochs`` more epochs on images X (n, *input_shape) and labels y (n,) or targets.

    validation_data (Xv, yv) is measured after each epoch and never trained on. sample_weight (n,) weighs images.
    shuffle: in an order drawn from the program's seed and the epoch's number. schedule: "constant", "steps",
    "cosine", "linear", "one_cycle" or a Schedule, which multiplies the optimizer's learning rate. on_event hears every EpochStart,
    StepEnd and EpochEnd. verbose prints a line an epoch. keep_best: in the end the program gets back the parameters
    of its best epoch on the validation images (accuracy, then loss).

    Ctrl-C ends the training between two steps: the history of the finished epochs is returned, with
    ``interrupted`` set, and the program is as the last step left it.

    Raises DataError, ShapeError and ArgumentError before anything is changed, TrainingError when the loss is no
    number any more.

    >>> import numpy as np, vecgrad as vg
    >>> from vecgrad.layers import Dense
    >>> X = np.float32([[0, 1], [1, 0]] * 8); y = [0, 1] * 8
    >>> program = vg.compile(Dense(2), (2,), "cross_entropy", vg.SGD(0.5), batch_size=8, backend="reference")
    >>> vg.fit(program, X, y, epochs=10).accuracy[-1]
    1.0
    """
    if keep_best and validation_data is None:
        raise ArgumentError(
            "keep_best chooses an epoch by its validation accuracy; pass validation_data=(Xv, yv)"
        )
    loop = Loop.of(program, X, y, epochs, validation_data, sample_weight, shuffle, schedule)
    best = _Best(program) if keep_best else None
    records: list[Epoch] = []
    interrupted = False
    try:
        for event in loop.run():
            if isinstance(event, EpochEnd):
                records.append(event.record)
                _log.info("%s", event.record)
                if verbose:
                    print(event.record, flush=True)
                if best is not None:
                    best.consider(event.record)
            if on_event is not None:
                on_event(event)
    except KeyboardInterrupt:
        interrupted = True
        _log.warning("training was interrupted after %d of %d epochs", len(records), epochs)
    chosen = best.restore() if best is not None else None
    return History(tuple(records), loop.settings, interrupted, chosen)


class _Best:
    """The program as it was after its best epoch."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._score: tuple[float, float] | None = None
        self._kept: tuple[int, Mapping[str, Any], Mapping[str, Mapping[str, Any]], int] | None = None

    def consider(self, record: Epoch) -> None:
        assert record.validation_loss is not None
        score = (record.validation_accuracy or 0.0, -record.validation_loss)
        if self._score is None or score > self._score:
            program = self._program
            self._score = score
            self._kept = (record.epoch, program.parameters, program.state, program.steps)

    def restore(self) -> int | None:
        """The number of the best epoch; None, and nothing restored, when none was finished."""
        if self._kept is None:
            return None
        epoch, parameters, state, steps = self._kept
        self._program.load_parameters(parameters)
        self._program.load_state(state, steps)
        return epoch
