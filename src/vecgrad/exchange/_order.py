"""In which order the features of a vector come in PyTorch: flattened maps have their channels first there.

An order says what a vector is made of, one part behind the other: maps (h, w, c) that were flattened, and numbers of features
that are in no other order there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vecgrad.layers import Add, Composite, Concat, Dense, Flatten, GroupNorm, Layer
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.tensor import Shape, size

Array = np.ndarray[Any, np.dtype[Any]]
Order = tuple[Shape | int, ...]
# Path, layer, its input's shape and order.
Leaf = tuple[str, Layer, Shape, Order]


def leaves(model: Layer, shape: Shape) -> Iterator[Leaf]:
    """The layers that are not made of layers. Raises ShapeError where PyTorch's order has no counterpart here."""
    found: list[Leaf] = []
    _walk(model, (shape,), (_of(shape),), "", found)
    return iter(found)


def places(order: Order) -> Array:
    """For each entry as PyTorch orders them, where it is here.

    >>> places(((1, 2, 2), 1))
    array([0, 2, 1, 3, 4])
    """
    first, parts = 0, []
    for part in order:
        h, w, c = part if isinstance(part, tuple) else (1, 1, part)
        parts.append(first + np.arange(h * w * c).reshape(h, w, c).transpose(2, 0, 1).ravel())
        first += h * w * c
    return np.concatenate(parts)


def _of(shape: Shape) -> Order:
    """Of a value before anything else is known of it: a map as it would be flattened, features in one order."""
    return (shape,) if len(shape) == 3 else (size(shape),)


def _walk(
    model: Layer, shapes: Sequence[Shape], orders: Sequence[Order], path: str, found: list[Leaf]
) -> Order:
    if not isinstance(model, Composite):
        found.append((path, model, shapes[0], orders[0]))
        return _after(model, shapes, orders, path)
    values = [orders[0]]
    for step in model.steps(shapes[0]):
        where = f"{path}.{step.key}" if path else step.key
        values.append(_walk(step.layer, step.before, [values[n] for n in step.sources], where, found))
    return values[-1]


def _after(layer: Layer, shapes: Sequence[Shape], orders: Sequence[Order], path: str) -> Order:
    after = layer.infer_all(tuple(shapes))
    if len(after) == 3 or isinstance(layer, Dense):
        return _of(after)
    if isinstance(layer, Concat):
        return tuple(part for order in orders for part in order)
    if isinstance(layer, Flatten) or after == shapes[0]:
        moved = [places(order) for order in orders]
        if isinstance(layer, Add) and any((each != moved[0]).any() for each in moved):
            raise _no_counterpart(path, layer, "adds features that come in different orders in PyTorch")
        if isinstance(layer, GroupNorm) and layer.groups > 1 and (moved[0] != np.arange(len(moved[0]))).any():
            raise _no_counterpart(
                path, layer, "has other entries of a flattened map in its groups than in PyTorch"
            )
        return orders[0]
    return _of(after)


def _no_counterpart(path: str, layer: Layer, what: str) -> ShapeError:
    return ShapeError(
        f"layer {path}, {layer}, {what}; exchange needs maps there, or features that were not maps"
    )
