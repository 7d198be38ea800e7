"""The usual way to train: one call, one history."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError, TrainingError, VecgradError
from vecgrad.train._events import EpochEnd, Event
from vecgrad.train._history import Checkpoint, Epoch, History
from vecgrad.train._loop import Loop
from vecgrad.train.schedules import Schedule

_log = logging.getLogger("vecgrad")


def fit(
    program: Program,
    X: Any,
    y: Any = None,
    epochs: int = 5,
    validation: tuple[Any, Any] | float | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    schedule: str | Schedule | None = None,
    on_event: Callable[[Event], None] | None = None,
    verbose: bool = False,
    keep: str = "last",
    patience: int | None = None,
    augment: Any = None,
    training_accuracy: bool = True,
) -> History:
    """Train ``program`` for ``epochs`` more epochs on images X (n, *input_shape) and labels y (n,) or targets.

    X may be what ``vecgrad.data.open`` returned, without y: its images are prepared as ``program.data`` says, else as the data
    set says, which the program then knows, and its validation images are measured unless ``validation`` names others.
    Images that are read when asked for (LazyImages), and arrays, mapped from files or not, whose converted form would take
    more than an eighth of the memory, are converted and prepared batch by batch, in threads beside the training; the results
    are the same.
    An image that cannot be read any more ends the training with a DataError that names it.

    validation: (Xv, yv), or a fraction of X to hold out (stratified by label, chosen by the program's seed); measured after
    each epoch and never trained on. sample_weight (n,) weighs images. shuffle: in an order drawn from the program's
    seed and the epoch's number. schedule: "constant", "steps", "cosine", "linear", "one_cycle" or a Schedule, which
    multiplies the optimizer's learning rate. on_event hears every EpochStart, StepEnd and EpochEnd. verbose prints a line an epoch.

    keep="best": in the end the program gets back the parameters of its best epoch on the validation images (accuracy, then
    loss), and the history has those of the last step in ``last``. patience: training ends when so many epochs in a row
    were no better than the best one.

    augment: augmentations of ``vecgrad.data.augment``, such as (Flip(), PadCrop(4)), or their text "flip,pad-crop:4"; batches
    are made in a thread beside the training. With a Normalize among them X may be raw pixels such as uint8; validation
    images are normalised too, and ``program.data`` then knows the preparation.

    training_accuracy: measure the accuracy on a sample of the training images after each epoch; False saves its time.

    Ctrl-C ends the training between two steps: the history of the finished epochs is returned, with
    ``interrupted`` set, and the program is as the last step left it (with keep="best", as its best epoch left it).

    Raises DataError, ShapeError and ArgumentError before anything is changed, TrainingError when the loss is no
    number any more. What ends a training that has begun has its ``history``, with ``interrupted`` set, and with keep="best" the
    program is as its best epoch left it.

    >>> import numpy as np, vecgrad as vg
    >>> from vecgrad.layers import Dense
    >>> X = np.float32([[0, 1], [1, 0]] * 8); y = [0, 1] * 8
    >>> program = vg.compile(Dense(2), (2,), "cross_entropy", vg.SGD(0.5), batch_size=8, backend="reference")
    >>> vg.fit(program, X, y, epochs=10).accuracy[-1]
    1.0
    """
    if keep not in ("last", "best"):
        raise ArgumentError(f'keep must be "last" or "best", got {keep!r}')
    if patience is not None and (isinstance(patience, bool) or not isinstance(patience, int) or patience < 1):
        raise ArgumentError(f"patience must be a positive number of epochs, got {patience!r}")
    loop = Loop.of(
        program, X, y, epochs, validation, sample_weight, shuffle, schedule, augment, training_accuracy
    )
    validates = loop.given.validation is not None
    if not validates and (keep == "best" or patience is not None):
        asked = "patience" if keep == "last" else 'keep="best"'
        raise ArgumentError(
            f"{asked} goes by the validation accuracy; pass validation=(Xv, yv) or a fraction to hold out"
        )
    best = _Best(program, keeps=keep == "best")
    records: list[Epoch] = []
    interrupted = stopped = False
    failure: VecgradError | None = None
    try:
        for event in loop.run():
            if isinstance(event, EpochEnd):
                records.append(event.record)
                _log.info("%s", event.record)
                if verbose:
                    print(event.record, flush=True)
                if validates:
                    best.consider(event.record)
            if on_event is not None:
                on_event(event)
            if isinstance(event, EpochEnd) and patience is not None and best.waited >= patience:
                stopped = len(records) < epochs
                break
    except KeyboardInterrupt:
        interrupted = True
        _log.warning("training was interrupted after %d of %d epochs", len(records), epochs)
    except VecgradError as error:
        interrupted, failure = True, error
    chosen, last = best.restore() if keep == "best" else (None, None)
    settings = {**loop.settings, "keep": keep, "patience": patience}
    history = History(tuple(records), settings, interrupted, chosen, stopped, last)
    if failure is not None:
        if isinstance(failure, TrainingError):  # the last step left no numbers
            history = replace(history, last=None)
        failure.history = history
        raise failure
    return history


class _Best:
    """The best epoch so far: how long ago it was and, with ``keeps``, the program as it was then."""

    def __init__(self, program: Program, *, keeps: bool) -> None:
        self._program, self._keeps = program, keeps
        self._score: tuple[float, float] | None = None
        self._kept: tuple[int, Checkpoint] | None = None
        self.waited = 0

    def consider(self, record: Epoch) -> None:
        assert record.validation_loss is not None
        self.waited += 1
        loss = record.validation_loss if math.isfinite(record.validation_loss) else math.inf
        score = (record.validation_accuracy or 0.0, -loss)
        if self._score is None or score > self._score:
            self._score, self.waited = score, 0
            if self._keeps:
                self._kept = (record.epoch, self._now())

    def restore(self) -> tuple[int | None, Checkpoint | None]:
        """(the number of the best epoch, what the last step left if that is another state).

        None, and nothing restored, when no epoch was finished.
        """
        if self._kept is None:
            return None, None
        epoch, kept = self._kept
        if kept.steps == self._program.steps:
            return epoch, None
        last = self._now()
        self._program.load_parameters(kept.parameters)
        self._program.load_state(kept.state, kept.steps)
        return epoch, last

    def _now(self) -> Checkpoint:
        program = self._program
        return Checkpoint(program.parameters, program.state, program.steps)
