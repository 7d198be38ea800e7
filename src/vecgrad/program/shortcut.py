"""A few images, over and over: a shorter way in for arrays that need no conversion.

A prediction of one image takes a small network a few microseconds, less than Python needs to look at an array from all
sides and to describe the work anew. So what calls with arrays of one shape have in common is settled once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vecgrad.program.native_backend import Compiled
    from vecgrad.runtime.memory import Memory

Array = np.ndarray[Any, np.dtype[Any]]

# Images of at most so many bytes are copied into memory of our own, which costs less than asking NumPy for an address.
MOST_BYTES = 64 * 1024


class Shortcut:
    """A compiled prediction for arrays of one shape (n, *input_shape) and of the program's dtype.

    memory: MOST_BYTES that all shortcuts of a program share. prepare: called before each run, brings the packed weights up to
    date and says how many threads may work. Calls are to be served one at a time.
    """

    def __init__(
        self, compiled: Compiled, name: str, shape: tuple[int, ...], memory: Memory, prepare: Callable[[Compiled], int]
    ) -> None:  # fmt: skip
        self._compiled, self._prepare = compiled, prepare
        self._images = memory.array(compiled.plan.dtype, shape)
        self._entries = self._images.reshape(-1)
        self._address, self._n = memory.address, shape[0]
        result = compiled.plan.results[name]
        self._result = compiled.view(result, self._n)
        self._shape = (self._n, *result.shape)
        whole = self._result.reshape(self._shape)
        # Otherwise padding lies between, and only a copy can have that shape.
        if np.may_share_memory(whole, self._result):
            self._result = whole

    def __call__(self, x: Array) -> Array | None:
        """The result for x; None where an entry may be NaN or infinite, which is somebody else's to tell.

        x must have the shape and the dtype, in any order and at any address.
        """
        self._images[...] = x
        # Squares cannot cancel, and their sum is the cheapest one to ask NumPy for.
        with np.errstate(all="ignore"):
            squares = self._entries.dot(self._entries)
        if not math.isfinite(squares):
            return None
        compiled = self._compiled
        threads = self._prepare(compiled)
        if compiled.given is not self:
            compiled.give(self._address, self._n)
            compiled.given = self
        compiled.run("main", threads)
        found = self._result.copy()
        return found if found.shape == self._shape else found.reshape(self._shape)
