"""After a fork: a program that another thread of the parent was using is free in the child, where that thread is not."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class _Locked(Protocol):
    _lock: threading.RLock


_known: weakref.WeakSet[_Locked] = weakref.WeakSet()


def renewed_in_children(program: _Locked) -> None:
    """A forked child gives ``program`` a lock of its own, which nobody holds."""
    _known.add(program)


def _begin() -> None:
    for program in tuple(_known):
        program._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)
