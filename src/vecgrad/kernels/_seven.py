"""Operands of Strassen's seven products, in Winograd's form, from factors in quadrants; ``reference.strassen`` has the algebra."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vecgrad.kernels.builder import Builder, Value

# The products' operands in the order of the chains: left x₁₁, x₁₂, s₂, s₃, x₂₂, s₁, s₄, right w₁₁, w₂₁, t₂, t₃, −t₄, t₁, w₂₂.
CHAINS = 7
SUMS = 4
Quadrant = tuple[int, int]
QUADRANTS: tuple[Quadrant, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))


def left_sums(b: Builder, x: Mapping[Quadrant, Value]) -> list[Value]:
    """s₁ … s₄ of a vector of each quadrant."""
    s1 = b.fadd(x[1, 0], x[1, 1])
    s2 = b.fsub(s1, x[0, 0])
    return [s1, s2, b.fsub(x[0, 0], x[1, 0]), b.fsub(x[0, 1], s2)]


def right(b: Builder, w: Callable[[int, int], Value]) -> list[Callable[[], Value]]:
    """The seven right operands of ``w(i, j)``, a vector of quadrant (i, j); each is made when it is asked for."""

    def t1() -> Value:
        return b.fsub(w(0, 1), w(0, 0))

    def t2() -> Value:
        return b.fsub(w(1, 1), t1())

    return [
        lambda: w(0, 0),
        lambda: w(1, 0),
        t2,
        lambda: b.fsub(w(1, 1), w(0, 1)),
        lambda: b.fsub(w(1, 0), t2()),
        t1,
        lambda: w(1, 1),
    ]
