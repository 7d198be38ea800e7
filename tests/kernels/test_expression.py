"""Expressions written as vector instructions are what NumPy computes in the same type, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.kernels.builder import Builder
from vecgrad.kernels.expression import Formula, cost
from vecgrad.spec.errors import CompileError
from vecgrad.spec.kernel import MapSpec
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import (
    Binary,
    Compare,
    Const,
    Expr,
    Operand,
    Scalar,
    Unary,
    Where,
    exp,
    maximum,
    minimum,
    where,
)
from vecgrad.spec.tensor import Layout

NAN, INF = float("nan"), float("inf")
_NUMPY = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
}


def by_numpy(expr: Expr, operands: list[Any], scalars: dict[str, float]) -> Any:
    dtype = operands[0].dtype
    match expr:
        case Operand(index):
            return operands[index]
        case Scalar(name):
            return np.full_like(operands[0], scalars[name])
        case Const(value):
            return np.full_like(operands[0], value)
    values = [by_numpy(child, operands, scalars) for child in expr.children]
    if isinstance(expr, Where):
        return np.where(*values)
    result = _NUMPY[expr.op](*values)  # type: ignore[attr-defined]
    return result if isinstance(expr, Compare) else result.astype(dtype)


def compiled(
    lab: Any, machine: Machine, exprs: tuple[Expr, ...], operands: list[Any], scalars: dict[str, float]
) -> list[Any]:
    layout = Layout(1, 1, operands[0].size, operands[0].size, operands[0].dtype.name)
    spec = MapSpec(exprs, (layout,) * len(operands), (layout,) * len(exprs), tuple(scalars))
    outputs = [np.zeros_like(operands[0]) for _ in exprs]
    memories = lab.run(spec, machine, [*operands, *outputs], 1, tuple(scalars.values()))
    found: list[Any] = memories[len(operands) :]
    return found


def trees() -> st.SearchStrategy[Expr]:
    constants = st.sampled_from([0.0, 1.0, -2.0, 0.1, 3.5, NAN, INF])
    leaves = st.one_of(
        st.integers(0, 1).map(Operand), constants.map(Const), st.sampled_from(["rate", "scale"]).map(Scalar)
    )

    def larger(parts: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        compare = st.builds(Compare, st.sampled_from(["lt", "le", "eq"]), parts, parts)
        return st.one_of(
            st.builds(Unary, st.sampled_from(["neg", "abs", "sqrt"]), parts),
            st.builds(Binary, st.sampled_from(["add", "sub", "mul", "div", "max", "min"]), parts, parts),
            st.builds(Where, compare, parts, parts),
        )

    return st.recursive(leaves, larger, max_leaves=12)


VALUES = np.array([0.0, -0.0, 1.0, -1.0, 0.1, -7.25, 3e7, 1e-7, INF, -INF, NAN, 2.0, 1 / 3, -3.0, 5.5, 1e20])


@settings(max_examples=25, deadline=None)
@given(expr=trees(), dtype=st.sampled_from(["float32", "float64"]))
def test_random_trees(expr: Expr, dtype: str) -> None:
    lab = _lab()
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(VALUES, VALUES))
    scalars = {"unused": 3.0, "rate": 0.1, "scale": -2.5}
    with np.errstate(all="ignore"):
        expected = by_numpy(expr, [x, y], scalars)
    for machine in lab.host:
        [found] = compiled(lab, machine, (expr,), [x, y], scalars)
        np.testing.assert_array_equal(found, expected)


_shared: list[Any] = []


@pytest.fixture(autouse=True)
def _share(lab: Any) -> None:
    _shared[:] = [lab]


def _lab() -> Any:
    return _shared[0]


@pytest.mark.parametrize(
    "expr", [maximum(Operand(0), 1), minimum(1, Operand(0)), maximum(Operand(0), Operand(1))]
)
def test_extremes_pass_nan_on(lab: Any, machine: Machine, expr: Expr) -> None:
    x = np.array([NAN, 1, 2, NAN] * 4, np.float32)
    y = np.array([1, NAN, 2, NAN] * 4, np.float32)
    [found] = compiled(lab, machine, (expr,), [x, y], {})
    np.testing.assert_array_equal(found, by_numpy(expr, [x, y], {}))


def test_comparisons_with_nan_are_false(lab: Any, machine: Machine) -> None:
    x = np.full(16, NAN, np.float32)
    exprs = (where(Operand(0) <= 0, 1, 2), where(Operand(0) > 0, 1, 2), where(Operand(0) < Operand(0), 1, 2))
    for found in compiled(lab, machine, exprs, [x], {}):
        np.testing.assert_array_equal(found, 2)


def test_equal_parts_are_written_once() -> None:
    x = Operand(0)
    b = Builder(AVX512)
    vector = b.load(b.vector, b.operand(0), 4)
    Formula(b, (exp(x) * 2, exp(x) * exp(x), exp(x + 0)), ()).write([vector])
    text = b.function("f")
    assert text.count("bitcast") == 2 * 3  # two exponentials: of x and of x + 0
    assert cost((exp(x) * 2, exp(x) * exp(x))) == cost((exp(x),)) + 2


def test_a_scalar_without_entry_is_refused() -> None:
    with pytest.raises(CompileError, match="'rate' has no entry"):
        Formula(Builder(AVX512), (Operand(0) * Scalar("rate"),), ("n",))


def test_negative_and_positive_zero_are_two_constants(lab: Any, machine: Machine) -> None:
    x = np.full(16, 1, np.float32)
    exprs = (where(Operand(0) <= 0, 1, 0.0), where(Operand(0) <= 0, 1, -0.0))
    plus, minus = compiled(lab, machine, exprs, [x], {})
    assert not np.signbit(plus).any()
    assert np.signbit(minus).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_expressions_are_computed_in_step(lab: Any, machine: Machine, dtype: str) -> None:
    """A few vectors at a time as one of their joined width, whatever is left over; short ones and single ones as they are."""
    lanes, together = machine.lanes(dtype), machine.registers // 8
    long = Operand(0) * exp(Operand(0)) + Unary("erf", Operand(0)) * Scalar("half")
    layout = Layout(1, 1, 7 * lanes, 7 * lanes, dtype)

    def written(expr: Expr, count: int, in_step: bool) -> tuple[MapSpec, str]:
        spec = MapSpec((expr,) * count, (layout,), (layout,), ("half", f"{in_step}"))
        b = Builder(machine, dtype)
        formula = Formula(b, [expr], spec.scalars)
        source, target = b.operand(0), b.operand(1)
        rows = [[b.load(b.vector, b.at(source, n * lanes * b.item), b.item)] for n in range(count)]
        found = formula.side_by_side(rows) if in_step else map(formula.write, rows)
        for n, [value] in enumerate(found):
            b.store(value, b.at(target, n * lanes * b.item), b.item)
        return spec, b.function(spec.name)

    wide = f"<{together * lanes} x {'float' if dtype == 'float32' else 'double'}>"
    assert wide in written(long, together, True)[1]
    assert wide not in written(Operand(0) + Scalar("half"), together, True)[1]
    assert wide not in written(long, 1, True)[1]
    values = np.linspace(-3, 3, 7 * lanes, dtype=dtype)
    for count in range(1, 8):
        results = []
        for in_step in (True, False):
            spec, text = written(long, count, in_step)
            operands = [values, np.zeros_like(values)]
            results.append(lab.run(spec, machine, operands, 1, (0.5,), generate=_given(text))[1])
        np.testing.assert_array_equal(results[0].view(np.uint8), results[1].view(np.uint8))
        assert results[0][: count * lanes].any()
        assert not results[0][count * lanes :].any()


def _given(text: str) -> Any:
    def generate(spec: MapSpec, machine: Machine) -> str:
        return text

    return generate
