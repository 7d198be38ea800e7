"""What a program asks of whatever computes for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vecgrad.graph.build import Wanted
from vecgrad.kernels.reasons import Algorithm

if TYPE_CHECKING:
    from vecgrad.program.shortcut import Shortcut
    from vecgrad.program.stepping import Stepping

Array = np.ndarray[Any, np.dtype[Any]]


class Backend(Protocol):
    """Owns the flat arrays. ``weights`` may be written, then ``changed`` must be called; ``state`` likewise.

    ``threads``: the most that work for it, None where the process's number decides. ``algorithm``: as in ``compile``.
    """

    name: str
    threads: int | None
    algorithm: Algorithm
    weights: Array
    state: dict[str, Array]

    def changed(self) -> None: ...

    def run(
        self, wanted: Wanted, x: Array, t: Array | None, w: Array | None, scalars: Mapping[str, float]
    ) -> dict[str, Array]: ...

    def shortcut(self, wanted: Wanted, name: str, n: int) -> Shortcut | None: ...

    def step(self, x: Array, t: Array, w: Array, scalars: Mapping[str, float]) -> float: ...

    def stepping(self, n: int) -> Stepping | None: ...
