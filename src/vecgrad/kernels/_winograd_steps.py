"""The one-dimensional transforms of F(4, 3), with shared subexpressions: each is a matrix of ``spec.winograd``.

They take and give vectors (or anything that a builder can add and multiply); the order of operations is part
of the bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vecgrad.kernels.builder import Builder, Value

Step = Callable[[Builder, Sequence[Value]], list[Value]]


def inputs(b: Builder, d: Sequence[Value]) -> list[Value]:
    """Bᵀ d: six inputs of four outputs, at the six points (14 operations)."""
    x1_5 = b.number(1.5)
    e, f = b.fsub(d[3], d[1]), b.fsub(d[4], d[2])
    g, h = b.fma(x1_5, d[3], f), b.fma(x1_5, d[2], e)
    return [
        b.fma(x1_5, e, b.fma(b.number(-2.0), d[2], b.fadd(d[0], d[4]))),
        b.fadd(g, h),
        b.fsub(g, h),
        b.fma(b.number(2.0), e, f),
        b.fma(b.number(-0.5), e, f),
        b.fma(x1_5, f, b.fma(b.number(-2.0), d[3], b.fadd(d[1], d[5]))),
    ]


def outputs(b: Builder, m: Sequence[Value]) -> list[Value]:
    """Aᵀ m: four outputs from the six points (12 operations)."""
    s, d = b.fadd(m[1], m[2]), b.fsub(m[1], m[2])
    return [
        b.fadd(b.fadd(m[0], s), b.fadd(m[3], m[4])),
        b.fma(b.number(-2.0), m[4], b.fma(b.number(0.5), m[3], d)),
        b.fma(b.number(4.0), m[4], b.fma(b.number(0.25), m[3], s)),
        b.fma(b.number(-8.0), m[4], b.fma(b.number(0.125), m[3], b.fadd(d, m[5]))),
    ]


def gradients(b: Builder, y: Sequence[Value]) -> list[Value]:
    """A y: the gradients of four outputs, at the six points (10 operations)."""
    even, odd = b.fadd(y[0], y[2]), b.fadd(y[1], y[3])
    quarter, four = b.number(0.25), b.number(4.0)
    half_even, half_odd = b.fma(quarter, y[2], y[0]), b.fma(quarter, y[3], y[1])
    two_even, two_odd = b.fma(four, y[2], y[0]), b.fma(four, y[3], y[1])
    return [
        y[0],
        b.fadd(even, odd),
        b.fsub(even, odd),
        b.fma(b.number(0.5), half_odd, half_even),
        b.fma(b.number(-2.0), two_odd, two_even),
        y[3],
    ]


def weights(b: Builder, w: Sequence[Value]) -> list[Value]:
    """G w: three taps, at the six points (11 operations)."""
    third = b.number(1 / 3)
    even, odd = b.fmul(b.fadd(w[0], w[2]), third), b.fmul(w[1], third)
    half = b.fma(b.number(0.5), w[1], b.fma(b.number(0.25), w[2], w[0]))
    two = b.fma(b.number(-2.0), w[1], b.fma(b.number(4.0), w[2], w[0]))
    return [
        w[0],
        b.fadd(odd, even),
        b.fsub(odd, even),
        b.fmul(half, b.number(-16 / 15)),
        b.fmul(two, b.number(1 / 15)),
        w[2],
    ]


def weight_gradients(b: Builder, s: Sequence[Value]) -> list[Value]:
    """Gᵀ s: the gradients of three taps from the six points (11 operations)."""
    third = b.number(1 / 3)
    even, odd = b.fadd(s[1], s[2]), b.fsub(s[1], s[2])
    return [
        b.fma(b.number(1 / 15), b.fma(b.number(-16.0), s[3], s[4]), b.fma(third, odd, s[0])),
        b.fma(b.number(-2 / 15), b.fma(b.number(4.0), s[3], s[4]), b.fmul(third, even)),
        b.fma(b.number(4 / 15), b.fsub(s[4], s[3]), b.fma(third, odd, s[5])),
    ]
