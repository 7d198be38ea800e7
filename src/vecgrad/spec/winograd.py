"""Winograd's minimal filtering F(4, 3) as exact numbers: four outputs of a kernel of three taps by six products.

A polynomial of degree 5 is known by its values at six points. So the product of a polynomial of 4 coefficients
with one of 3 takes one multiplication at each of six points, one of which may be infinity (the highest
coefficient). Transposed, that is a convolution: y = Aᵀ [(G w) ∘ (Bᵀ x)], and for images and kernels
y = Aᵀ [(G w Gᵀ) ∘ (Bᵀ x B)] A: 36 products where 4 · 4 outputs of 9 taps take 144.

Each point may be any number, and decides how large the entries of the three matrices become: what the products lose
to rounding, they multiply. Pairs ±a and ±1/a, which others found to keep them small, share their even and odd terms too.
Of two dozen choices that were simulated, a = ⅔ rounded least: about two thirds of what 0, ±1, ½, −2 does, and half of what
the usual 0, ±1, ±2 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

OUTPUTS = 4
TAPS = 3
INPUTS = OUTPUTS + TAPS - 1

# The finite points; infinity is the last one.
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Transforms:
    """Bᵀ (6 × 6) for inputs, G (6 × 3) for kernels, Aᵀ (4 × 6) for what comes out."""

    bt: Matrix
    g: Matrix
    at: Matrix


def cook_toom(points: Sequence[Fraction] = POINTS, outputs: int = OUTPUTS) -> Transforms:
    """The three matrices for distinct finite ``points`` and infinity.

    With M(x) = ∏ (x − aᵢ), Mᵢ = M / (x − aᵢ) and Nᵢ = Mᵢ(aᵢ): Aᵀ holds the powers of the points; row i of G the
    powers of aᵢ over Nᵢ; row i of Bᵀ the coefficients of Mᵢ, its last row those of M.

    >>> [str(entry) for entry in cook_toom().bt[0]]
    ['1', '0', '-97/36', '0', '1', '0']
    """
    count = len(points) + 1
    taps = count - outputs + 1
    one, zero = Fraction(1), Fraction(0)
    bt, g = [], []
    for i, a in enumerate(points):
        others = [p for j, p in enumerate(points) if j != i]
        factor = one
        for p in others:
            factor *= a - p
        bt.append((*_from_roots(others), zero))
        g.append(tuple(a**power / factor for power in range(taps)))
    bt.append(tuple(_from_roots(points)))
    g.append((zero,) * (taps - 1) + (one,))
    at = [(*(a**power for a in points), one if power == outputs - 1 else zero) for power in range(outputs)]
    return Transforms(tuple(bt), tuple(g), tuple(at))


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of ∏ (x − root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients
