"""Checks at the door: what passes here can be trained on, and everything else is named."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._lazy import Images, LazyImages, is_mapped
from vecgrad.spec.errors import ArgumentError, DataError

DataFormat = Literal["channels_last", "channels_first"]
Labels = NDArray[np.int64]

# Images looked at together when the first bad one is searched for: bounds the extra memory.
_CHUNK = 1024
_LARGEST = float(np.finfo(np.float32).max)
# More classes than any public set of labelled images has; a larger label is a damaged file.
_MOST_CLASSES = 1 << 16


def check_images(
    X: object,
    *,
    what: str = "X",
    data_format: DataFormat | None = "channels_last",
    count: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Images:
    """The images as an array (n, h, w, c) of the dtype they came in (no copy unless axes move).

    ``X`` is (n, h, w), which means one channel, or (n, h, w, c); with ``data_format=
    "channels_first"`` it is (n, c, h, w). ``None`` means channels last, but an array that looks
    like (n, c, h, w) is refused instead of guessed at. Integers and floats pass (float64 must fit
    float32). ``count`` is the number of images and ``shape`` the (h, w, c) that are required.
    ``what`` names the array or its file in the errors.

    Raises DataError for any other dtype or rank, for empty data, NaN or infinity, a wrong count or shape.

    >>> import numpy as np
    >>> check_images(np.zeros((5, 8, 6), np.uint8)).shape
    (5, 8, 6, 1)
    """
    array = _as_array(X, what, "an array of images (n, height, width, channels)")
    if array.dtype.kind not in "uif":
        raise DataError(
            f"{what} has dtype {array.dtype}; expected integers or floats: use X.astype(numpy.float32)"
        )
    array = _channels_last(array, what, data_format)
    if 0 in array.shape:
        raise DataError(
            f"{what} is empty: its shape is {array.shape}; at least one image of one pixel is needed"
        )
    if count is not None and len(array) != count:
        raise DataError(
            f"{what} holds {len(array)} images, but there are {count} labels: the numbers must agree"
        )
    if shape is not None and array.shape[1:] != tuple(shape):
        raise DataError(
            f"{what} holds images of (height, width, channels) = {array.shape[1:]}; expected {tuple(shape)}"
        )
    if array.dtype.kind == "f":
        _check_finite(array, what)
    return array


def check_stored(
    X: object, *, what: str, data_format: DataFormat | None, shape: tuple[int, ...] | None = None
) -> Images | LazyImages:
    """``check_images`` for what a reader found: images that its decoder has looked at stay unread."""
    if not isinstance(X, LazyImages):
        return check_images(X, what=what, data_format=data_format, shape=shape)
    if shape is not None and X.shape[1:] != tuple(shape):
        raise DataError(f"{what} are of (height, width, channels) = {X.shape[1:]}; expected {tuple(shape)}")
    return X


def check_labels(
    y: object, classes: int | None = None, *, what: str = "y", count: int | None = None
) -> Labels:
    """The labels as an int64 array (n,) with values 0 … classes − 1.

    ``y`` is (n,) or (n, 1), of any integer type. Without ``classes`` only negative labels and labels
    beyond 65,535 are out of range. ``count`` is the number of images that the labels belong to.

    Raises DataError for other dtypes and ranks, and for a label out of range (the first is named).

    >>> import numpy as np
    >>> check_labels(np.array([[2], [0]], np.uint8), 3)
    array([2, 0])
    """
    array = _as_array(y, what, "an array of integer labels (n,)")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; for one-hot rows pass y.argmax(axis=1)" if array.ndim == 2 else ""
        raise DataError(f"{what} has shape {array.shape}; expected (n,), one integer for each image{hint}")
    if array.size == 0:
        raise DataError(f"{what} is empty: at least one label is needed")
    if array.dtype.kind not in "ui":
        raise DataError(
            f"{what} has dtype {array.dtype}; expected integers 0 … classes − 1: "
            "numpy.unique(y, return_inverse=True) makes them from any labels"
        )
    if count is not None and len(array) != count:
        raise DataError(f"{what} holds {len(array)} labels for {count} images: the numbers must agree")
    limit = _MOST_CLASSES if classes is None else classes
    bad = (array < 0) | (array >= limit)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(f"{what}[{first}] is {array[first]}; expected an integer from 0 to {limit - 1}")
    return array.astype(np.int64)


def check_numbers(y: object, *, what: str = "y", count: int | None = None) -> NDArray[np.float32]:
    """Numbers to predict as a float32 array (n, k), of any integer or float type; (n,) means k = 1.

    ``count`` is the number of images that they belong to. Raises DataError for other dtypes and ranks, for
    a wrong count, and for a number that is not finite in float32 (the first is named).

    >>> check_numbers([1, 2.5])
    array([[1. ],
           [2.5]], dtype=float32)
    """
    array = _as_array(y, what, "an array of numbers (n, k)")
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{what} has shape {array.shape}; expected (n, k), k numbers for each image")
    if array.dtype.kind not in "uif":
        raise DataError(f"{what} has dtype {array.dtype}; expected integers or floats")
    if count is not None and len(array) != count:
        raise DataError(f"{what} holds {len(array)} rows for {count} images: the numbers must agree")
    bad = ~(np.abs(array.astype(np.float64)) <= _LARGEST)
    if bad.any():
        row, column = divmod(int(bad.argmax()), array.shape[1])
        raise DataError(f"{what}[{row}, {column}] is {array[row, column]}; expected finite float32 numbers")
    return array.astype(np.float32)


def _as_array(value: object, what: str, expected: str) -> NDArray[Any]:
    try:
        # An array that is mapped from a file has to stay one, for the sake of who asks is_mapped.
        array = value if isinstance(value, np.memmap) else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what} cannot be read as {expected}: {error}") from error
    if array.dtype.kind == "O":
        raise DataError(f"{what} has dtype object ({type(value).__name__}); expected {expected}")
    return array


def _channels_last(array: NDArray[Any], what: str, data_format: DataFormat | None) -> NDArray[Any]:
    if data_format not in ("channels_last", "channels_first", None):
        raise ArgumentError(f'data_format must be "channels_last" or "channels_first", got {data_format!r}')
    if array.ndim == 3:
        return array[..., np.newaxis]
    if array.ndim != 4:
        hint = "; rows of pixels need X.reshape(n, height, width)" if array.ndim == 2 else ""
        raise DataError(f"{what} has shape {array.shape}; expected (n, height, width[, channels]){hint}")
    if data_format == "channels_first":
        moved = np.moveaxis(array, 1, -1)
        return moved if is_mapped(array) else np.ascontiguousarray(moved)
    if data_format is None and looks_channels_first(array.shape):
        _, a, b, c = array.shape
        raise DataError(
            f"{what} has shape {array.shape}: {a}×{b} images of {c} channels, or {b}×{c} images of {a}? "
            'Say which with data_format="channels_last" or "channels_first"'
        )
    return array


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Of (n, a, b, c): grey or colour planes in front, and last an axis too long for the channels of an image.

    >>> looks_channels_first((60, 3, 32, 32)), looks_channels_first((60, 32, 32, 3))
    (True, False)
    """
    _, first, second, last = shape
    return last > 4 and ((first == 3 and second > 4) or (first == 1 and second == last))


def _check_finite(array: NDArray[Any], what: str) -> None:
    # The extremes carry NaN and infinity along, so good data costs two passes and no memory.
    if not is_mapped(array) and float(array.min()) >= -_LARGEST and float(array.max()) <= _LARGEST:
        return
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK]
        with np.errstate(over="ignore"):
            bad = ~(np.abs(chunk.astype(np.float64)) <= _LARGEST)
        if bad.any():
            where = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
            raise DataError(
                f"{what}: image {start + where[0]} holds {chunk[where]} at (row, column, channel) = "
                f"{where[1:]}; expected finite float32 numbers: repair or drop that image"
            )
