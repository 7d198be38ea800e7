"""A chain of layers is itself a layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vecgrad.layers.base import Layer
from vecgrad.layers.composite import Composite, Wiring, keys_of


@dataclass(frozen=True, init=False)
class Sequential(Composite):
    """Layers one behind the other. Each is known by its number, or by its ``name``, and has parameters of its own, also where the
    same object stands twice: layers are shared in a ``Model``, by calling them twice.

    >>> from vecgrad.layers import Conv2D, ReLU
    >>> list(Sequential([Conv2D(8, 3), ReLU()]).parameters((8, 8, 1)))
    ['0.weight', '0.bias']
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer], *, name: str | None = None) -> None:
        chain = tuple(layers)
        keys_of(chain)
        object.__setattr__(self, "layers", chain)
        object.__setattr__(self, "name", name)

    def children(self) -> tuple[tuple[str, Layer], ...]:
        return tuple(zip(keys_of(self.layers), self.layers, strict=True))

    def wiring(self) -> Wiring:
        return tuple((number,) for number in range(len(self.layers)))

    def __str__(self) -> str:
        return f"Sequential of {len(self.layers)} layers"


def chained(layers: Layer | Iterable[Layer]) -> Layer:
    """A layer as it is, several as a chain."""
    return layers if isinstance(layers, Layer) else Sequential(layers)
