"""Residual connections (He et al. 2016): y = body(x) + shortcut(x)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vecgrad.layers.base import Layer
from vecgrad.layers.composite import Composite, Wiring
from vecgrad.layers.joins import Add
from vecgrad.layers.sequential import chained


@dataclass(frozen=True, init=False)
class Residual(Composite):
    """body(x) + shortcut(x); without a shortcut, body(x) + x. Each is a layer, or several that make a chain.

    Parameters are named "body.…" and "shortcut.…".

    >>> from vecgrad.layers import Conv2D, ReLU
    >>> block = Residual([Conv2D(8, 3, padding=1), ReLU(), Conv2D(8, 3, padding=1)])
    >>> block.infer((6, 6, 8))
    (6, 6, 8)
    """

    body: Layer
    shortcut: Layer | None = None

    def __init__(
        self,
        body: Layer | Iterable[Layer],
        shortcut: Layer | Iterable[Layer] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        object.__setattr__(self, "body", chained(body))
        object.__setattr__(self, "shortcut", None if shortcut is None else chained(shortcut))
        object.__setattr__(self, "name", name)

    def children(self) -> tuple[tuple[str, Layer], ...]:
        branches = (("body", self.body),) + ((("shortcut", self.shortcut),) if self.shortcut else ())
        return (*branches, ("add", Add()))

    def wiring(self) -> Wiring:
        return ((0,), (0,), (1, 2)) if self.shortcut else ((0,), (1, 0))

    def __str__(self) -> str:
        return "Residual"
