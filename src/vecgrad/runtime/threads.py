"""The number of threads that programs use unless told otherwise."""

from __future__ import annotations

import operator
import os
import time
from typing import Any

from vecgrad.runtime._processors import processors
from vecgrad.runtime._records import MAX_WORKERS
from vecgrad.spec.errors import ArgumentError

MAX_THREADS = MAX_WORKERS + 1
_VARIABLE = "VECGRAD_NUM_THREADS"
_chosen: list[int] = []  # empty: nobody has said
# Asking the system means reading files, which takes longer than a small network's prediction; what it said holds so long.
_FRESH_SECONDS = 1.0
_said: list[tuple[float, int]] = []  # when, and how many processors


def get_num_threads() -> int:
    """What :func:`set_num_threads` said, else VECGRAD_NUM_THREADS, else :func:`processors`, at most OMP_NUM_THREADS.

    A change of the processors that the process may use counts within a second.
    OMP_NUM_THREADS is how joblib and batch systems tell every library in a process what its share of the
    machine is. Raises ArgumentError if VECGRAD_NUM_THREADS is not a whole number from 1 to 256.
    """
    if _chosen:
        return _chosen[0]
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return min(_processors(), _share(), MAX_THREADS)
    return _checked(int(text) if text.isdecimal() else text, _VARIABLE)


def set_num_threads(threads: int | None) -> None:
    """Set the default number of threads, 1 to 256; None goes back to the environment's.

    More than there are processors is allowed, and slower. Raises ArgumentError for anything else.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(None)
    """
    _chosen[:] = [] if threads is None else [_checked(threads, "the number of threads")]


def _processors() -> int:
    """:func:`processors`, as of less than a second ago."""
    now = time.monotonic()
    if not _said or now - _said[0][0] > _FRESH_SECONDS:
        _said[:] = [(now, processors())]
    return _said[0][1]


def _share() -> int:
    """What OMP_NUM_THREADS leaves to this process; a list is for nested regions, and its first number counts."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else MAX_THREADS


def _checked(threads: Any, what: str) -> int:
    try:
        number = 0 if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = 0
    if not 1 <= number <= MAX_THREADS:
        raise ArgumentError(f"{what} must be a whole number from 1 to {MAX_THREADS}, got {threads!r}")
    return number
