"""scikit-learn's callbacks (SLEP 23, from 1.9 on): progress bars, score monitors and the user's own hear every epoch.

The one place that knows the protocol. With an older scikit-learn estimators have no ``set_callbacks``, and
nothing here does anything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Any) -> Any:
        """The method itself."""
        return method


__all__ = ["CallbackSupportMixin", "Fitting", "with_callbacks"]


class Fitting:
    """One call of ``fit`` as callbacks see it: a task with a subtask for each epoch.

    X, y, sample_weight: what the network is trained on. fitted: the attributes that make a copy of the estimator
    ready to predict; called only when a callback asks for that copy.
    """

    def __init__(
        self,
        estimator: Any,
        epochs: int,
        X: Any,
        y: Any,
        sample_weight: Any,
        fitted: Callable[[], dict[str, Any]],
    ) -> None:
        self._estimator = estimator
        self._fitted = fitted
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._context: Any = None
        self._epoch: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=epochs)

    @contextmanager
    def task(self) -> Iterator[None]:
        """The whole training; its end is told only where it ends without an exception."""
        if self._context is not None:
            self._context.call_on_fit_task_begin(**self._told)
        yield
        if self._context is not None:
            self._context.call_on_fit_task_end(**self._told, reconstruction_attributes=self._snapshot)

    def begin_epoch(self) -> None:
        if self._context is not None:
            self._epoch = self._context.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._told, reconstruction_attributes=self._snapshot)

    def end_epoch(self) -> bool:
        """Whether a callback asks to stop here."""
        if self._epoch is None:
            return False
        ended, self._epoch = self._epoch, None
        return bool(ended.call_on_fit_task_end(**self._told, reconstruction_attributes=self._snapshot))

    def _snapshot(self) -> dict[str, Any]:
        # Copied: the training goes on with these very objects, and a callback may keep what it gets.
        return copy.deepcopy(self._fitted())
