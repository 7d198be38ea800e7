"""What can go wrong, by name. Each message says where, what came, what was expected, what to do."""

from __future__ import annotations

from typing import Any


class VecgradError(Exception):
    """Base of every error that vecgrad raises on purpose; its text is one line for a person.

    history: of a training that it ended, what was trained until then (``vecgrad.History``); else None.
    """

    history: Any = None


class ShapeError(VecgradError, ValueError):
    """A network, an array or a parameter has a shape that cannot work."""


class ArgumentError(VecgradError, ValueError):
    """An argument has a value that means nothing here."""


class DataError(VecgradError, ValueError):
    """Images or labels that cannot be used: wrong dtype, NaN, labels out of range, a damaged file."""


class RunError(VecgradError):
    """A run folder that is missing something, was changed, or has a newer format."""


class CompileError(VecgradError, RuntimeError):
    """The native backend is not available here, or a plan cannot be made."""


class TrainingError(VecgradError, RuntimeError):
    """Training cannot go on: the loss is no number any more."""
