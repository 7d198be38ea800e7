"""Batched pooling against loops over cells, its ties, NaN, padding, and its adjoint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.reference import ops
from vecgrad.reference.calculus import gradient
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, Window, window


def sees_the_image(axis):
    return axis.out >= 1 and all(
        any(axis.source(p, r) is not None for r in range(axis.kernel)) for p in range(axis.out)
    )


axes = st.builds(
    Axis,
    size=st.integers(1, 8),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    dilation=st.integers(1, 3),
).filter(sees_the_image)
windows = st.builds(Window, axes, axes)


def cells_of(g, p, q):
    """(ordinal, row, col) of the image cells of window (p, q), in column-major order."""
    found = []
    for s in range(g.cols.kernel):
        for r in range(g.rows.kernel):
            row, col = g.rows.source(p, r), g.cols.source(q, s)
            if row is not None and col is not None:
                found.append((s * g.rows.kernel + r, row, col))
    return found


def max_by_loops(x, g):
    y = np.zeros((len(x), *g.out_size, x.shape[3]), x.dtype)
    index = np.zeros(y.shape, np.int32)
    for n, p, q, c in np.ndindex(*y.shape):
        cells = [(ordinal, x[n, row, col, c]) for ordinal, row, col in cells_of(g, p, q)]
        nan = [cell for cell in cells if np.isnan(cell[1])]
        best = nan[0] if nan else min(cells, key=lambda cell: (-cell[1], cell[0]))
        index[n, p, q, c], y[n, p, q, c] = best
    return y, index


def max_dx_by_loops(dy, index, g):
    dx = np.zeros((len(dy), *g.in_size, dy.shape[3]), dy.dtype)
    for n, p, q, c in np.ndindex(*dy.shape):
        for ordinal, row, col in cells_of(g, p, q):
            if ordinal == index[n, p, q, c]:
                dx[n, row, col, c] += dy[n, p, q, c]
    return dx


def integers(shape, seed, top=5, dtype=np.float32):
    return np.random.default_rng(seed).integers(-top, top, shape).astype(dtype)


@settings(max_examples=80, deadline=None)
@given(g=windows, n=st.integers(0, 2), channels=st.sampled_from([1, 3]), top=st.sampled_from([1, 5]))
def test_max_exactly_with_many_ties(g, n, channels, top):
    x = integers((n, *g.in_size, channels), 1, top)
    y, index = ops.max_pool(x, g)
    want_y, want_index = max_by_loops(x, g)
    assert y.dtype == np.float32
    assert index.dtype == np.int32
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(index, want_index)
    dy = integers(y.shape, 2)
    np.testing.assert_array_equal(ops.max_pool_dx(dy, index, g), max_dx_by_loops(dy, index, g))


@settings(max_examples=40, deadline=None)
@given(g=windows, seed=st.integers(0, 99))
def test_max_with_nan_and_infinities(g, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([-np.inf, -1.0, 0.0, np.inf, np.nan], (1, *g.in_size, 2), p=[0.5, 0.1, 0.1, 0.1, 0.2])
    y, index = ops.max_pool(x, g)
    want_y, want_index = max_by_loops(x, g)
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(index, want_index)


def test_ties_go_down_before_right():
    x = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)[None, :, :, None]
    y, index = ops.max_pool(x, window((3, 3), 3))
    assert (y.item(), index.item()) == (1, 1)  # row 1 of column 0, not row 0 of column 1
    assert ops.max_pool(np.zeros((1, 3, 3, 1)), window((3, 3), 3))[1].item() == 0


def test_the_first_nan_wins_and_stays():
    x = np.array([[9, np.nan], [np.nan, np.inf]])[None, :, :, None]
    y, index = ops.max_pool(x, window((2, 2), 2))
    assert np.isnan(y.item())
    assert index.item() == 1


def test_padding_is_never_chosen():
    g = window((2, 2), 3, padding=1)
    for value in (-5.0, -np.inf):
        x = np.full((1, 2, 2, 1), value)
        y, index = ops.max_pool(x, g)
        np.testing.assert_array_equal(y, np.full(y.shape, value))
        np.testing.assert_array_equal(index[0, :, :, 0], [[4, 1], [3, 0]])
        total = ops.max_pool_dx(np.ones(y.shape), index, g)
        assert total.sum() == y.size


def test_overlapping_windows_add():
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1] = 1
    g = window((3, 3), 2)
    _, index = ops.max_pool(x, g)
    dx = ops.max_pool_dx(np.array([1.0, 10, 100, 1000]).reshape(1, 2, 2, 1), index, g)
    assert dx[0, 1, 1, 0] == 1111
    assert dx.sum() == 1111


def test_max_gradient_by_complex_steps():
    g = window((5, 4), (3, 2), stride=(2, 1), padding=((1, 1), (0, 1)))
    x = np.random.default_rng(3).permutation(40).reshape(1, 5, 4, 2) / 40
    y, index = ops.max_pool(x, g)
    by_steps = gradient(lambda x: np.sum(np.sin(ops.max_pool(x, g)[0])), x)
    np.testing.assert_allclose(ops.max_pool_dx(np.cos(y), index, g), by_steps, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(g=windows, n=st.integers(0, 2), count_padding=st.booleans())
def test_average_cell_by_cell(g, n, count_padding):
    x = integers((n, *g.in_size, 2), 4, dtype=np.float64)
    y = ops.avg_pool(x, g, count_padding)
    want, dx = np.zeros(y.shape), np.zeros(x.shape)
    dy = integers(y.shape, 5, dtype=np.float64)
    for p, q in np.ndindex(*g.out_size):
        cells = cells_of(g, p, q)
        divisor = g.taps if count_padding else len(cells)
        for _, row, col in cells:
            want[:, p, q] += x[:, row, col] / divisor
            dx[:, row, col] += dy[:, p, q] / divisor
    np.testing.assert_allclose(y, want, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(ops.avg_pool_dx(dy, g, count_padding), dx, rtol=1e-13, atol=1e-13)


def test_average_counts_both_ways_exactly():
    x = np.full((1, 2, 2, 1), 4, np.float32)
    g = window((2, 2), 2, stride=1, padding=((1, 0), (1, 0)))
    cells = ops.avg_pool(x, g, False)
    size = ops.avg_pool(x, g, True)
    assert cells.dtype == size.dtype == np.float32
    np.testing.assert_array_equal(cells[0, :, :, 0], [[4, 4], [4, 4]])
    np.testing.assert_array_equal(size[0, :, :, 0], [[1, 2], [2, 4]])
    dy = np.full((1, 2, 2, 1), 4, np.float32)
    np.testing.assert_array_equal(ops.avg_pool_dx(dy, g, False)[0, :, :, 0], [[4 + 2 + 2 + 1, 3], [3, 1]])
    np.testing.assert_array_equal(ops.avg_pool_dx(dy, g, True)[0, :, :, 0], [[4, 2], [2, 1]])


@settings(max_examples=40, deadline=None)
@given(g=windows, count_padding=st.booleans())
def test_average_adjoint(g, count_padding):
    x = integers((2, *g.in_size, 3), 6, dtype=np.float64)
    y = ops.avg_pool(x, g, count_padding)
    dy = integers(y.shape, 7, dtype=np.float64)
    np.testing.assert_allclose(np.sum(y * dy), np.sum(x * ops.avg_pool_dx(dy, g, count_padding)), atol=1e-9)


def test_wrong_shapes_are_named():
    g = window((4, 4), 2, stride=2)
    x = np.zeros((1, 4, 4, 1))
    y, index = ops.max_pool(x, g)
    with pytest.raises(ShapeError, match="x has shape"):
        ops.max_pool(x[:, :3], g)
    with pytest.raises(ShapeError, match="index has shape"):
        ops.max_pool_dx(y, index[:, :1], g)
    with pytest.raises(ShapeError, match="dy has shape"):
        ops.avg_pool_dx(x, g, False)
    with pytest.raises(ShapeError, match="x has shape"):
        ops.avg_pool(x[0], g, False)


def test_arguments_are_left_alone():
    g = window((3, 3), 2, padding=1)
    x = integers((1, 3, 3, 2), 8)
    before = x.copy()
    y, index = ops.max_pool(x, g)
    ops.avg_pool(x, g, True), ops.max_pool_dx(y, index, g), ops.avg_pool_dx(y, g, True)
    np.testing.assert_array_equal(x, before)
