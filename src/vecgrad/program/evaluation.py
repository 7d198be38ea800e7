"""What a program says of labelled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.data import LazyImages
from vecgrad.losses import Loss
from vecgrad.program import door
from vecgrad.program.incoming import batches
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Evaluation:
    """loss: the mean over the images (weighted). accuracy: share of images whose largest output is the label; None for values."""

    loss: float
    accuracy: float | None
    images: int


Run = Callable[[Array, Array, Array, Mapping[str, float]], tuple[float, Array]]


def evaluate(
    run: Run, loss: Loss, x: Array | LazyImages, y: Any, sample_weight: Any, shape: Shape, dtype: str, batch: int
) -> Evaluation:  # fmt: skip
    """Of images x as the door leaves them and targets y for outputs of ``shape``, ``batch`` at a time.

    run: (images, rows, weights, the scalars of all weights) → (their share of the loss, the predictions).
    """
    n = len(x)
    if not n:
        raise ShapeError("evaluate needs at least one image, got none")
    w, scalars = door.weights(sample_weight, n, dtype)
    rows = _rows(y, w, loss, shape, dtype)
    total, right, classes = 0.0, 0.0, loss.targets == "classes"
    with batches(x, batch) as parts:
        for part, images in parts:
            t, row = rows(part)
            share, said = run(images, row, w[part], scalars)
            total += share
            if classes:
                hit = said.argmax(axis=-1) == t.argmax(axis=-1)
                right += float(np.sum(hit * w[part], dtype=np.float64))
    return Evaluation(total, right / float(w.sum(dtype=np.float64)) if classes else None, n)


def _rows(y: Any, w: Array, loss: Loss, shape: Shape, dtype: str) -> Callable[[slice], tuple[Array, Array]]:
    """(targets, what the loss is given) of a part, all of y having been looked at."""
    labels, n = np.asarray(y), len(w)
    if loss.as_given and loss.targets == "classes" and labels.ndim == 1:
        # A row for each of many images and classes takes more memory than the images of a batch.
        door.class_numbers(labels, n, shape[-1])

        def some(part: slice) -> tuple[Array, Array]:
            t = door.targets(labels[part], part.stop - part.start, loss, shape, dtype)
            return t, t

        return some
    t = door.targets(y, n, loss, shape, dtype)
    rows = door.rows(t, w, loss, dtype)
    return lambda part: (t[part], rows[part])


def predict(
    run: Callable[[Array], Array], x: Array | LazyImages, shape: Shape, dtype: str, batch: int
) -> Array:
    """What ``run`` says of all of x, outputs (n, *shape), ``batch`` images at a time."""
    result = np.empty((len(x), *shape), dtype)
    with batches(x, batch) as parts:
        for part, images in parts:
            result[part] = run(images)
    return result
