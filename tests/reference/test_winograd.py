"""Winograd's algorithm in exact arithmetic, and in float64."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from vecgrad.reference import ops, winograd
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.winograd import INPUTS, OUTPUTS, TAPS, cook_toom


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 6), (7, 9)])
@pytest.mark.parametrize("padding", [0, 1, 2, 3, ((0, 2), (1, 0))])
def test_fractions_equal_direct_convolution(size: tuple[int, int], padding: object) -> None:
    winograd.check(Conv(window(size, 3, 1, padding), 2, 3), images=2)  # type: ignore[arg-type]


def test_float64_comes_near() -> None:
    g = Conv(window((9, 6), 3, padding=1), 5, 7)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(s) for s in ((3, *g.in_shape), g.weight_shape, (3, *g.out_shape)))
    for found, wanted in (
        (winograd.conv(x, w, g), ops.conv(x, w, g)),
        (winograd.conv_dx(dy, w, g), ops.conv_dx(dy, w, g)),
        (winograd.conv_dw(x, dy, g), ops.conv_dw(x, dy, g)),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(
    "points", [None, (0, 1, -1, 2, -2), (0, 1, 2, 3, 4), (Fraction(1, 2), Fraction(-1, 3), 5, 1, 0)]
)
def test_any_points_give_the_convolution(points: tuple[int, ...] | None) -> None:
    t = cook_toom() if points is None else cook_toom([Fraction(p) for p in points])
    for p, r, i in itertools.product(range(OUTPUTS), range(TAPS), range(INPUTS)):
        total = sum(t.at[p][n] * t.g[n][r] * t.bt[n][i] for n in range(INPUTS))
        assert total == (1 if i == p + r else 0)


def test_other_geometries_are_refused() -> None:
    g = Conv(window((8, 8), 3, stride=2), 1, 1)
    with pytest.raises(ShapeError, match="stride 1"):
        winograd.conv(np.zeros((1, 8, 8, 1)), np.zeros((3, 3, 1, 1)), g)
