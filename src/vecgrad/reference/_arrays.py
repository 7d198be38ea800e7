"""What every function of the room does with the arrays it is given: one dtype rule, one shape check."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vecgrad.spec.errors import ShapeError

Array = npt.NDArray[Any]


def common_dtype(*arrays: Array) -> np.dtype[Any]:
    """The dtype to compute in: the one given where it is floating (or complex), else float64.

    >>> str(common_dtype(np.zeros(1, np.float32))), str(common_dtype(np.zeros(1, np.int64)))
    ('float32', 'float64')
    """
    dtype = np.result_type(*arrays)
    return dtype if np.issubdtype(dtype, np.inexact) else np.dtype(np.float64)


def expect_shape(what: str, array: Array, shape: tuple[int | None, ...]) -> None:
    """Raise ShapeError unless ``array`` has ``shape``; None stands for any length."""
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n" if part is None else str(part) for part in shape)
        raise ShapeError(f"{what} has shape {array.shape}, but its geometry asks for ({wanted})")
