"""The checks at the door: what passes is unchanged, what does not is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.data import check_images, check_labels
from vecgrad.spec.errors import ArgumentError, DataError


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float16", "float32", "float64"])
def test_numeric_images_pass_without_a_copy(dtype: str) -> None:
    X = np.ones((3, 4, 5, 2), dtype)
    checked = check_images(X)
    assert checked.dtype == dtype
    assert np.shares_memory(checked, X)


def test_rank_3_means_one_channel() -> None:
    X = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(check_images(X), X[..., None])


def test_channels_first_is_converted() -> None:
    X = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    checked = check_images(X, data_format="channels_first")
    assert checked.shape == (2, 4, 5, 3)
    assert checked.flags.c_contiguous
    assert checked[1, 2, 3, 0] == X[1, 0, 2, 3]


@pytest.mark.parametrize("shape", [(9, 3, 32, 32), (9, 3, 20, 30), (9, 1, 28, 28)])
def test_what_looks_like_channels_first_is_refused_only_when_nothing_was_said(shape: tuple[int, ...]) -> None:
    X = np.zeros(shape, np.uint8)
    with pytest.raises(DataError, match=r"data_format="):
        check_images(X, data_format=None)
    assert check_images(X).shape == shape
    height, width = shape[2:]
    assert check_images(X, data_format="channels_first").shape == (9, height, width, shape[1])


@pytest.mark.parametrize(
    "shape", [(9, 32, 32, 3), (9, 28, 28, 1), (9, 3, 3, 1), (9, 1, 100, 8), (9, 8, 8, 17)]
)
def test_ordinary_channels_last_shapes_raise_no_suspicion(shape: tuple[int, ...]) -> None:
    assert check_images(np.zeros(shape, np.uint8), data_format=None).shape == shape


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 3, 3), complex), "complex128"),
        (np.zeros((2, 3, 3), bool), "bool"),
        (np.full((2, 3, 3), "a"), "<U1"),
        (np.full((2, 3, 3), None), "object"),
        ([[[1, 2], [3]]], "X cannot be read"),
        (object(), "object"),
        (np.zeros((5, 64)), r"reshape\(n, height, width\)"),
        (np.zeros((1, 1, 2, 2, 2)), r"\(1, 1, 2, 2, 2\)"),
        (np.float32(1), r"shape \(\)"),
        (np.zeros((0, 3, 3)), "empty"),
        (np.zeros((3, 0, 3)), "empty"),
        (np.zeros((3, 2, 3, 0)), "empty"),
    ],
)
def test_impossible_images_are_refused(X: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_images(X)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_image_that_is_not_finite_is_named(dtype: str, value: float) -> None:
    X = np.zeros((1500, 2, 3, 1), dtype)
    X[1203, 1, 2, 0] = X[1400] = value
    with pytest.raises(DataError, match=r"scan\.npz: image 1203 holds .*\(1, 2, 0\)"):
        check_images(X, what="scan.npz")


def test_float64_that_overflows_float32_is_named() -> None:
    X = np.zeros((3, 2, 2))
    X[1, 0, 0] = np.finfo(np.float32).max
    assert check_images(X).shape == (3, 2, 2, 1)
    X[2, 1, 1] = -1e39
    with pytest.raises(DataError, match=r"image 2 holds -1e\+39"):
        check_images(X)


def test_count_shape_and_format_are_compared() -> None:
    X = np.zeros((4, 5, 6), np.uint8)
    assert check_images(X, count=4, shape=(5, 6, 1)).shape == (4, 5, 6, 1)
    with pytest.raises(DataError, match="4 images, but there are 3 labels"):
        check_images(X, count=3)
    with pytest.raises(DataError, match=r"\(5, 6, 1\); expected \(6, 5, 1\)"):
        check_images(X, shape=(6, 5, 1))
    with pytest.raises(ArgumentError, match="data_format"):
        check_images(X, data_format="NHWC")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64"])
def test_integer_labels_become_int64(dtype: str) -> None:
    y = np.array([2, 0, 1], dtype)
    checked = check_labels(y, 3)
    assert checked.dtype == np.int64
    assert checked.tolist() == [2, 0, 1]
    assert check_labels(y[:, None], 3).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3, -1], r"y\[2\] is 3; expected an integer from 0 to 2"),
        ([0, -1, 3], r"y\[1\] is -1"),
        ([0.0, 1.0], "float64"),
        (["a", "b"], r"numpy\.unique"),
        (np.array([None]), "object"),
        (np.array([True]), "bool"),
        (np.eye(3), "argmax"),
        ([], "empty"),
        (3, r"shape \(\)"),
    ],
)
def test_impossible_labels_are_refused(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(y, 3)


def test_labels_without_a_number_of_classes_have_a_limit() -> None:
    assert check_labels([70, 5]).tolist() == [70, 5]
    with pytest.raises(DataError, match="2000000000"):
        check_labels([0, 2_000_000_000])
    with pytest.raises(DataError, match="2 labels for 3 images"):
        check_labels([0, 1], 2, count=3)
