"""Training as a person sees it: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vecgrad.cli._command import say

if TYPE_CHECKING:
    from vecgrad.train import Event


class Progress:
    """Hears the events of a training; use it in a ``with`` statement."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            console = Console()
            if not console.is_dumb_terminal:
                parts = (MofNCompleteColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
                self._bar = Bar(
                    TextColumn("{task.description}"), BarColumn(), *parts, console=console, transient=True
                )
                self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        from vecgrad.train import EpochEnd, EpochStart

        if isinstance(event, EpochEnd):
            self._line(str(event.record))
        elif self._bar is None:
            return
        elif isinstance(event, EpochStart):
            if self._task is not None:
                self._bar.remove_task(self._task)
            title = f"epoch {event.epoch} of {event.epochs}"
            self._task = self._bar.add_task(title, total=event.steps, loss="")
        else:
            self._bar.update(self._task, completed=event.step, loss=f"loss {event.loss:.4f}")

    def _line(self, text: str) -> None:
        if self._bar is None:
            say(text)
        else:
            self._bar.console.print(text, highlight=False, markup=False)
