"""Scalar expressions in NumPy: what the eager emitter does at every entry at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vecgrad.spec.scalar import Binary, Compare, Const, Expr, Operand, Scalar, Unary, Where


def _erf(x: Any) -> Any:
    """NumPy has none; the standard library's, entry by entry in float64."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(np.result_type(x))


_UNARY: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "erf": _erf,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}
_COMPARE: dict[str, Callable[..., Any]] = {"lt": np.less, "le": np.less_equal, "eq": np.equal}


def evaluate(expr: Expr, operands: tuple[Any, ...], scalars: Mapping[str, float], dtype: Any) -> Any:
    """The expression's value on arrays that broadcast, in ``dtype`` throughout.

    >>> evaluate(Operand(0) * 2 + 1, (np.float32([1, 2]),), {}, np.float32)
    array([3., 5.], dtype=float32)
    """
    real = np.dtype(dtype).type

    def value(node: Expr) -> Any:
        match node:
            case Operand(i):
                return operands[i]
            case Const(v):
                return real(v)
            case Scalar(name):
                return real(scalars[name])
            case Unary(op, a):
                return _UNARY[op](value(a))
            case Binary(op, a, b):
                return _BINARY[op](value(a), value(b))
            case Compare(op, a, b):
                return _COMPARE[op](value(a), value(b))
            case Where(c, a, b):
                return np.where(value(c), value(a), value(b))
        raise TypeError(f"not a scalar expression: {node!r}")

    with np.errstate(all="ignore"):
        return value(expr)
