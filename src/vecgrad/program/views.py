"""Test-time augmentation: a program's answers averaged over views of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vecgrad.data.augment import views
from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.losses import Loss
from vecgrad.program import door
from vecgrad.program.evaluation import Evaluation
from vecgrad.program.incoming import batches
from vecgrad.spec.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from vecgrad.program.program import Program

Array = np.ndarray[Any, np.dtype[Any]]

# Images whose views are made together, and their bytes: bounds the memory of the copies.
_CHUNK, _BYTES = 1024, 64 << 20


def forward(program: Program, x: Any, kind: str) -> Array:
    """The weighted mean of the outputs for the views of ``kind``. Raises ArgumentError for a kind that there is not."""
    x = program.check_images(x)
    if len(program.input_shape) != 3:
        raise ArgumentError(
            f"tta needs a network for images (height, width, channels); this one takes {program.input_shape}"
        )
    result = np.zeros((len(x), *program.output_shape), program.dtype)
    each = int(np.prod(program.input_shape)) * result.itemsize
    # A kind that there is not is refused for no images too.
    next(views(np.empty((0, *program.input_shape)), kind))
    with batches(x, min(_CHUNK, max(1, _BYTES // each))) as parts:
        for part, images in parts:
            for seen, weight in views(images, kind):
                result[part] += np.asarray(weight, program.dtype) * program.forward(seen)
    return result


def probabilities(program: Program, x: Any, kind: str) -> Array:
    """What the loss, which must have ``probabilities``, makes of the mean outputs."""
    loss: Any = program.loss
    e = EagerEmitter({}, program.dtype)
    found = loss.probabilities(e, EagerValue(forward(program, x, kind), True))
    return np.asarray(found.array)


def evaluate(program: Program, loss: Loss, x: Any, y: Any, sample_weight: Any, kind: str) -> Evaluation:
    """``loss`` and accuracy of the mean outputs."""
    said = forward(program, x, kind)
    if not len(said):
        raise ShapeError("evaluate needs at least one image, got none")
    t = door.targets(y, len(said), loss, program.output_shape, program.dtype)
    w, scalars = door.weights(sample_weight, len(said), program.dtype)
    e = EagerEmitter(scalars, program.dtype)
    rows = door.rows(t, w, loss, program.dtype)
    z, _ = loss.forward(e, *(EagerValue(array, True) for array in (said, rows, w)))
    accuracy = None
    if loss.targets == "classes":
        hit = said.argmax(axis=-1) == t.argmax(axis=-1)
        accuracy = float(np.sum(hit * w, dtype=np.float64)) / float(w.sum(dtype=np.float64))
    return Evaluation(float(z.array[0]), accuracy, len(said))
