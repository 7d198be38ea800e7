"""Ctrl-C never falls into the middle of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Whole:
    """``with Whole():`` what stands inside is done as a whole; a Ctrl-C meanwhile is delivered right after it.

    Only the main thread gets signals; in others it does nothing.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._came = False

    def __enter__(self) -> None:
        self._came, self._previous = False, None
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):  # ignored, the system's default, or set outside Python: left as it is
            self._previous = handler
            signal.signal(signal.SIGINT, self._note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            if self._came:
                signal.raise_signal(signal.SIGINT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
