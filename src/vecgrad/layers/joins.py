"""Layers with several inputs: their sum, and their channels side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any

from vecgrad.layers.base import Join
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class Add(Join):
    """The sum of its inputs, which have one shape; each input's gradient is ∂z/∂y itself.

    >>> Add().infer_all(((4, 4, 8), (4, 4, 8)))
    (4, 4, 8)
    """

    def infer_all(self, shapes: tuple[Shape, ...]) -> Shape:
        _several(shapes)
        if len(set(shapes)) > 1:
            raise ShapeError(
                f"the shapes {' and '.join(map(str, shapes))} differ; bring them to one, for example by a 1×1 "
                f"convolution with a stride"
            )
        return shapes[0]

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.map(lambda *parts: reduce(add, parts), *x, formula="sum"), len(x)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return (dy,) * saved, {}


@dataclass(frozen=True)
class Concat(Join):
    """The channels of its inputs side by side, in order; each input's gradient is its part of ∂z/∂y.

    Inputs are maps of one height and width, or vectors.

    >>> Concat().infer_all(((4, 4, 8), (4, 4, 3)))
    (4, 4, 11)
    """

    def infer_all(self, shapes: tuple[Shape, ...]) -> Shape:
        _several(shapes)
        if len({(len(shape), shape[:-1]) for shape in shapes}) > 1:
            raise ShapeError(
                f"the shapes {' and '.join(map(str, shapes))} differ in more than their channels; "
                f"channels are joined pixel by pixel, so bring maps to one height and width"
            )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        return e.concat(x), tuple(value.shape[-1] for value in x)

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        ends = tuple(accumulate(saved))
        return tuple(e.part(dy, end - count, end) for count, end in zip(saved, ends, strict=True)), {}


def _several(shapes: tuple[Shape, ...]) -> None:
    if len(shapes) < 2:
        raise ShapeError("joins two values or more, got one; call it on several, as in Add()(a, b)")
