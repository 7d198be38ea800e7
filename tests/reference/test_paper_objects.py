"""vec, ⊗, im2col, φ, C, m, M, Π and Q against their definitions, entry by entry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.reference import layout, ops
from vecgrad.reference.indexmap import M, gather, m
from vecgrad.reference.selection import Selection
from vecgrad.reference.tensors import kron, unvec, vec
from vecgrad.reference.unfold import im2col, kernel_matrix, kernels_of, phi
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, Conv, Window, window

A = np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]])
K = np.array([[1, 0], [-1, 1]])
B = np.array([[1, 2, 3, 8, 1, 5], [2, 3, 8, 2, 5, 0], [3, 8, 1, 5, 4, 1], [8, 2, 5, 0, 1, 3]])

axes = st.builds(
    Axis,
    size=st.integers(1, 6),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    dilation=st.integers(1, 3),
).filter(lambda axis: axis.out >= 1)
windows = st.builds(Window, axes, axes)


def numbered(*shape):
    """1, 2, 3, …: no two entries alike, no entry 0."""
    return np.arange(1.0, 1 + math.prod(shape)).reshape(shape)


@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple))
def test_vec_stacks_columns_recursively(shape):
    x = numbered(*shape)
    if len(shape) == 1:
        want = x
    elif len(shape) == 2:
        want = x.reshape(-1, order="F")
    else:
        want = np.concatenate([np.zeros(0), *(vec(part) for part in x)])
    np.testing.assert_array_equal(vec(x), want)
    np.testing.assert_array_equal(unvec(vec(x), shape), x)


def test_unvec_refuses_another_length():
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        unvec(np.zeros(5), (2, 3))


@given(shape=st.tuples(*[st.integers(1, 4)] * 4))
def test_kron_is_numpys(shape):
    a, b, c, d = shape
    np.testing.assert_array_equal(
        kron(numbered(a, b), numbered(c, d)), np.kron(numbered(a, b), numbered(c, d))
    )


def test_im2col_of_the_papers_example():
    unfolded = im2col(A, window((3, 4), 2))
    np.testing.assert_array_equal(unfolded, B)
    np.testing.assert_array_equal(unfolded.T @ vec(K), [7, 1, 0, 6, -3, 8])


@settings(deadline=None)
@given(g=windows, D=st.integers(1, 3))
def test_phi_m_and_M_agree_entry_by_entry(g, D):
    x = numbered(D, *g.in_size)
    (P, Q), (R, S), (H, W) = g.out_size, g.kernel, g.in_size
    F, matrix = phi(x, g), M(g, D)
    assert F.shape == (P * Q, R * S * D)
    assert matrix.shape == (P * Q * R * S * D, H * W * D)
    for i_out, j_out, d, r, s in np.ndindex(P, Q, D, R, S):
        i = g.rows.stride * i_out + g.rows.dilation * r - g.rows.before
        j = g.cols.stride * j_out + g.cols.dilation * s - g.cols.before
        p, q = i_out + P * j_out, R * S * d + R * s + r
        inside = 0 <= i < H and 0 <= j < W
        assert m(p, q, g) == ((d, i, j) if inside else None)
        assert F[p, q] == (x[d, i, j] if inside else 0)
        assert matrix.columns[p + P * Q * q] == (H * W * d + H * j + i if inside else -1)
    np.testing.assert_array_equal(matrix @ vec(x), vec(F))


@settings(deadline=None)
@given(g=windows, D=st.integers(1, 3), seed=st.integers(0, 99))
def test_gather_is_the_transpose_of_M(g, D, seed):
    G = np.random.default_rng(seed).integers(-9, 9, (math.prod(g.out_size), g.taps * D)).astype(float)
    dx = gather(G, g)
    np.testing.assert_array_equal(vec(dx), M(g, D).dense().T @ vec(G))
    np.testing.assert_array_equal(vec(dx), M(g, D).transposed(vec(G)))


def test_gather_refuses_another_geometry():
    with pytest.raises(ShapeError, match="G has shape"):
        gather(np.zeros((4, 5)), window((3, 3), 2))


def test_im2col_refuses_another_size():
    with pytest.raises(ShapeError, match="x has shape"):
        im2col(A, window((4, 3), 2))


def test_kernel_matrix_and_back():
    w = numbered(3, 2, 2, 4)
    C = kernel_matrix(w)
    for kernel, d, i, j in np.ndindex(*w.shape):
        assert C[2 * 4 * d + 2 * j + i, kernel] == w[kernel, d, i, j]
    np.testing.assert_array_equal(vec(C), vec(w))
    np.testing.assert_array_equal(kernels_of(C, w.shape), w)


@given(columns=st.lists(st.integers(-1, 4), min_size=1, max_size=8))
def test_selection_is_its_dense_matrix(columns):
    selection = Selection(np.array(columns), 5)
    dense = selection.dense()
    v, u, X = numbered(5), numbered(len(columns)), numbered(5, 2)
    np.testing.assert_array_equal(selection @ v, dense @ v)
    np.testing.assert_array_equal(selection @ X, dense @ X)
    np.testing.assert_array_equal(selection.transposed(u), dense.T @ u)
    assert dense.shape == selection.shape


@settings(deadline=None)
@given(g=windows, D=st.integers(1, 3), D_out=st.integers(1, 3))
def test_channels_last_is_a_permutation(g, D, D_out):
    rng = np.random.default_rng(0)
    conv = Conv(g, D, D_out)
    x = rng.integers(-4, 5, (1, *conv.in_shape)).astype(float)
    w = rng.integers(-4, 5, conv.weight_shape).astype(float)
    (P, Q), C = g.out_size, kernel_matrix(layout.weights_to_paper(w))
    Pi, taps = layout.Pi((P, Q)), layout.Q(g, D)
    for permutation in (Pi, taps):
        assert sorted(permutation.columns) == list(range(permutation.width))
    np.testing.assert_array_equal(C, w.reshape(-1, D_out, order="F"))
    np.testing.assert_array_equal(taps @ C, w.reshape(-1, D_out))
    F = phi(layout.to_paper(x)[0], g)
    y = (Pi @ F @ taps.dense().T) @ (taps @ C)
    np.testing.assert_array_equal(y, ops.conv(x, w, conv).reshape(P * Q, D_out))


def test_layouts_are_inverse():
    x, w = numbered(2, 3, 4, 5), numbered(2, 3, 4, 5)
    np.testing.assert_array_equal(layout.to_channels_last(layout.to_paper(x)), x)
    np.testing.assert_array_equal(layout.weights_to_channels_last(layout.weights_to_paper(w)), w)
    assert layout.to_paper(x)[1, 4, 2, 3] == x[1, 2, 3, 4]
    assert layout.weights_to_paper(w)[4, 3, 1, 2] == w[1, 2, 3, 4]
