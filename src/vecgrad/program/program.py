"""A compiled model: one training step per call, predictions, gradients, a trace of every value."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecgrad.graph.build import Wanted
from vecgrad.layers import Layer, Rescale
from vecgrad.layers.composite import beginnings
from vecgrad.losses import Loss
from vecgrad.program import door, views
from vecgrad.program.backend import Backend
from vecgrad.program.evaluation import Evaluation, evaluate, predict
from vecgrad.program.flat import FlatLayout
from vecgrad.program.forks import renewed_in_children
from vecgrad.program.incoming import Incoming
from vecgrad.program.trace import LayerTrace, traces
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.random import MASK
from vecgrad.spec.tensor import Shape
from vecgrad.updates import AVERAGE, SLOW, Update

if TYPE_CHECKING:
    from vecgrad.data import Dataset, LazyImages
    from vecgrad.program.explain import Explanation
    from vecgrad.program.saving import Trained
    from vecgrad.program.shortcut import Shortcut
    from vecgrad.program.stepping import Stepping

Array = np.ndarray[Any, np.dtype[Any]]
# Images, what the loss is given, one weight per image, the runtime scalars of the weights.
_Labelled = tuple[Array, Array, Array, dict[str, float]]
# By whether they are those of the average.
_PREDICTION = tuple(Wanted(prediction=True, averaged=averaged) for averaged in (False, True))
_PROBABILITIES = tuple(Wanted(probabilities=True, averaged=averaged) for averaged in (False, True))


class Program:
    """Made by ``vecgrad.compile``. Several Python threads may call it: calls are served one at a time.

    Arrays are batches of images (n, H, W, C), channels last; (n, H, W) stands for one channel. Results have
    the program's dtype. LazyImages, and arrays too large to be converted at once, are read batch by batch. Where ``data`` has a
    preparation that was made for whole numbers, integers are pixels as they were read, and prepared; floats never are.

    A program can be copied and pickled: what is kept is what ``vecgrad.compile`` was told, the parameters, the optimizer's
    state and ``data``; the copy compiles when it is first used, for the processor it then finds.

    Attributes:
        least_images: a training step takes at least so many; 2 where batch normalization sees one value per image.
        rescales: its model begins with Rescale and takes pixels as they were read.
        data: what is known of the images: a mapping with "class_names", "preparation" and more, or None. ``save``
            writes it and ``vecgrad.load`` reads it.
    """

    def __init__(
        self, model: Layer, input_shape: Shape, output_shape: Shape, loss: Loss | None, optimizer: Update | None,
        batch_size: int, seed: int, dtype: str, layout: FlatLayout, backend: Backend,
    ) -> None:  # fmt: skip
        self.model = model
        self.input_shape = input_shape
        self.output_shape = output_shape
        self.loss = loss
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.seed = seed
        self.dtype = dtype
        self.layout = layout
        self.steps = 0
        self.least_images = model.least_images(input_shape)
        self.data: Mapping[str, Any] | None = None
        self._backend = backend
        self._averaged = AVERAGE in backend.state
        self._lock = threading.RLock()
        renewed_in_children(self)
        first = beginnings(model)
        self.rescales = bool(first) and all(isinstance(layer, Rescale) for layer in first)
        self._incoming = Incoming(input_shape, dtype, self.rescales)
        self._kind = np.dtype(dtype)
        self._shortcuts: dict[tuple[str, bool, tuple[int, ...]], Shortcut] = {}
        self._steppings: dict[tuple[int, ...], Stepping] = {}

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.input_shape))
        return f"<Program: {self.model} on {shape}, batch {self.batch_size}, {self.dtype}, {self.backend}, {self.steps} steps>"

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        from vecgrad.program.saving import restored, told

        with self._lock:
            return restored, (told(self),)

    # --- parameters -----------------------------------------------------------------------------
    @property
    def backend(self) -> str:
        """ "native" or "reference"."""
        return self._backend.name

    @property
    def threads(self) -> int | None:
        """At most so many threads work for it; None: as many as ``get_num_threads`` says when it is called."""
        return self._backend.threads

    @property
    def algorithm(self) -> str:
        """ "auto" or "direct", as ``vecgrad.compile`` was told."""
        return self._backend.algorithm

    @property
    def parameters(self) -> dict[str, Array]:
        """Snapshots of the parameters by name, in layer order, weight before bias: copies in their public shape."""
        with self._lock:
            return {name: view.copy() for name, view in self.layout.views(self._backend.weights).items()}

    def load_parameters(self, arrays: Mapping[str, Any]) -> None:
        """Replaces all parameters, and what of them the optimizer keeps: slow ones, an average.

        ShapeError for a missing, an extra or a wrongly shaped one, and then nothing changes.
        """
        checked = self.layout.checked(arrays, self.dtype)
        with self._lock:
            for name, view in self.layout.views(self._backend.weights).items():
                view[...] = checked[name]
            for name in self._backend.state.keys() & {SLOW, AVERAGE}:
                kept = self._backend.state[name]
                kept[...] = self._backend.weights[: len(kept)]
            self._backend.changed()

    @property
    def average(self) -> dict[str, Array] | None:
        """Snapshots of the optimizer's average of the parameters, statistics included; None where it keeps none."""
        if AVERAGE not in self._backend.state:
            return None
        with self._lock:
            flat = self._backend.state[AVERAGE]
            return {name: view.copy() for name, view in self.layout.views(flat).items()}

    @property
    def averaged(self) -> bool:
        """Whether predictions and evaluations use the average: at first they do where the optimizer keeps one.

        May be set. Gradients and traces are always those of the parameters.
        """
        return self._averaged

    @averaged.setter
    def averaged(self, value: bool) -> None:
        if value and AVERAGE not in self._backend.state:
            raise ArgumentError("the optimizer keeps no average; pass it one, such as SGD(…, average=0.999)")
        with self._lock:
            self._averaged = bool(value)

    @property
    def state(self) -> dict[str, dict[str, Array]]:
        """Snapshots of the optimizer's state: {state name: {parameter name: array}}."""
        with self._lock:
            return {
                name: {key: view.copy() for key, view in self.layout.views(flat).items()}
                for name, flat in self._backend.state.items()
            }

    def load_state(self, state: Mapping[str, Mapping[str, Any]], steps: int) -> None:
        """Replaces the optimizer's state and the number of steps done; strict as ``load_parameters``."""
        if set(state) != set(self._backend.state):
            raise ShapeError(
                f"optimizer state {sorted(state)} does not fit the optimizer, which keeps {sorted(self._backend.state)}"
            )
        checked = {
            name: self.layout.checked(arrays, self.dtype, len(self._backend.state[name]) < self.layout.total)
            for name, arrays in state.items()
        }
        with self._lock:
            for name, arrays in checked.items():
                for key, view in self.layout.views(self._backend.state[name]).items():
                    view[...] = arrays[key]
            self._backend.changed()
            self.steps = steps

    # --- work -----------------------------------------------------------------------------------
    def step(self, x: Any, y: Any, sample_weight: Any = None, learning_rate: float | None = None) -> float:
        """One training step on n ≤ batch_size images; returns the loss before it.

        x (n, *input_shape); y (n,) class numbers, or an array (n, *output_shape); sample_weight (n,). learning_rate
        replaces the optimizer's for this step. Raises DataError or ShapeError before anything changes.
        """
        loss, optimizer = self._needs_loss(), self._needs_optimizer()
        plain = type(x) is type(y) is np.ndarray and sample_weight is None
        if plain and (short := self._steppings.get(x.shape)) is not None:
            with self._lock:
                if short.takes(x, y):
                    rate = _rate(optimizer.learning_rate if learning_rate is None else learning_rate)
                    scalars = self._step_scalars(optimizer, short.weighing, rate)
                    value = short.run(scalars)
                    self.steps += 1
                    return value
        given = x
        x, t, w, weighing = self._labelled(x, y, sample_weight, loss)
        self._enough(len(x))
        rate = _rate(optimizer.learning_rate if learning_rate is None else learning_rate)
        with self._lock:
            value = self._backend.step(x, t, w, self._step_scalars(optimizer, weighing, rate))
            self.steps += 1
            if plain and (short := self._backend.stepping(len(x))) is not None:
                self._steppings[given.shape] = short  # with or without a channel of one: the same memory
        return value

    def forward(self, x: Any, *, tta: str | None = None) -> Array:
        """The network's output (n, *output_shape), logits under cross entropy, for any n.

        tta: test-time augmentation, the weighted mean of the outputs for several views of each image (n, H, W, C): "flip" is
        the image and its mirror image; "flip-shift" adds both moved by one pixel up and left, and down and right.
        """
        if tta is not None:
            return views.forward(self, x, tta)
        return self._predict(x, _PREDICTION[self._averaged], "prediction")

    def predict_proba(self, x: Any, *, tta: str | None = None) -> Array:
        """Probabilities (n, classes): the softmax of what ``forward`` gives. Needs loss="cross_entropy".

        With loss="binary_cross_entropy" (n, *output_shape): the sigmoid of each logit.
        """
        if not hasattr(self.loss, "probabilities"):
            raise ArgumentError(
                'predict_proba needs a program compiled with loss="cross_entropy"; forward gives the raw output'
            )
        if tta is not None:
            return views.probabilities(self, x, tta)
        return self._predict(x, _PROBABILITIES[self._averaged], "probabilities")

    def gradients(
        self, x: Any, y: Any, sample_weight: Any = None, inputs: bool = False, training: bool = True
    ) -> dict[str, Array]:
        """∂z/∂w for every parameter that has a gradient, by name, in its public shape; with ``inputs`` also "x": ∂z/∂x.

        training: of the loss that ``step`` minimizes (batch normalization over this batch), else of ``evaluate``'s. Nothing
        changes.
        """
        wanted = Wanted(training=training, gradients=True, input_gradient=inputs)
        found = self._labelled_run(x, y, sample_weight, wanted)
        gradients = {name: found[f"gradient.{name}"] for name in self.layout.trained}
        return gradients | {"x": found["dx"]} if inputs else gradients

    def trace(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, LayerTrace]:
        """Every x^k and ∂z/∂x^k by layer name; "output" is the network's output. Nothing changes."""
        wanted = Wanted(
            training=True, prediction=True, loss=True, gradients=True, input_gradient=True, trace=True
        )
        return traces(self._labelled_run(x, y, sample_weight, wanted))

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None, *, tta: str | None = None) -> Evaluation:
        """Mean loss and, for class labels, accuracy over any number of images; ``tta`` as in ``forward``."""
        loss = self._needs_loss()
        if tta is not None:
            return views.evaluate(self, loss, x, y, sample_weight, tta)
        wanted = Wanted(prediction=True, loss=True, averaged=self._averaged)

        def run(images: Array, rows: Array, w: Array, scalars: Mapping[str, float]) -> tuple[float, Array]:
            found = self._backend.run(wanted, images, rows, w, scalars)
            return float(found["loss"][0]), found["prediction"]

        x = self.check_images(x)
        with self._lock:
            return evaluate(run, loss, x, y, sample_weight, self.output_shape, self.dtype, self.batch_size)

    def check_images(self, x: Any) -> Array | LazyImages:
        """x (n, …) as every method takes it: an array (n, *input_shape) of the program's dtype, for any n.

        Of LazyImages, and of arrays for whose converted form memory has no room, LazyImages whose batches are such arrays.
        Raises ShapeError or DataError where no method would take it.
        """
        return self._incoming.images(x, self.data)

    # --- keeping --------------------------------------------------------------------------------
    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        history: Trained | None = None,
        data: Dataset | Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a run folder from which ``vecgrad.load`` makes this program again; returns its full path.

        history: what ``vecgrad.fit`` returned. data: the Dataset trained on, or a mapping with "class_names",
        "preparation" and more, so that the run can prepare images and name classes (None: the attribute ``data``).
        metrics: numbers to keep.
        A run that is there already is replaced once the new one is complete. Raises RunError for a folder
        that holds something else, and for what cannot be saved.
        """
        from vecgrad.program.saving import save

        with self._lock:
            return save(folder, self, history, data, metrics)

    def explain(self, time: bool = False) -> Explanation:
        """How the training step (without optimizer: the prediction) is computed, call by call.

        time: also measures each call on a full batch of noise; the parameters stay as they are. Raises ArgumentError for the
        reference backend, which has no plan.
        """
        from vecgrad.program.explain import explain
        from vecgrad.program.native_backend import NativeBackend
        from vecgrad.runtime import get_num_threads

        if not isinstance(self._backend, NativeBackend):
            raise ArgumentError('only compiled programs can be explained; compile with backend="native"')
        with self._lock:
            threads = self._backend.threads or get_num_threads()
            return explain(self._backend, self.optimizer is not None, time, threads)

    # --- inside ---------------------------------------------------------------------------------
    def _predict(self, x: Any, wanted: Wanted, name: str) -> Array:
        plain = type(x) is np.ndarray and x.dtype == self._kind
        if plain and (short := self._shortcuts.get((name, wanted.averaged, x.shape))) is not None:
            with self._lock:
                found = short(x)
            if found is not None:
                return found
        given = x
        x = self.check_images(x)
        with self._lock:
            result = predict(
                lambda images: self._backend.run(wanted, images, None, None, {})[name],
                x, self.output_shape, self.dtype, self.batch_size,
            )  # fmt: skip
            if plain and given.shape == x.shape and (short := self._backend.shortcut(wanted, name, len(x))):
                self._shortcuts[name, wanted.averaged, x.shape] = short
        return result

    def _step_scalars(self, rule: Update, weighing: Mapping[str, float], rate: float) -> dict[str, float]:
        return {**weighing, "learning_rate": rate, **rule.numbers(self.steps + 1), **self._drawn}

    def _labelled(self, x: Any, y: Any, sample_weight: Any, loss: Loss) -> _Labelled:
        x = self._incoming.images(x, self.data)
        n = len(x)
        if not 1 <= n <= self.batch_size:
            raise ShapeError(
                f"got {n} images, expected 1 to {self.batch_size} (the batch_size the program was compiled for)"
            )
        x = x[:]  # LazyImages are read
        t = door.targets(y, n, loss, self.output_shape, self.dtype)
        w, weighing = door.weights(sample_weight, n, self.dtype)
        return x, door.rows(t, w, loss, self.dtype), w, weighing

    def _enough(self, n: int) -> None:
        """ShapeError where batch normalization would divide by the variance of a single value."""
        if n < self.least_images:
            raise ShapeError(
                f"a training step of this model needs at least {self.least_images} images, got {n}: batch "
                f"normalization of one value per channel has no variance; use a larger batch"
            )

    def _labelled_run(self, x: Any, y: Any, sample_weight: Any, wanted: Wanted) -> dict[str, Array]:
        x, t, w, weighing = self._labelled(x, y, sample_weight, self._needs_loss())
        if wanted.training:
            self._enough(len(x))
        with self._lock:
            return self._backend.run(wanted, x, t, w, weighing | self._drawn)

    @property
    def _drawn(self) -> dict[str, float]:
        """What random masks are drawn from, in words: the seed, and the step that is due, whose masks gradients show too."""
        words = {"seed_low": self.seed, "seed_high": self.seed >> 32, "mask_step": self.steps}
        return {name: float(word & MASK) for name, word in words.items()}

    def _needs_loss(self) -> Loss:
        if self.loss is None:
            raise ArgumentError(
                'this program was compiled without a loss; pass loss="cross_entropy" to compile'
            )
        return self.loss

    def _needs_optimizer(self) -> Update:
        if self.optimizer is None:
            raise ArgumentError(
                "this program was compiled without an optimizer; pass optimizer=vecgrad.SGD(…) to compile"
            )
        return self.optimizer


def _rate(value: Any) -> float:
    """A learning rate as a float."""
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = float("nan")
    if not 0 <= rate < float("inf"):
        raise ArgumentError(f"learning_rate must be a finite number of at least 0, got {value!r}")
    return rate
