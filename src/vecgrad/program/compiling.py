"""From a model and its shapes to a program."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from vecgrad.kernels.reasons import Algorithm
from vecgrad.layers import Layer, Sequential, Sigmoid, Softmax, Symbol
from vecgrad.layers.composite import ending
from vecgrad.losses import LOSSES, BinaryCrossEntropy, CrossEntropy, Loss, by_name
from vecgrad.program.backend import Backend
from vecgrad.program.flat import FlatLayout
from vecgrad.program.initial import initial
from vecgrad.program.program import Program
from vecgrad.program.reference_backend import ReferenceBackend
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Shape, size
from vecgrad.updates import UPDATES, Update

# As many as a job of the runtime may have.
MOST_THREADS = 256
# No machine that this is for holds more than that in one batch of images, and planning it would only take long.
MOST_BATCH_BYTES = 1 << 36


def compile(
    model: Layer | Iterable[Layer],
    input_shape: Iterable[int],
    loss: str | Loss | None = None,
    optimizer: str | Update | None = None,
    batch_size: int = 64,
    threads: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    backend: str = "native",
    parameters: Mapping[str, Any] | None = None,
    *,
    machine: Machine | None = None,
    algorithm: Algorithm = "auto",
) -> Program:
    """A program for ``model`` on images of ``input_shape`` (H, W, C).

    loss: "cross_entropy", "mse", "binary_cross_entropy", "huber" or a Loss; optimizer: a rule such as SGD(…); without both
    it only runs forward.
    batch_size: the largest batch of a step. threads: at most so many (None: as set_num_threads says). seed: of the first
    parameters, unless ``parameters`` gives them. dtype: "float32" or "float64". backend: "native" or "reference" (NumPy,
    slow). machine: the processor to make code for (default: this one; narrower instruction sets of it for tests).
    algorithm: "auto", where large 3 × 3 convolutions take a third of the multiplications and round two to three times as
    much (Winograd), and large 1 × 1 ones on maps of even size seven eighths (Strassen), or "direct".

    Raises ShapeError naming the layer that cannot work, ArgumentError for arguments that mean nothing.

    >>> from vecgrad.layers import Dense, Flatten
    >>> program = compile(Sequential([Flatten(), Dense(3)]), (4, 4, 1), loss="cross_entropy", backend="reference")
    >>> program.output_shape
    (3,)
    """
    if isinstance(model, Symbol):
        raise ArgumentError(f"model is a value, {model!r}, and not a model yet; write Model(inputs, outputs)")
    if not isinstance(model, Layer):
        model = Sequential(model)
    shape = _shape(input_shape)
    for value, what in (
        (batch_size, "batch_size"),
        *(((threads, "threads"),) if threads is not None else ()),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{what} must be a positive integer, got {value!r}")
    if threads is not None and threads > MOST_THREADS:
        raise ArgumentError(f"threads must be at most {MOST_THREADS}, got {threads}")
    _check_size(shape, batch_size, dtype)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ArgumentError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}")
    if dtype not in ("float32", "float64"):
        raise ArgumentError(f'dtype must be "float32" or "float64", got {dtype!r}')
    if algorithm != "auto" and algorithm != "direct":
        raise ArgumentError(f'algorithm must be "auto" or "direct", got {algorithm!r}')
    output = model.infer(shape)
    stated = model.parameters(shape)
    chosen_loss = None if loss is None else by_name(loss, LOSSES)
    if chosen_loss is not None:
        _check_loss(model, chosen_loss, output)
    update = _update(optimizer)
    if update is not None and chosen_loss is None:
        raise ArgumentError('an optimizer needs a loss; pass loss="cross_entropy" or loss="mse"')
    if update is not None and batch_size < model.least_images(shape):
        raise ShapeError(
            f"batch_size is {batch_size}, but training this model needs {model.least_images(shape)} images at least: "
            f"batch normalization of one value per channel has no variance"
        )
    layout = FlatLayout.of(stated)
    if update is not None:
        update.check(layout.trained)
    computing = _backend(
        backend,
        model,
        shape,
        output,
        chosen_loss,
        update,
        layout,
        dtype,
        batch_size,
        threads,
        machine,
        algorithm,
    )
    program = Program(model, shape, output, chosen_loss, update, batch_size, seed, dtype, layout, computing)
    if parameters is None:
        parameters = {name: initial(parameter, i, seed) for i, (name, parameter) in enumerate(stated.items())}
    program.load_parameters(parameters)
    return program


def _check_size(shape: Shape, batch_size: int, dtype: str) -> None:
    nbytes = size(shape) * batch_size * ITEM_BYTES.get(dtype, 4)
    if nbytes > MOST_BATCH_BYTES:
        raise ShapeError(
            f"a batch of {batch_size} images of shape {shape} takes {nbytes:,} bytes, more than the limit of "
            f"{MOST_BATCH_BYTES:,}; use a smaller batch_size or smaller images"
        )


def _shape(given: Iterable[int]) -> Shape:
    shape = tuple(given) if isinstance(given, Iterable) else (given,)
    if len(shape) not in (1, 2, 3) or any(
        isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in shape
    ):
        raise ShapeError(f"input_shape must be (height, width, channels) in positive integers, got {shape}")
    return (*shape, 1) if len(shape) == 2 else shape


def _check_loss(model: Layer, loss: Loss, output: Shape) -> None:
    last = ending(model)
    if isinstance(loss, CrossEntropy) and isinstance(last, Softmax):
        raise ArgumentError(
            "cross entropy takes logits: remove the final Softmax; predict_proba gives the probabilities"
        )
    if isinstance(loss, BinaryCrossEntropy) and isinstance(last, Sigmoid):
        raise ArgumentError(
            "binary cross entropy takes logits: remove the final Sigmoid; predict_proba gives the probabilities"
        )
    loss.check(output)


def _update(optimizer: str | Update | None) -> Update | None:
    if optimizer is None or isinstance(optimizer, Update):
        return optimizer
    if isinstance(optimizer, str) and optimizer in UPDATES:
        return UPDATES[optimizer]()
    raise ArgumentError(
        f"optimizer must be an update rule or one of {', '.join(map(repr, UPDATES))}, got {optimizer!r}"
    )


def _backend(
    kind: str, model: Layer, shape: Shape, output: Shape, loss: Loss | None, update: Update | None,
    layout: FlatLayout, dtype: str, batch_size: int, threads: int | None, machine: Machine | None,
    algorithm: Algorithm,
) -> Backend:  # fmt: skip
    if kind not in ("native", "reference"):
        raise ArgumentError(f'backend must be "native" or "reference", got {kind!r}')
    if kind == "native":
        from vecgrad.runtime import native_available

        if native_available():
            from vecgrad.program.native_backend import NativeBackend

            return NativeBackend(
                model, shape, output, loss, update, layout, dtype, batch_size, threads, machine, algorithm
            )
        warnings.warn("llvmlite is not installed: computing with NumPy, correctly but slowly", stacklevel=3)
    return ReferenceBackend(model, loss, update, layout, dtype, threads, algorithm)
