"""The door: what users hand in is checked and converted here, once; no unchecked size goes further."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecgrad.losses import Loss
from vecgrad.spec.emitter import weighing
from vecgrad.spec.errors import DataError, ShapeError
from vecgrad.spec.tensor import Shape, size

Array = np.ndarray[Any, np.dtype[Any]]

# Exponents of two up to which weights are left as they came.
_USUAL = 60


def images(x: Any, shape: Shape, dtype: Any, rescales: bool) -> Array:
    """x as a C-contiguous array (n, *shape) of ``dtype``.

    (n, H, W) stands for one channel. Raises ShapeError for another shape, DataError for a dtype that is no
    number, for integers unless the model ``rescales`` them itself, and for NaN or infinity.
    """
    array = shaped(np.asarray(x), shape, rescales)
    array = _converted(array, dtype)
    finite(array, "images")
    return array


def shaped(array: Array, shape: Shape, rescales: bool) -> Array:
    """The array with an axis for its one channel where that is missing; raises as ``images``, its entries unread."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"images must be numbers, got dtype {array.dtype}; convert them to float32")
    if array.dtype.kind in "iu" and not rescales:
        raise DataError(
            f"images have dtype {array.dtype}; divide them by their largest value and cast to float32, "
            f"or begin the model with Rescale(1 / 255), or train it on a vecgrad.data.Dataset, which says how to prepare them"
        )
    given = array.shape
    if len(shape) == 3 and shape[2] == 1 and array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        hint = ""
        if given == shape:
            hint = "; for a single image pass x[np.newaxis]"
        elif (
            len(shape) == 3 and array.ndim == 4 and (array.shape[2], array.shape[3], array.shape[1]) == shape
        ):
            hint = "; these look channels first: pass x.transpose(0, 2, 3, 1)"
        raise ShapeError(f"images have shape {given}, expected (n, {', '.join(map(str, shape))}){hint}")
    return array


def _converted(array: Array, dtype: Any) -> Array:
    """C-contiguous and aligned, as kernels read it; what is too large for ``dtype`` becomes infinite."""
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["C", "A"])


def finite(array: Array, what: str) -> None:
    """DataError naming the first entry of ``array`` (n, …) that is NaN or infinite."""
    # One sum is much cheaper than a test of each entry, and it is finite only if they all are.
    with np.errstate(all="ignore"):
        if not array.size or np.isfinite(array.sum(dtype=array.dtype)):
            return
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        count = int(bad.reshape(len(array), -1).any(axis=1).sum())
        raise DataError(
            f"{what}: entry {first} is {array[first]} ({count} of {len(array)} rows are affected); "
            f"remove or repair them before training"
        )


def targets(y: Any, n: int, loss: Loss, shape: Shape, dtype: Any) -> Array:
    """y as a C-contiguous array (n, *shape) of ``dtype``; integer labels become one row per image with a single 1."""
    array = np.asarray(y)
    if loss.targets == "classes" and array.ndim == 1:
        return _one_hot(array, n, shape[-1], dtype)
    if array.ndim == 1 and shape == (1,):
        array = array[:, np.newaxis]
    if array.shape != (n, *shape):
        raise ShapeError(
            f"targets have shape {array.shape}, expected {(n, *shape)}"
            + (f" or class numbers of shape ({n},)" if loss.targets == "classes" else "")
        )
    if array.dtype.kind not in "fiub":
        raise DataError(f"targets must be numbers, got dtype {array.dtype}")
    array = _converted(array, dtype)
    finite(array, "targets")
    if loss.targets == "shares" and array.size and not (array.min() >= 0 and array.max() <= 1):
        wrong = float(array.min()) if array.min() < 0 else float(array.max())
        raise DataError(f"targets must lie between 0 (no) and 1 (yes), got {wrong:g}")
    return array


def rows(t: Array, w: Array, loss: Loss, dtype: Any) -> Array:
    """What the loss is given for targets t (n, *shape) of images of weights w, C-contiguous and of ``dtype``."""
    return t if loss.as_given else np.require(loss.rows(t, w), dtype, ["C", "A"])


def class_numbers(labels: Array, n: int, classes: int) -> None:
    """DataError or ShapeError unless ``labels`` are ``n`` class numbers."""
    if len(labels) != n:
        raise ShapeError(f"{len(labels)} labels for {n} images")
    if labels.dtype.kind not in "iu":
        raise DataError(f"class labels must be integers 0 … {classes - 1}, got dtype {labels.dtype}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"label {labels[first]} of image {first} is outside 0 … {classes - 1}; the network has {classes} outputs"
        )


def _one_hot(labels: Array, n: int, classes: int, dtype: Any) -> Array:
    class_numbers(labels, n, classes)
    rows = np.zeros((n, classes), dtype)
    rows[np.arange(n), labels] = 1
    return rows


def weights(w: Any, n: int, dtype: Any) -> tuple[Array, dict[str, float]]:
    """(one weight per image, the runtime scalars that go with them); None means 1 each.

    Only their ratios count: where the largest is far from 1, all are multiplied by a power of two, which rounds nothing.
    """
    if w is None:
        return np.ones(n, dtype), weighing(n, n)
    array = np.asarray(w)
    if array.shape != (n,):
        raise ShapeError(f"sample_weight has shape {array.shape}, expected ({n},)")
    if array.dtype.kind not in "fiub":
        raise DataError(f"sample_weight must be numbers, got dtype {array.dtype}")
    array = _converted(array, dtype)
    finite(array, "sample_weight")
    if (array < 0).any():
        raise DataError(f"sample_weight of image {int(np.argmax(array < 0))} is negative")
    if not array.any():
        raise DataError("sample_weight is zero throughout: no image would count")
    # Sums of very large ones are infinite, and very small ones count as zero in native code.
    exponent = int(np.frexp(array.max())[1])
    if abs(exponent) > _USUAL:
        array = np.ldexp(array, -exponent)
    return array, weighing(float(array.sum(dtype=np.float64)), int(np.count_nonzero(array)))


def flat_size(shape: Shape) -> int:
    """Entries per image, at least one."""
    return max(size(shape), 1)
