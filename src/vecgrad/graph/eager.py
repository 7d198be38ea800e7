"""The eager emitter: every primitive computed at once by ``reference``, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vecgrad.graph.evaluate import evaluate
from vecgrad.reference import ops
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr, Operand, Scalar, lift
from vecgrad.spec.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class EagerValue:
    """An array; a batched one has the images in front."""

    array: Array
    batched: bool

    @property
    def shape(self) -> Shape:
        return tuple(self.array.shape[1:] if self.batched else self.array.shape)


class EagerEmitter:
    """Computes in the dtype of what it is given; ``scalars`` are the runtime scalars by name.

    ``marks`` collects what the layers mark, by "scope.name".
    """

    def __init__(self, scalars: Mapping[str, float], dtype: Any, training: bool = False) -> None:
        self.scalars = scalars
        self.training = training
        self.weight: EagerValue | None = None
        self.dtype = np.dtype(dtype)
        self.marks: dict[str, Array] = {}
        self._scopes: list[str] = []
        self._masks = 0

    def conv(self, x: EagerValue, w: EagerValue, g: Conv) -> EagerValue:
        return EagerValue(ops.conv(x.array, w.array, g), True)

    def conv_dx(self, dy: EagerValue, w: EagerValue, g: Conv) -> EagerValue:
        return EagerValue(ops.conv_dx(dy.array, w.array, g), True)

    def conv_dw(self, x: EagerValue, dy: EagerValue, g: Conv) -> EagerValue:
        return EagerValue(ops.conv_dw(x.array, dy.array, g), False)

    def max_pool(self, x: EagerValue, g: Window) -> tuple[EagerValue, EagerValue]:
        y, index = ops.max_pool(x.array, g)
        return EagerValue(y, True), EagerValue(index, True)

    def max_pool_dx(self, dy: EagerValue, index: EagerValue, g: Window) -> EagerValue:
        return EagerValue(ops.max_pool_dx(dy.array, index.array, g), True)

    def avg_pool(self, x: EagerValue, g: Window, count_padding: bool) -> EagerValue:
        return EagerValue(ops.avg_pool(x.array, g, count_padding), True)

    def avg_pool_dx(self, dy: EagerValue, g: Window, count_padding: bool) -> EagerValue:
        return EagerValue(ops.avg_pool_dx(dy.array, g, count_padding), True)

    def map(self, body: Callable[..., Expr], *operands: EagerValue, formula: str = "") -> EagerValue:
        expr = lift(body(*(Operand(i) for i in range(len(operands)))))
        rank = max(len(v.shape) for v in operands)
        arrays = tuple(_aligned(v, rank) for v in operands)
        whole = np.broadcast_shapes(*(a.shape for a in arrays))
        result = evaluate(expr, arrays, self.scalars, self.dtype)
        return EagerValue(
            np.array(np.broadcast_to(result, whole), self.dtype), any(v.batched for v in operands)
        )

    def reduce(
        self, how: Literal["sum", "max"], x: EagerValue, over: Literal["channels", "pixels"]
    ) -> EagerValue:
        array = x.array if x.shape else x.array[..., np.newaxis]
        if over == "channels":
            function = np.sum if how == "sum" else np.max
            return EagerValue(function(array, axis=-1, keepdims=True), x.batched)
        if how != "sum":
            raise ShapeError("reduce over pixels exists for sums only; take the maximum over channels")
        return EagerValue(np.sum(array.reshape(-1, array.shape[-1]), axis=0), False)

    def moments(self, x: EagerValue, weight: EagerValue) -> tuple[EagerValue, EagerValue]:
        mean, variance = ops.moments(x.array, weight.array)
        return EagerValue(mean, False), EagerValue(variance, False)

    def keep(self, x: EagerValue, shape: Shape, rate: float) -> EagerValue:
        seed, step = seeded(self.scalars)
        found = ops.keep(len(x.array), shape, rate, seed, step, self._masks)
        self._masks += 1
        return EagerValue(found, True)

    def concat(self, parts: tuple[EagerValue, ...]) -> EagerValue:
        return EagerValue(np.concatenate([part.array for part in parts], axis=-1), True)

    def part(self, x: EagerValue, first: int, end: int) -> EagerValue:
        return EagerValue(x.array[..., first:end], True)

    def reshape(self, x: EagerValue, shape: Shape) -> EagerValue:
        return EagerValue(x.array.reshape((len(x.array), *shape) if x.batched else shape), x.batched)

    def scalar(self, name: str) -> Expr:
        return Scalar(name)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self._scopes.append(name)
        yield
        self._scopes.pop()

    def mark(self, name: str, value: EagerValue) -> None:
        self.marks[".".join([*self._scopes, name])] = value.array


def seeded(scalars: Mapping[str, float]) -> tuple[int, int]:
    """(seed, step) of the masks from the runtime scalars that carry them; 0 where there are none."""
    low, high, step = (int(scalars.get(name, 0)) for name in ("seed_low", "seed_high", "mask_step"))
    return low + (high << 32), step


def _aligned(value: EagerValue, rank: int) -> Array:
    """The array with its image axis in front of ``rank`` more, so that NumPy broadcasts as ``map`` promises."""
    if not value.batched:
        return value.array
    shape = value.shape
    return value.array.reshape((len(value.array), *(1,) * (rank - len(shape)), *shape))
