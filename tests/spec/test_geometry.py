"""Window geometry against brute force: slide the window and see where it fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.spec.errors import ArgumentError, ShapeError, VecgradError
from vecgrad.spec.geometry import Axis, Conv, Window, paddings, pair, window

SMALL = st.integers(1, 9)
PADDING = st.integers(0, 4)


def positions(axis: Axis) -> list[int]:
    """First padded row of every window that fits into the padded image."""
    padded = axis.size + axis.before + axis.after
    last_tap = axis.dilation * (axis.kernel - 1)
    return [start for start in range(0, padded, axis.stride) if start + last_tap < padded]


@given(SMALL, SMALL, SMALL, PADDING, PADDING, st.integers(1, 4))
def test_an_axis_has_as_many_outputs_as_windows_fit(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    axis = Axis(size, kernel, stride, before, after, dilation)
    assert max(axis.out, 0) == len(positions(axis))


@given(SMALL, SMALL, SMALL, PADDING, PADDING, st.integers(1, 4))
def test_a_tap_reads_the_row_it_lies_on_or_padding(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    axis = Axis(size, kernel, stride, before, after, dilation)
    padded: list[int | None] = [None] * before + list(range(size)) + [None] * after
    for p, start in enumerate(positions(axis)):
        for r in range(kernel):
            assert axis.source(p, r) == padded[start + dilation * r]


@given(SMALL, SMALL, SMALL, st.integers(1, 3))
def test_same_keeps_the_size_over_the_stride_with_the_least_padding(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    axis = window((size, 1), (kernel, 1), (stride, 1), "same", (dilation, 1)).rows
    assert axis.out == -(-size // stride)
    assert axis.after - axis.before in (0, 1), "the smaller half comes first"
    total = axis.before + axis.after
    assert total == 0 or Axis(size, kernel, stride, 0, total - 1, dilation).out < axis.out


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (0, 1))),
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((0, 1), (2, 3)), ((0, 1), (2, 3))),
        ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
    ],
)
def test_every_form_of_padding(padding: object, expected: object) -> None:
    assert paddings((7, 7), (3, 2), (1, 1), padding, (1, 1)) == expected


@pytest.mark.parametrize("padding", ["full", None, 1.0, -1, True, (1, 2, 3), ((0, 1), 2), ((0, -1), (0, 0))])
def test_padding_that_means_nothing_is_refused(padding: object) -> None:
    with pytest.raises(ArgumentError, match="padding"):
        paddings((7, 7), (3, 3), (1, 1), padding, (1, 1))


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, (1,), (1, 2, 3), (1, 0), True, (True, 1)])
def test_pairs_that_mean_nothing_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="stride"):
        pair(value, "stride")


def test_a_window_that_never_fits_says_so_and_what_would_help() -> None:
    with pytest.raises(ShapeError) as caught:
        window((4, 9), (3, 2), dilation=(2, 1))
    text = str(caught.value)
    assert "height 5" in text
    assert "kernel 3, dilation 2" in text
    assert "padding='same'" in text
    assert "\n" not in text


def test_the_width_is_checked_like_the_height() -> None:
    with pytest.raises(ShapeError, match="width 3"):
        window((9, 2), 3)


def test_errors_are_of_one_family() -> None:
    assert issubclass(ShapeError, VecgradError)
    assert issubclass(ArgumentError, VecgradError)
    assert issubclass(ShapeError, ValueError)


def test_taps_run_down_then_right() -> None:
    assert list(window((5, 5), (2, 3)).taps_column_major()) == [
        (0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2),
    ]  # fmt: skip


def test_height_comes_before_width() -> None:
    w = window((5, 8), (2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1))
    assert isinstance(w, Window)
    assert (w.in_size, w.kernel, w.stride, w.dilation) == ((5, 8), (2, 3), (1, 2), (2, 1))
    assert w.padding == ((1, 0), (0, 2))
    assert w.out_size == (4, 4)
    assert w.taps == 6


def test_a_convolution_s_shapes_and_work() -> None:
    conv = Conv(window((6, 7), (3, 2)), 4, 10, groups=2)
    assert conv.in_shape == (6, 7, 4)
    assert conv.out_shape == (4, 6, 10)
    assert conv.weight_shape == (3, 2, 2, 10)
    assert conv.flops == 2 * (4 * 6 * 10) * (3 * 2 * 2)


@pytest.mark.parametrize(("channels", "filters"), [(3, 4), (4, 3)])
def test_groups_must_divide_both_sides(channels: int, filters: int) -> None:
    with pytest.raises(ShapeError, match="groups=2"):
        Conv(window((3, 3), 1), channels, filters, 2)
