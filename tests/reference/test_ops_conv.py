"""Batched convolution against seven loops, complex steps, its own adjoint and its relations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.reference import layout, ops
from vecgrad.reference.calculus import gradient
from vecgrad.reference.convolution import convolve_by_loops
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Axis, Conv, Window, window

NAMED = {
    "one channel": (2, Conv(window((5, 4), 3), 1, 1)),
    "17 channels": (1, Conv(window((4, 3), 2), 17, 3)),
    "17 filters": (1, Conv(window((3, 3), 2), 2, 17)),
    "kernel larger than the image": (2, Conv(window((2, 3), 5, padding=2), 2, 3)),
    "stride 3": (2, Conv(window((8, 7), (2, 3), stride=3), 2, 3)),
    "dilation": (2, Conv(window((7, 8), 3, dilation=(2, 3)), 2, 2)),
    "uneven padding": (1, Conv(window((4, 5), 3, padding=((0, 2), (1, 0))), 2, 2)),
    "rows left over by the stride": (1, Conv(window((6, 6), 3, stride=2, padding=((0, 0), (1, 1))), 1, 2)),
    "groups": (2, Conv(window((4, 5), 3, padding=1), 6, 4, groups=2)),
    "depthwise": (2, Conv(window((5, 5), 3, padding="same"), 5, 5, groups=5)),
    "empty batch": (0, Conv(window((4, 4), 3), 2, 3)),
    "whole map": (2, Conv(window((3, 4), (3, 4)), 3, 5)),
}

axes = st.builds(
    Axis,
    size=st.integers(1, 7),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    dilation=st.integers(1, 3),
).filter(lambda axis: axis.out >= 1)


@st.composite
def convs(draw):
    groups = draw(st.integers(1, 3))
    channels_in, channels_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    return Conv(Window(draw(axes), draw(axes)), channels_in, channels_out, groups)


def filled(g, n, seed=0, dtype=np.float32):
    """x, w, dy of small integers: every sum of products is exact, so equality is to the bit."""
    rng = np.random.default_rng(seed)
    shapes = (n, *g.in_shape), g.weight_shape, (n, *g.out_shape)
    return [rng.integers(-4, 5, shape).astype(dtype) for shape in shapes]


def by_loops(x, w, g):
    return layout.to_channels_last(convolve_by_loops(layout.to_paper(x), layout.weights_to_paper(w), g))


def dx_by_loops(dy, w, g):
    dx = np.zeros((len(dy), *g.in_shape))
    for n, i_out, j_out, k, r, s, c, row, col in reads(g, len(dy)):
        dx[n, row, col, c] += dy[n, i_out, j_out, k] * w[r, s, c % w.shape[2], k]
    return dx


def dw_by_loops(x, dy, g):
    dw = np.zeros(g.weight_shape)
    for n, i_out, j_out, k, r, s, c, row, col in reads(g, len(x)):
        dw[r, s, c % dw.shape[2], k] += dy[n, i_out, j_out, k] * x[n, row, col, c]
    return dw


def reads(g, n):
    """(n, p, q, k, r, s, c, row, col): every product of the forward pass."""
    per_group, filters = g.channels_in // g.groups, g.channels_out // g.groups
    for image, i_out, j_out, k, r, s in np.ndindex(n, *g.out_shape, *g.window.kernel):
        row = g.window.rows.source(i_out, r)
        col = g.window.cols.source(j_out, s)
        if row is not None and col is not None:
            for c in range(per_group):
                yield image, i_out, j_out, k, r, s, (k // filters) * per_group + c, row, col


def check_exactly(g, n, seed):
    x, w, dy = filled(g, n, seed)
    for got, want in (
        (ops.conv(x, w, g), by_loops(x, w, g)),
        (ops.conv_dx(dy, w, g), dx_by_loops(dy, w, g)),
        (ops.conv_dw(x, dy, g), dw_by_loops(x, dy, g)),
    ):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", NAMED)
def test_named_shapes_exactly(name):
    n, g = NAMED[name]
    check_exactly(g, n, seed=1)


@settings(max_examples=60, deadline=None)
@given(g=convs(), n=st.integers(0, 2), seed=st.integers(0, 99))
def test_any_shape_exactly(g, n, seed):
    check_exactly(g, n, seed)


@settings(max_examples=60, deadline=None)
@given(g=convs(), seed=st.integers(0, 99))
def test_adjoint_identities(g, seed):
    """⟨conv(x, w), dy⟩ = ⟨x, conv_dx(dy, w)⟩ = ⟨w, conv_dw(x, dy)⟩, exactly on integers."""
    x, w, dy = filled(g, 2, seed, np.float64)
    inner = np.sum(ops.conv(x, w, g) * dy)
    assert inner == np.sum(x * ops.conv_dx(dy, w, g)) == np.sum(w * ops.conv_dw(x, dy, g))


@pytest.mark.parametrize("name", [name for name in NAMED if not name.startswith(("empty", "17"))])
def test_gradients_by_complex_steps(name):
    n, g = NAMED[name]
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((n, *g.in_shape)), rng.standard_normal(g.weight_shape)
    dy = np.cos(ops.conv(x, w, g))
    np.testing.assert_allclose(
        ops.conv_dx(dy, w, g),
        gradient(lambda x: np.sum(np.sin(ops.conv(x, w, g))), x),
        rtol=1e-11,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        ops.conv_dw(x, dy, g),
        gradient(lambda w: np.sum(np.sin(ops.conv(x, w, g))), w),
        rtol=1e-11,
        atol=1e-12,
    )


def test_stride_is_subsampling():
    x, w, _ = filled(Conv(window((9, 8), 3), 2, 3), 2)
    dense = ops.conv(x, w, Conv(window((9, 8), 3), 2, 3))
    strided = ops.conv(x, w, Conv(window((9, 8), 3, stride=(3, 2)), 2, 3))
    np.testing.assert_array_equal(strided, dense[:, ::3, ::2])


def test_padding_is_a_larger_image():
    g = Conv(window((4, 5), 3, padding=((1, 2), (0, 3))), 2, 3)
    x, w, dy = filled(g, 2)
    framed = np.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)))
    whole = Conv(window((7, 8), 3), 2, 3)
    np.testing.assert_array_equal(ops.conv(x, w, g), ops.conv(framed, w, whole))
    np.testing.assert_array_equal(ops.conv_dx(dy, w, g), ops.conv_dx(dy, w, whole)[:, 1:5, 0:5])


def test_dilation_is_a_kernel_with_holes():
    g = Conv(window((7, 8), (3, 2), dilation=(2, 3)), 2, 3)
    x, w, dy = filled(g, 2)
    holed = np.zeros((5, 4, 2, 3), np.float32)
    holed[::2, ::3] = w
    plain = Conv(window((7, 8), (5, 4)), 2, 3)
    np.testing.assert_array_equal(ops.conv(x, w, g), ops.conv(x, holed, plain))
    np.testing.assert_array_equal(ops.conv_dx(dy, w, g), ops.conv_dx(dy, holed, plain))
    np.testing.assert_array_equal(ops.conv_dw(x, dy, g), ops.conv_dw(x, dy, plain)[::2, ::3])


def test_groups_are_weights_with_zero_blocks():
    g = Conv(window((4, 5), 3, padding=1), 6, 4, groups=2)
    x, w, dy = filled(g, 2)
    blocks = np.zeros((3, 3, 6, 4), np.float32)
    blocks[:, :, :3, :2], blocks[:, :, 3:, 2:] = w[..., :2], w[..., 2:]
    whole = Conv(g.window, 6, 4)
    np.testing.assert_array_equal(ops.conv(x, w, g), ops.conv(x, blocks, whole))
    np.testing.assert_array_equal(ops.conv_dx(dy, w, g), ops.conv_dx(dy, blocks, whole))
    dense = ops.conv_dw(x, dy, whole)
    np.testing.assert_array_equal(
        ops.conv_dw(x, dy, g), np.concatenate([dense[:, :, :3, :2], dense[:, :, 3:, 2:]], axis=3)
    )


def test_a_batch_is_its_images():
    g = Conv(window((4, 5), 3), 2, 3)
    x, w, dy = filled(g, 3)
    one_by_one = [ops.conv_dw(x[i : i + 1], dy[i : i + 1], g) for i in range(3)]
    np.testing.assert_array_equal(ops.conv_dw(x, dy, g), sum(one_by_one))
    np.testing.assert_array_equal(ops.conv(x, w, g)[1:2], ops.conv(x[1:2], w, g))


def test_arguments_are_left_alone():
    g = Conv(window((4, 5), 3, padding=1), 2, 3)
    x, w, dy = filled(g, 2)
    before = [a.copy() for a in (x, w, dy)]
    ops.conv(x, w, g), ops.conv_dx(dy, w, g), ops.conv_dw(x, dy, g)
    for a, b in zip((x, w, dy), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("given_dtype", "dtype"), [("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8")])
def test_dtypes(given_dtype, dtype):
    g = Conv(window((3, 3), 2), 1, 1)
    x, w, dy = (np.ones(shape, given_dtype) for shape in ((1, 3, 3, 1), (2, 2, 1, 1), (1, 2, 2, 1)))
    assert ops.conv(x, w, g).dtype == ops.conv_dx(dy, w, g).dtype == ops.conv_dw(x, dy, g).dtype == dtype


def test_uint8_does_not_wrap():
    g = Conv(window((1, 2), (1, 2)), 1, 1)
    x, w = np.full((1, 1, 2, 1), 200, np.uint8), np.ones((1, 2, 1, 1), np.uint8)
    assert ops.conv(x, w, g).item() == 400


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("x", lambda x, w, dy, g: ops.conv(x[:, :3], w, g)),
        ("x", lambda x, w, dy, g: ops.conv_dw(x[..., :1], dy, g)),
        ("w", lambda x, w, dy, g: ops.conv(x, w[:2], g)),
        ("w", lambda x, w, dy, g: ops.conv_dx(dy, w[..., :1], g)),
        ("dy", lambda x, w, dy, g: ops.conv_dx(dy[:, :1], w, g)),
        ("dy", lambda x, w, dy, g: ops.conv_dw(x, dy[:1], g)),
    ],
)
def test_wrong_shapes_are_named(named, call):
    g = Conv(window((4, 4), 3), 2, 3)
    with pytest.raises(ShapeError, match=rf"^{named} has shape .* asks for"):
        call(*filled(g, 2), g)
