"""Every numbered formula of the paper, and each thing that the project adds, as something to run.

A row computes both sides of a statement by different code (seven loops, exact integer differences,
complex steps, matrices filled entry by entry) on random shapes and reports how far they are apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference._statements import (
    activations,
    backward,
    chain,
    forward,
    general,
    indices,
    learning,
    normalizing,
    pooling,
)
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Comparison, Equation, Trial
from vecgrad.spec.errors import ArgumentError

TOLERANCE = 1e-12
"""The largest relative residual, in float64, of a statement that holds."""
LINE = 110
"""Characters in a line of a demonstration."""

__all__ = ["TOLERANCE", "Comparison", "Demonstration", "Equation", "Row", "Trial", "equations", "run", "show"]


@dataclass(frozen=True)
class Row:
    """One statement tried: the largest relative residual over its trials."""

    number: str
    statement: str
    trials: int
    residual: float

    @property
    def holds(self) -> bool:
        return self.residual <= TOLERANCE


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One statement on a small instance; ``str`` of it is a page for a person."""

    equation: Equation
    instance: Trial

    @property
    def residual(self) -> float:
        return self.instance.residual

    def __str__(self) -> str:
        lines = [f"({self.equation.number}) {self.equation.title}", f"    {self.equation.statement}", ""]
        for name, array in self.instance.given.items():
            lines += _block(name, array)
        for comparison in self.instance.compared:
            left = _block(comparison.left_name, comparison.left)
            right = _block(f"= {comparison.right_name}", comparison.right)
            lines += ["", *_beside(left, right), f"residual {comparison.residual:.1e}"]
        return "\n".join(lines)


def equations() -> list[Equation]:
    """All statements: the 43 numbered formulas in the paper's order, then those of section 6 by name.

    >>> [e.number for e in equations()][:4], len(equations()) > 60
    (['1.1', '1.2', '1.3', '1.4'], True)
    """
    numbered = (chain, forward, indices, backward, pooling, activations)
    added = (
        *indices.GENERAL,
        *general.EQUATIONS,
        *pooling.GENERAL,
        *activations.GENERAL,
        *normalizing.GENERAL,
        *learning.EQUATIONS,
    )
    return [*(equation for part in numbered for equation in part.EQUATIONS), *added]


def run(numbers: Iterable[str] | None = None, seed: int = 0, trials: int = 8) -> list[Row]:
    """Try statements (all, or those numbered) on ``trials`` random instances each.

    A row's instances depend on the seed and on its number alone. Raises ArgumentError for an unknown number.

    >>> run(["2.21"])[0].residual < TOLERANCE
    True
    """
    chosen = equations() if numbers is None else [_find(number) for number in numbers]
    rows = []
    for equation in chosen:
        rng = _generator(equation.number, seed)
        residual = max((equation.check(rng) for _ in range(trials)), default=0.0)
        rows.append(Row(equation.number, equation.statement, trials, residual))
    return rows


def show(number: str, seed: int = 0) -> Demonstration:
    """One statement on an instance small enough to read. Raises ArgumentError for an unknown number.

    >>> print(str(show("2.10")).splitlines()[1].strip())
    (A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ
    """
    equation = _find(number)
    return Demonstration(equation, equation.trial(Draw(_generator(equation.number, seed), small=True)))


def _find(number: str) -> Equation:
    name = number.strip().strip("()").replace("’", "'")
    for equation in equations():
        if equation.number == name:
            return equation
    known = ", ".join(equation.number for equation in equations())
    raise ArgumentError(f"there is no equation {number!r}; choose one of {known}")


def _generator(number: str, seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(number.encode())))


def _block(name: str, array: Array) -> list[str]:
    """The name, and the array below it without blank lines; one line for a number or a vector."""
    with np.printoptions(precision=4, suppress=True, linewidth=100, threshold=600):
        text = str(array + 0.0 if array.dtype.kind == "f" else array)  # + 0.0 turns −0 into 0
    if array.ndim < 2 and "\n" not in text:
        return [f"{name}: {text}"]
    size = " × ".join(map(str, array.shape))
    return [f"{name} ({size}):", *(f"    {line}" for line in text.splitlines() if line.strip())]


def _beside(left: list[str], right: list[str]) -> list[str]:
    """Two blocks side by side where a line of a terminal holds both, else one below the other."""
    width = max(map(len, left)) + 4
    if len(left) == 1 or width + max(map(len, right)) > LINE:
        return left + right
    rows = zip_longest(left, right, fillvalue="")
    return [f"{a:<{width}}{b}".rstrip() for a, b in rows]
