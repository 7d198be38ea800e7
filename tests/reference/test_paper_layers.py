"""Convolution and pooling in the paper's order: against loops and against the channels-last functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.reference import convolution, layout, ops, pooling
from vecgrad.reference.calculus import differences, gradient, jacobian
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, Conv, Window, window


def sees_the_image(axis):
    return axis.out >= 1 and all(
        any(axis.source(p, r) is not None for r in range(axis.kernel)) for p in range(axis.out)
    )


axes = st.builds(
    Axis,
    size=st.integers(1, 6),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    dilation=st.integers(1, 3),
).filter(sees_the_image)
windows = st.builds(Window, axes, axes)


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(g=windows, n=st.integers(0, 2), groups=st.integers(1, 3), D=st.integers(1, 2), D_out=st.integers(1, 2))
def test_convolution_exactly(g, n, groups, D, D_out):
    conv = Conv(g, groups * D, groups * D_out, groups)
    x = integers(0, n, *conv.in_shape)
    w, b, dy = (
        integers(1, *conv.weight_shape),
        integers(2, conv.channels_out),
        integers(3, n, *conv.out_shape),
    )
    X, K, dY = layout.to_paper(x), layout.weights_to_paper(w), layout.to_paper(dy)
    y = convolution.convolve(X, K, conv, b)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, convolution.convolve_by_loops(X, K, conv, b))
    np.testing.assert_array_equal(layout.to_channels_last(y), ops.conv(x, w, conv) + b)
    dK = convolution.convolve_dw(X, dY, conv)
    np.testing.assert_array_equal(layout.weights_to_channels_last(dK), ops.conv_dw(x, dy, conv))
    dX = convolution.convolve_dx(dY, K, conv)
    np.testing.assert_array_equal(layout.to_channels_last(dX), ops.conv_dx(dy, w, conv))
    np.testing.assert_array_equal(convolution.convolve_dx_by_gather(dY, K, conv), dX)
    np.testing.assert_array_equal(convolution.convolve_db(dY), dy.sum(axis=(0, 1, 2)))


def test_the_papers_example():
    A, K = np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]]), np.array([[1, 0], [-1, 1]])
    g = Conv(window((3, 4), 2), 1, 1)
    for y in (
        convolution.convolve(A[None], K[None, None], g),
        convolution.convolve_by_loops(A[None, None], K[None, None], g)[0],
        layout.to_paper(ops.conv(A[None, :, :, None], K[:, :, None, None], g))[0],
    ):
        np.testing.assert_array_equal(y, [[[7, 0, -3], [1, 6, 8]]])


def test_convolution_names_what_does_not_fit():
    g = Conv(window((3, 3), 2), 2, 3)
    with pytest.raises(ShapeError, match="x has shape"):
        convolution.convolve(np.zeros((1, 3, 3)), np.zeros((3, 2, 2, 2)), g)
    with pytest.raises(ShapeError, match="w has shape"):
        convolution.convolve_dx(np.zeros((3, 2, 2)), np.zeros((2, 2, 2, 3)), g)
    with pytest.raises(ShapeError, match="dy has shape"):
        convolution.convolve_dw(np.zeros((2, 3, 3)), np.zeros((3, 3, 3)), g)


@settings(max_examples=60, deadline=None)
@given(g=windows, D=st.integers(1, 2), seed=st.integers(0, 99))
def test_max_pooling_exactly(g, D, seed):
    x = np.sign(integers(seed, D, *g.in_size))
    y, A = pooling.max_pool_by_loops(x, g)
    S = pooling.choices(x, g)
    fast, index = ops.max_pool(layout.to_channels_last(x[None]), g)
    np.testing.assert_array_equal(pooling.max_pool(x, g), y)
    np.testing.assert_array_equal(layout.to_paper(fast)[0], y)
    assert (S.dense().sum(axis=1) == 1).all()
    dy = integers(seed + 1, *y.shape)
    dx = pooling.max_pool_dx(dy, S, g)
    np.testing.assert_array_equal(pooling.max_pool_dx_by_sets(dy, A, g), dx)
    np.testing.assert_array_equal(
        layout.to_paper(ops.max_pool_dx(layout.to_channels_last(dy[None]), index, g))[0], dx
    )


@settings(max_examples=40, deadline=None)
@given(g=windows, D=st.integers(1, 2), count_padding=st.booleans())
def test_average_pooling(g, D, count_padding):
    x = integers(0, D, *g.in_size).astype(float)
    y = pooling.average_pool(x, g, count_padding)
    fast = ops.avg_pool(layout.to_channels_last(x[None]), g, count_padding)
    np.testing.assert_allclose(layout.to_paper(fast)[0], y, rtol=1e-13, atol=1e-13)
    dy = integers(1, *y.shape).astype(float)
    fast_dx = ops.avg_pool_dx(layout.to_channels_last(dy[None]), g, count_padding)
    dx = pooling.average_pool_dx(dy, g, count_padding)
    np.testing.assert_allclose(layout.to_paper(fast_dx)[0], dx, rtol=1e-13, atol=1e-13)


def test_pooling_passes_nan():
    x = np.array([[[1, np.nan, 5], [7, 2, 3]]])
    g = window((2, 3), (2, 2))
    for y in (pooling.max_pool(x, g), pooling.max_pool_by_loops(x, g)[0]):
        assert np.isnan(y).all()
    assert pooling.choices(x, g).columns.tolist() == [2, 2]


def test_a_window_of_padding_alone_is_refused():
    g = window((2, 2), 1, padding=1)
    with pytest.raises(ShapeError, match="no cell"):
        pooling.choices(np.zeros((1, 2, 2)), g)
    with pytest.raises(ShapeError, match="no cell"):
        pooling.max_pool_by_loops(np.zeros((1, 2, 2)), g)


def test_calculus_knows_derivatives():
    x = np.array([[0.5, -1.0], [2.0, 3.0]])
    np.testing.assert_allclose(gradient(lambda x: np.sum(np.exp(x)), x), np.exp(x), rtol=1e-15)
    np.testing.assert_allclose(jacobian(np.sin, x), np.diag(np.cos(x.T.ravel())), rtol=1e-15)
    np.testing.assert_array_equal(
        differences(lambda x: x @ [[1.0, 2.0], [0.0, 1.0]] + 5, np.ones((1, 2))), [[1, 0], [2, 1]]
    )
