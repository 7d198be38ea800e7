"""Every statement of the paper holds, is there, can be shown, and can fail."""

from __future__ import annotations

import numpy as np
import pytest

from vecgrad.reference import activations
from vecgrad.reference._statements import activations as relu_statements
from vecgrad.reference._statements._record import Comparison
from vecgrad.reference.equations import TOLERANCE, equations, run, show
from vecgrad.spec.errors import ArgumentError

NUMBERS = [equation.number for equation in equations()]
PAPER = [
    *(f"1.{i}" for i in range(1, 5)),
    *(f"2.{i}" for i in range(1, 31)),
    *(f"4.{i}" for i in range(1, 7)),
    *(f"5.{i}" for i in range(1, 4)),
]


def test_all_43_formulas_are_there_in_order():
    assert len(PAPER) == 43
    assert NUMBERS[:43] == PAPER
    assert len(set(NUMBERS)) == len(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_statement_holds(number):
    (row,) = run([number], seed=1)
    assert row.residual <= TOLERANCE
    assert row.holds
    assert row.trials > 0


@pytest.mark.parametrize("number", NUMBERS)
def test_statement_can_be_shown(number):
    demonstration = show(number)
    assert demonstration.residual <= TOLERANCE
    text = str(demonstration)
    assert text.startswith(f"({number}) ")
    assert "residual" in text
    assert max(map(len, text.splitlines())) <= 120


def test_rows_depend_on_seed_and_number_alone():
    alone = run(["2.28", "adam"], seed=3)
    assert [row for row in run(seed=3) if row.number in ("2.28", "adam")] == alone
    assert run(["2.28"], seed=4) != alone[:1]


def test_numbers_may_come_in_parentheses():
    assert run(["(2.21)"])[0].number == "2.21"
    assert show("(2.16')").equation.number == "2.16'"


def test_an_unknown_number_is_named():
    with pytest.raises(ArgumentError, match=r"2\.31.*choose one of 1\.1, 1\.2"):
        run(["2.31"])
    with pytest.raises(ArgumentError, match="nothing"):
        show("nothing")


def test_a_wrong_formula_is_seen(monkeypatch):
    wrong = lambda dy, x: np.where(x >= 0, dy, 0)  # noqa: E731 - ReLU'(0) = 1
    monkeypatch.setattr(relu_statements, "relu_dx", wrong)
    assert not run(["5.2"])[0].holds
    monkeypatch.setattr(relu_statements, "relu_dx", activations.relu_dx)
    assert run(["5.2"])[0].holds


def test_residual():
    one, nan = np.ones(2), np.array([1.0, np.nan])
    assert Comparison("", one, "", one[:1]).residual == np.inf
    assert Comparison("", one, "", nan).residual == np.inf
    assert Comparison("", nan, "", nan).residual == 0
    assert Comparison("", 0 * one, "", 0 * one).residual == 0
    assert Comparison("", one[:0], "", one[:0]).residual == 0
    assert Comparison("", 4 * one, "", 5 * one).residual == 0.2
    assert Comparison("", one * np.inf, "", one * np.inf).residual == 0
    assert Comparison("", one * np.inf, "", one).residual == np.inf
    assert Comparison("", one, "", one * np.inf).residual == np.inf
    assert Comparison("", np.zeros(2, int), "", np.zeros(2, int)).residual == 0
    assert Comparison("", np.array([1]), "", np.array([2])).residual == 0.5
