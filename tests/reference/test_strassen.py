"""Strassen's algorithm, exact on integers, and in float64."""

from __future__ import annotations

import numpy as np
import pytest

from vecgrad.reference import ops, strassen
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, window


@pytest.mark.parametrize("size", [(1, 2), (4, 4), (5, 6), (2, 1)])
@pytest.mark.parametrize(("channels", "filters"), [(2, 2), (6, 4), (8, 10)])
def test_integers_equal_direct_convolution(size: tuple[int, int], channels: int, filters: int) -> None:
    strassen.check(Conv(window(size, 1), channels, filters), images=3)


def test_float64_comes_near() -> None:
    g = Conv(window((6, 3), 1), 10, 14)
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(s) for s in ((3, *g.in_shape), g.weight_shape, (3, *g.out_shape)))
    for found, wanted in (
        (strassen.conv(x, w, g), ops.conv(x, w, g)),
        (strassen.conv_dx(dy, w, g), ops.conv_dx(dy, w, g)),
        (strassen.conv_dw(x, dy, g), ops.conv_dw(x, dy, g)),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_other_geometries_are_refused() -> None:
    x, w = np.zeros((1, 3, 3, 2)), np.zeros((1, 1, 2, 2))
    with pytest.raises(ShapeError, match="stride 1"):
        strassen.conv(x, w, Conv(window((3, 3), 1, stride=2), 2, 2))
    with pytest.raises(ShapeError, match="not 3 × 3"):
        strassen.conv(x, w, Conv(window((3, 3), 1), 2, 2))
    with pytest.raises(ShapeError, match="even sides"):
        strassen.product(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="x"):
        strassen.conv(np.zeros((1, 2, 3, 2)), w, Conv(window((4, 3), 1), 2, 2))
