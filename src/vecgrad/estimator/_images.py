"""X in each of its forms: rows, which scikit-learn's checks understand, and images, which the network does."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data import LazyImages

Array = NDArray[Any]
Shape3 = tuple[int, int, int]

# A row of fewer pixels than this is a table's, not an image's, though it may make up a square.
_FEWEST = 16
# Images that are looked at together.
_PART = 1024


def as_rows(X: Any, data_format: str) -> tuple[Any, Shape3 | None]:
    """(rows (n, features) with entries in the order h, w, c, (H, W, C)); of X that has no image axes X itself, None.

    Images are (n, H, W), (n, H, W, C), or (n, C, H, W) with data_format="channels_first". Lazy images are (n, H, W, C)
    whatever the format, and stay unread: they come back as they are. Raises ValueError for arrays of more dimensions.
    """
    if isinstance(X, LazyImages):
        height, width, channels = X.shape[1:]
        return X, (height, width, channels)
    if isinstance(X, (list, tuple)):
        with contextlib.suppress(ValueError):  # ragged: scikit-learn says so in its own words
            X = np.asarray(X) if np.ndim(X) > 2 else X
    dimensions = getattr(X, "ndim", 2)
    if dimensions <= 2:
        return X, None
    array = np.asarray(X)
    if dimensions == 3:
        array = array[..., np.newaxis]
    elif dimensions == 4:
        array = np.moveaxis(array, 1, -1) if data_format == "channels_first" else array
    else:
        raise ValueError(
            f"Found array with dim {dimensions}. Images are (n, height, width) or (n, height, width, channels), "
            f"rows are (n, features)."
        )
    n, height, width, channels = array.shape
    return array.reshape(n, height * width * channels), (height, width, channels)


def check_finite(images: LazyImages) -> None:
    """Raises ValueError that names the first image with NaN or infinity in it; integers are not read for that."""
    if images.dtype.kind != "f":
        return
    for start in range(0, len(images), _PART):
        finite = np.isfinite(images[start : start + _PART]).all(axis=(1, 2, 3))
        if not finite.all():
            number = start + int(finite.argmin())
            raise ValueError(
                f"Input X contains NaN or infinity, in image {number}: repair or drop that image."
            )


def row_shape(features: int, image_shape: Any, data_format: str) -> Shape3:
    """(H, W, C) of the image that a row of so many features is.

    image_shape: as the user said it, in the order of data_format, or None: then a square of one or of three channels,
    else one row of pixels. Raises ValueError where the numbers do not agree.
    """
    if image_shape is None:
        for channels in (1, 3):
            side = math.isqrt(features // channels)
            if side * side * channels == features and features >= _FEWEST * channels:
                return side, side, channels
        return 1, features, 1
    shape = tuple(int(side) for side in image_shape)
    if len(shape) == 2:
        shape = (*shape, 1)
    elif data_format == "channels_first":
        shape = (*shape[1:], shape[0])
    if math.prod(shape) != features:
        raise ValueError(
            f"X has {features} features, but image_shape={tuple(image_shape)} has {math.prod(shape)} pixels and channels"
        )
    return shape[0], shape[1], shape[2]


def as_images(rows: Array, shape: Shape3, planes: bool) -> Array:
    """Rows (n, features) as images (n, H, W, C). planes: a row holds its channels one after the other."""
    if rows.dtype == np.bool_:
        rows = rows.astype(np.float32)
    elif rows.dtype.kind == "f" and rows.dtype.itemsize not in (4, 8):
        rows = rows.astype(np.float32 if rows.dtype.itemsize < 4 else np.float64)
    height, width, channels = shape
    if planes:
        return np.moveaxis(rows.reshape(len(rows), channels, height, width), 1, -1)
    return rows.reshape(len(rows), height, width, channels)


def computing_dtype(images: Array | LazyImages, asked: str) -> str:
    """ "float32" where it holds the images exactly (all small integers, all float32), else "float64"."""
    if asked != "auto":
        return asked
    if images.dtype.kind in "iu" and images.dtype.itemsize > 2:
        whole = np.asarray(images)
        return "float32" if max(abs(int(whole.min())), abs(int(whole.max()))) <= 1 << 24 else "float64"
    if images.dtype != np.float64:
        return "float32"
    chunks = (images[start : start + _PART] for start in range(0, len(images), _PART))
    exact = all(bool((chunk == chunk.astype(np.float32)).all()) for chunk in chunks)
    return "float32" if exact else "float64"
