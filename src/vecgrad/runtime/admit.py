"""A first look at a step's images and labels, in one native call."""

from __future__ import annotations

from vecgrad.runtime._admit_ir import BLOCK
from vecgrad.runtime._core import core
from vecgrad.runtime.memory import Memory, aligned
from vecgrad.spec.machine import ITEM_BYTES


class Admission:
    """Looks at images (n, entries) of ``dtype`` and their class numbers, and writes the labels' rows (n, classes).

    rows: where they are written; the caller's to read, for up to ``most`` images. Not for two callers at a time.
    Raises CompileError where native code cannot run.

    >>> import numpy as np
    >>> look = Admission("float32", 1, 3)
    >>> x, y = np.ones((1, 5), np.float32), np.array([2])
    >>> look(x.ctypes.data, 5, y.ctypes.data, 1), look.rows.array("float32", (1, 3))
    (True, array([[0., 0., 1.]], dtype=float32))
    """

    def __init__(self, dtype: str, most: int, classes: int) -> None:
        self._admit = core().admit[dtype]
        self._classes = classes
        self.rows: Memory = aligned(-(-max(most * classes * ITEM_BYTES[dtype], 1) // BLOCK) * BLOCK)
        self._address = self.rows.address

    def __call__(self, images: int, entries: int, labels: int, n: int) -> bool:
        """Whether all ``entries`` at address ``images`` are finite and the ``n`` int64 at ``labels`` are classes."""
        return self._admit(images, entries, labels, n, self._classes, self._address) == 1
