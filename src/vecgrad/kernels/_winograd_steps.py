"""The one-dimensional transforms of F(4, 3), with shared subexpressions: each is a matrix of ``spec.winograd``.

They take and give vectors (or anything that a builder can add and multiply); the order of operations is part
of the bits. The points ±a, and ±b = ±1/a, share what is even in them and what is odd. So what maps go through comes in
pairs of points, which can be had one behind the other where registers do not hold all six.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction

from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.winograd import POINTS

# What a column or row of a patch has at a place; asked for when it is needed.
Read = Callable[[int], Value]
# The numbers at a pair of points.
Step = Callable[[Builder, Read, int], list[Value]]

# Pairs of points by their places among the six: 0 and infinity, ±a, ±b.
PAIRS = ((0, 5), (1, 2), (3, 4))

_A, _B = POINTS[1], POINTS[3]
# Nᵢ at ±a and at ±b: the same for both signs.
_N_A, _N_B = 2 * _A**2 * (_A**2 - _B**2), 2 * _B**2 * (_B**2 - _A**2)


def inputs(b: Builder, d: Read, pair: int) -> list[Value]:
    """Two rows of Bᵀ d: six inputs of four outputs, at a pair of points (12 operations in all, 14 one pair after the other)."""
    # M(x) = x (x² − a²)(x² − b²), M / (x ∓ a) = (x² ± a x)(x² − b²), and a² b² = 1.
    a_square, b_square = _number(b, _A**2), _number(b, _B**2)
    if pair == 2:
        return _pair(b, _B, b.fnma(d(2), a_square, d(4)), b.fnma(d(1), a_square, d(3)))
    even, odd = b.fnma(d(2), b_square, d(4)), b.fnma(d(1), b_square, d(3))
    if pair == 1:
        return _pair(b, _A, even, odd)
    return [
        b.fadd(b.fnma(d(2), a_square, d(0)), even),
        b.fnma(odd, a_square, b.fnma(d(3), b_square, d(5))),
    ]


def outputs(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Aᵀ m: four outputs from the six points (12 operations)."""
    (even_a, odd_a), (even_b, odd_b) = _parts(b, m[1], m[2]), _parts(b, m[3], m[4])
    return [
        b.fadd(b.fadd(m[0], even_a), even_b),
        _both(b, _A, odd_a, _B, odd_b),
        _both(b, _A**2, even_a, _B**2, even_b),
        _both(b, _A**3, odd_a, _B**3, odd_b, m[5]),
    ]


def gradients(b: Builder, y: Read, pair: int) -> list[Value]:
    """Two rows of A y: the gradients of four outputs, at a pair of points (8 operations in all)."""
    if pair == 0:
        return [y(0), y(3)]
    point = (_A, _B)[pair - 1]
    square = _number(b, point**2)
    return _pair(b, point, b.fma(square, y(2), y(0)), b.fma(square, y(3), y(1)))


def once(read: Read) -> Read:
    """The same, each place once."""
    return functools.cache(read)


def at_all(step: Step, b: Builder, values: Read) -> list[Value]:
    """A step's numbers at all six points, in their order."""
    found = {
        place: value
        for n, pair in enumerate(PAIRS)
        for place, value in zip(pair, step(b, values, n), strict=True)
    }
    return [found[place] for place in sorted(found)]


def weights(b: Builder, w: Sequence[Value]) -> list[Value]:
    """G w: three taps, at the six points (10 operations)."""
    found = [w[0]]
    for point, n in ((_A, _N_A), (_B, _N_B)):
        pair = _pair(b, point, b.fma(_number(b, point**2), w[2], w[0]), w[1])
        found += [b.fmul(each, _number(b, 1 / n)) for each in pair]
    return [*found, w[2]]


def weight_gradients(b: Builder, s: Sequence[Value]) -> list[Value]:
    """Gᵀ s: the gradients of three taps from the six points (10 operations)."""
    (even_a, odd_a), (even_b, odd_b) = _parts(b, s[1], s[2]), _parts(b, s[3], s[4])
    return [
        _both(b, 1 / _N_A, even_a, 1 / _N_B, even_b, s[0]),
        _both(b, _A / _N_A, odd_a, _B / _N_B, odd_b),
        _both(b, _A**2 / _N_A, even_a, _B**2 / _N_B, even_b, s[5]),
    ]


def _number(b: Builder, exact: Fraction) -> Value:
    return b.number(float(exact))


def _pair(b: Builder, point: Fraction, even: Value, odd: Value) -> list[Value]:
    """A polynomial at ±point: its even terms, and the odd ones without a factor of the point."""
    factor = _number(b, point)
    return [b.fma(odd, factor, even), b.fnma(odd, factor, even)]


def _parts(b: Builder, plus: Value, minus: Value) -> tuple[Value, Value]:
    """What ±point give to an even and to an odd row, but for a power of the point."""
    return b.fadd(plus, minus), b.fsub(plus, minus)


def _both(
    b: Builder, p: Fraction, at_a: Value, q: Fraction, at_b: Value, start: Value | None = None
) -> Value:
    """p · at_a + q · at_b, and ``start`` where there is one."""
    p_at_a = b.fmul(_number(b, p), at_a) if start is None else b.fma(_number(b, p), at_a, start)
    return b.fma(_number(b, q), at_b, p_at_a)
