"""Derivatives along directions, from forward alone, and what rounding makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vecgrad.spec.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]
Point = dict[str, Array]

# Steps of the differences. The largest serves smooth functions; the smaller ones slip between kinks.
_STEPS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Roundings, in units of the last place of the value, that a forward pass may be off by: sums of many terms, and
# normalizations, which divide by differences.
_ROUNDINGS = 100.0
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Problem:
    """A function of several arrays and what its backward pass makes of ∂z/∂y. fixed: those that have no gradient."""

    where: str
    draw: Callable[[np.random.Generator], Point]
    forward: Callable[[Point], Array]
    backward: Callable[[Point, Array], Point]
    output: Shape
    fixed: frozenset[str]


@dataclass(frozen=True)
class Measured:
    """A derivative along a direction; ``doubt`` bounds what is unsure about it.

    ``coarse`` is the derivative at the largest step, and ``noise`` what rounding alone may make of it: forward is off by some
    roundings of Σ |∂z/∂y| |y|, in each of the values whose weighted difference is divided by the step. Where both that and
    what backward says stay below it, the derivative is zero as far as numbers of 64 bits can tell.
    """

    value: float
    doubt: float
    method: Literal["adjoint", "differences"]
    coarse: float
    noise: float


def along(problem: Problem, point: Point, dy: Array, subject: str, u: Array) -> Measured:
    """The derivative of ⟨dy, forward⟩ along u, from forward alone."""

    def y(t: float) -> Array:
        return problem.forward({**point, subject: point[subject] + t * u})

    here, ahead, behind, half = y(0.0), y(1.0), y(-1.0), y(0.5)
    largest = np.maximum(np.maximum(np.abs(here), np.abs(ahead)), np.abs(behind))
    rounding = _ROUNDINGS * _EPSILON * float(np.vdot(np.abs(dy), largest))
    size = max(float(np.max(np.abs(array), initial=0.0)) for array in (here, ahead, behind))
    bends = (ahead + behind - 2.0 * here, ahead + here - 2.0 * half)
    if all(np.max(np.abs(bend), initial=0.0) <= 1e-13 * max(size, 1e-300) for bend in bends):
        value = float(np.vdot(dy, 0.5 * (ahead - behind)))
        return Measured(value, 0.0, "adjoint", value, rounding)

    def difference(h: float) -> float:
        near, far = y(h) - y(-h), y(2.0 * h) - y(-2.0 * h)
        return float(np.vdot(dy, 8.0 * near - far)) / (12.0 * h)

    found = [difference(h) for h in _STEPS]
    pairs = [(abs(a - b), b) for a, b in itertools.pairwise(found)]
    doubt, value = min(pairs, key=lambda pair: pair[0] if pair[0] == pair[0] else np.inf)
    # The weights 8, 8, 1 and 1 of four values, over 12 steps.
    noise = 1.5 * rounding / _STEPS[0]
    return Measured(value, doubt if doubt == doubt else np.inf, "differences", found[0], noise)


def wrong_entry(
    problem: Problem, point: Point, dy: Array, subject: str, gradient: Array, u: Array
) -> tuple[int, ...]:
    """An entry at which backward and forward differ, by bisection: each half's disagreement is measured."""
    entries = np.arange(u.size)

    def disagreement(chosen: Array) -> float:
        part = np.zeros(u.size)
        part[chosen] = u.reshape(-1)[chosen]
        said = float(gradient.reshape(-1) @ part)
        return abs(said - along(problem, point, dy, subject, part.reshape(u.shape)).value)

    while len(entries) > 1:
        middle = len(entries) // 2
        entries = max(entries[:middle], entries[middle:], key=disagreement)
    return tuple(int(i) for i in np.unravel_index(int(entries[0]), u.shape))
