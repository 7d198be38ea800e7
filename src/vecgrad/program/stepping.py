"""Training steps of one shape, over and over: a shorter way in for arrays that need no conversion.

A small network's step takes a few hundred microseconds on all processors, and while Python looks at arrays one of them works
and the others wait. So what steps on equally many images have in common is settled once, and the arrays' entries are looked at in
one native call. It only says yes or no; what is wrong with refused arrays the long way tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vecgrad.plan import BASES
from vecgrad.runtime import aligned
from vecgrad.spec.emitter import weighing
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.tensor import size

if TYPE_CHECKING:
    from vecgrad.program.native_backend import Compiled
    from vecgrad.runtime import Admission
    from vecgrad.runtime.memory import Memory

Array = np.ndarray[Any, np.dtype[Any]]

_TARGET, _WEIGHT = BASES.index("target"), BASES.index("weight")
_LABELS = np.dtype(np.int64).str


class Stepping:
    """Steps of ``compiled`` on images of one shape (n, *input_shape) and the program's dtype, with class numbers (n,).

    ones: each image's weight of 1. rows: what the loss makes of plain rows and weights, None where it takes them as they are; as
    the long way's, so are its bits. begin: called before each run, brings the packed weights up to date and says how
    many threads may work. end: called after it. Calls are to be served one at a time.
    """

    def __init__(
        self, compiled: Compiled, shape: tuple[int, ...], admission: Admission, ones: Memory,
        rows: Callable[[Array, Array], Array] | None, classes: int,
        begin: Callable[[Compiled], int], end: Callable[[Compiled], None],
    ) -> None:  # fmt: skip
        self._compiled, self._admission, self._ones = compiled, admission, ones
        self._made, self._rows = rows, admission.rows
        self._begin, self._end = begin, end
        self._n, self._entries = shape[0], size(shape)
        self._kind = np.dtype(compiled.plan.dtype).str
        self._item = ITEM_BYTES[compiled.plan.dtype]
        self._labels = (self._n,)
        self.weighing = weighing(self._n, self._n)
        self._images = 0
        if rows is not None:
            kind, whole = compiled.plan.dtype, (self._n, classes)
            self._rows = aligned(size(whole) * self._item)
            self._plain = admission.rows.array(kind, whole)
            self._weights = ones.array(kind, self._n)
            self._target = self._rows.array(kind, whole)

    def takes(self, x: Array, y: Array) -> bool:
        """Whether this way is open to x, of the shape, and y; the next ``run`` is then theirs.

        Not to other dtypes, orders and alignments, which are for somebody else to convert, and not to arrays with an entry that is
        not finite or a label that is no class, which are for somebody else to refuse.
        """
        # The interface tells all of it at once, in half the time of dtype and flags; no strides: C-contiguous.
        images, labels = x.__array_interface__, y.__array_interface__
        if images["typestr"] != self._kind or labels["typestr"] != _LABELS or labels["shape"] != self._labels:
            return False
        self._images, label = images["data"][0], labels["data"][0]
        if images["strides"] or labels["strides"] or self._images % self._item or label % 8:
            return False
        return self._admission(self._images, self._entries, label, self._n)

    def run(self, scalars: Mapping[str, float]) -> float:
        """The step on what ``takes`` took last, whose images must still be there; the loss before it."""
        compiled = self._compiled
        if self._made is not None:
            self._target[...] = self._made(self._plain, self._weights)
        threads = self._begin(compiled)
        compiled.give(self._images, self._n)
        if compiled.given is not self:
            compiled.set_base(_TARGET, self._rows.address)
            compiled.set_base(_WEIGHT, self._ones.address)
            compiled.given = self
        compiled.set_scalars(scalars)
        compiled.run("all", threads)
        self._end(compiled)
        return compiled.number("loss")
