"""Ctrl-C in a command that has something to save: it ends the work once, and nothing else."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """``with Interrupts() as interrupts:`` the first Ctrl-C raises KeyboardInterrupt; those that follow it, and all after
    ``hold()``, do nothing, so that they do not fall into what is being saved.

    >>> with Interrupts() as interrupts:
    ...     interrupts.hold()
    ...     signal.raise_signal(signal.SIGINT)
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._held = False

    def hold(self) -> None:
        """From here on Ctrl-C does nothing."""
        self._held = True

    def __enter__(self) -> Interrupts:
        # Only the main thread gets signals; a handler that is no function (ignored, say) is left as it is.
        if threading.current_thread() is threading.main_thread() and callable(
            signal.getsignal(signal.SIGINT)
        ):
            self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            self._held = True
            raise KeyboardInterrupt
