"""The scalar expression language: trees are built as written, and what means nothing is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vecgrad.spec import scalar as s
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.scalar import Binary, Compare, Const, Expr, Operand, Scalar, Unary

X, Y = Operand(0), Operand(1)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (X + Y, "(x0 + x1)"),
        (1 + X, "(1 + x0)"),
        (X - 0.5, "(x0 - 0.5)"),
        (0.5 - X, "(0.5 - x0)"),
        (X * Y / 3, "((x0 * x1) / 3)"),
        (3 / X, "(3 / x0)"),
        (-X, "-x0"),
        (s.exp(X) + s.log(Y), "(exp(x0) + log(x1))"),
        (s.sqrt(s.tanh(s.absolute(X))), "sqrt(tanh(abs(x0)))"),
        (s.maximum(X, 0), "max(x0, 0)"),
        (s.minimum(1, Y), "min(1, x1)"),
        (s.where(X > 0, X, Y), "where((0 < x0), x0, x1)"),
        (s.where(X >= Y, 1, 0), "where((x1 <= x0), 1, 0)"),
        (s.where(s.equal(X, Y), 1, 0), "where((x0 == x1), 1, 0)"),
        (Scalar("rate") * X, "(rate * x0)"),
    ],
)
def test_operators_build_the_tree_that_is_written(expr: Expr, text: str) -> None:
    assert str(expr) == text


def test_equal_trees_are_equal_and_serve_as_keys() -> None:
    assert Operand(0) * 2.0 + 1 == X * 2 + 1
    assert hash(X * 2 + 1) == hash(Operand(0) * 2 + 1)
    assert X * 2 + 1 != X * 2 + 2
    assert len({X, Operand(0), Y}) == 2


def test_substitute_puts_trees_in_place_of_operands() -> None:
    expr = s.where(X < Y, s.exp(X), -Y)
    assert str(s.substitute(expr, (Y * 2, X))) == "where(((x1 * 2) < x0), exp((x1 * 2)), -x0)"
    constant = Const(3.0)
    assert s.substitute(constant, ()) is constant
    assert s.substitute(Scalar("a"), ()) == Scalar("a")


def test_nodes_come_children_first() -> None:
    expr = s.where(X < 1, X * Y, Scalar("a"))
    found = list(s.nodes(expr))
    assert found[-1] is expr
    for node in found:
        for child in node.children:
            assert found.index(child) < found.index(node)


def test_scalars_are_named_once_in_order() -> None:
    expr = Scalar("b") * X + Scalar("a") * (Y - Scalar("b"))
    assert s.scalars(expr) == ("b", "a")
    assert s.scalars(X + 1) == ()


def test_numbers_become_constants() -> None:
    assert s.lift(2) == Const(2.0)
    assert s.lift(X) is X


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: (X > 0) * X,
        lambda: X * (X > 0),
        lambda: -(X > 0),
        lambda: 1 - (X > 0),
        lambda: s.exp(X > 0),
        lambda: s.maximum(X > 0, 1),
        lambda: s.where(X > 0, X < 1, 0),
        lambda: (X > 0) < Y,
        lambda: s.lift(X > 0),
    ],
)
def test_a_comparison_is_no_number(wrong: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match="where"):
        wrong()


@pytest.mark.parametrize("condition", [X, X == Y, True, Binary("add", X, Y)])
def test_where_needs_a_comparison(condition: object) -> None:
    with pytest.raises(ArgumentError, match="equal"):
        s.where(condition, X, Y)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [lambda: max(X, 0), lambda: min(X, Y), lambda: 1 if X > 0 else 0, lambda: X and Y, lambda: 0 < X < 1],
)
def test_python_cannot_choose_for_all_entries(wrong: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match="no truth value"):
        wrong()


def test_the_operations_are_a_closed_set() -> None:
    made = (s.exp(X), s.log(X), s.sqrt(X), s.tanh(X), s.erf(X), s.absolute(X), -X)
    assert {node.op for node in made if isinstance(node, Unary)} == set(s.UNARY)
    assert isinstance(X < Y, Compare)
    assert set(s.COMPARE) == {"lt", "le", "eq"}
