"""Expressions in NumPy: in the type that was asked for, from the first operation to the last."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vecgrad.graph.evaluate import evaluate
from vecgrad.spec import scalar as s
from vecgrad.spec.scalar import Expr, Operand, Scalar

X, Y = Operand(0), Operand(1)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (X + Y * 2 - 1, lambda x, y: x + y * 2 - 1),
        (X / Y, lambda x, y: x / y),
        (-X, lambda x, y: -x),
        (s.exp(X) - s.log(s.absolute(Y)), lambda x, y: math.exp(x) - math.log(abs(y))),
        (s.sqrt(s.absolute(X)) * s.tanh(Y), lambda x, y: math.sqrt(abs(x)) * math.tanh(y)),
        (s.erf(X) + Y, lambda x, y: math.erf(x) + y),
        (s.maximum(X, Y), max),
        (s.minimum(X, Y), min),
        (s.where(X < Y, X, 2), lambda x, y: x if x < y else 2),
        (s.where(X <= Y, X, 2), lambda x, y: x if x <= y else 2),
        (s.where(s.equal(X, Y), 1, 0), lambda x, y: float(x == y)),
        (Scalar("rate") * X, lambda x, y: 0.5 * x),
    ],
    ids=lambda value: str(value) if isinstance(value, Expr) else "",
)
def test_against_python(expr: Expr, expected: Any) -> None:
    pairs = [(-1.5, 2.0), (0.25, 0.25), (3.0, -0.5)]
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    found = evaluate(expr, (x, y), {"rate": 0.5}, np.float64)
    np.testing.assert_allclose(found, [expected(*p) for p in pairs], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_and_scalars_have_the_type_of_the_whole(dtype: Any) -> None:
    found = evaluate(X * 0.1 + Scalar("a"), (np.array([1.0, 2.0], dtype),), {"a": 0.3}, dtype)
    assert found.dtype == dtype
    expected = np.array([1.0, 2.0], dtype) * dtype(0.1) + dtype(0.3)
    np.testing.assert_array_equal(found, expected)


def test_nan_passes_maximum_and_fails_comparisons() -> None:
    nan = np.array([math.nan])
    assert np.isnan(evaluate(s.maximum(X, 0), (nan,), {}, np.float64)).all()
    assert np.isnan(evaluate(s.minimum(0, X), (nan,), {}, np.float64)).all()
    for condition in (X < 0, X <= 0, X > 0, s.equal(X, X)):
        assert evaluate(s.where(condition, 1, 2), (nan,), {}, np.float64) == 2
