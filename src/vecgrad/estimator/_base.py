"""What both estimators do: X and y checked, images prepared, the network trained until it is time to stop."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from vecgrad.data import LazyImages, Preparation, chosen, looks_channels_first
from vecgrad.data.augment import Normalize, augmentations
from vecgrad.estimator._callbacks import CallbackSupportMixin, Fitting
from vecgrad.estimator._images import as_images, as_rows, check_finite, computing_dtype, row_shape
from vecgrad.estimator._network import Recipe
from vecgrad.estimator._parameters import NestedParameters, check
from vecgrad.estimator._stopping import Patience
from vecgrad.layers import Layer
from vecgrad.losses import LOSSES, Loss, by_name
from vecgrad.program import Program
from vecgrad.spec.random import MASK
from vecgrad.train import Epoch, EpochEnd, EpochStart, History, events

Array = NDArray[Any]
Images = Array | LazyImages


class BaseCNN(NestedParameters, CallbackSupportMixin, BaseEstimator):
    """The shell around a program. A subclass says what targets and outputs mean."""

    _loss: str
    _program: Program  # the one that is trained; what users see as program_ may be made from it

    # --- what a subclass states -------------------------------------------------------------------
    def _checked_y(self, y: Any) -> Array:
        """y as scikit-learn's checks leave it."""
        raise NotImplementedError

    def _learn_targets(self, y: Array, weights: Array, classes: Any) -> None:
        """Remember what y is (its classes, its scale) from the first y that is trained on."""
        raise NotImplementedError

    def _targets(self, y: Array) -> Array:
        """y as the network is trained on it. ValueError where it does not fit what was learned."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """How many numbers the network gives for an image."""
        raise NotImplementedError

    def _accept(self, model: Layer) -> None:
        """ValueError for a network that cannot be used, before it is trained."""

    def _chosen_loss(self) -> str | Loss:
        """What is trained by: the loss as the parameters have it."""
        return self._loss

    def _described(self) -> dict[str, Any]:
        """What a run should know beside the preparation."""
        return {}

    def _finish(self) -> Program:
        """``program_``, made from the trained program."""
        return self._program

    # --- training ---------------------------------------------------------------------------------
    def _fit(self, X: Any, y: Any, sample_weight: Any, weighted: Any = None) -> None:
        """Trains on X and y; ``weighted(y, w)`` gives the weights after those of classes."""
        check(self)
        again = bool(self.warm_start) and hasattr(self, "program_")
        if not again:
            self.__dict__.pop("program_", None)  # until the new one is trained there is none
        images, y, weights = self._checked(X, y, sample_weight, reset=not again)
        self._begin(images, y, weights, again, classes=None)
        images, y, weights = self._counted(images, y, weights, weighted)
        held_out = None
        if self.early_stopping:
            images, y, weights, held_out = self._split(images, y, weights)
        self._train(images, y, weights, held_out)

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None, weighted: Any = None
    ) -> None:
        """One epoch over X and y, at the optimizer's learning rate."""
        check(self)
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it sees no validation data.")
        again = hasattr(self, "program_")
        images, y, weights = self._checked(X, y, sample_weight, reset=not again)
        self._begin(images, y, weights, again, classes)
        images, y, weights = self._counted(images, y, weights, weighted)
        for event in self._events(images, self._targets(y), weights, 1, None):
            if isinstance(event, EpochEnd):
                self._note(event.record)
        self.program_ = self._finish()

    def _checked(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Images, Array, Array]:
        """Images (n, H, W, C) as they came, y, and weights (n,) float64. ``image_shape_`` is learned with reset."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        rows, shape = self._rows(X, reset=reset)
        if isinstance(rows, LazyImages):
            check_finite(rows)
        y = self._checked_y(y)
        if len(y) != len(rows):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[len(rows), len(y)]}"
            )
        weights = check_sample_weight(sample_weight, rows, dtype=np.float64)
        weights = _usable(weights, "`sample_weight`")
        if reset:
            asked, order = self.image_shape, self.data_format
            if (
                shape is not None
                and asked is not None
                and row_shape(self.n_features_in_, asked, order) != shape
            ):
                raise ValueError(
                    f"X holds images of (height, width, channels) = {shape}, but image_shape={asked}"
                )
            if asked is None and shape is not None and looks_channels_first((len(rows), *shape)):
                self._warn_of_order(shape)
            self.image_shape_ = shape or row_shape(self.n_features_in_, asked, order)
        return self._images(rows, shape), y, weights

    @staticmethod
    def _warn_of_order(shape: tuple[int, int, int]) -> None:
        a, b, c = shape
        warnings.warn(
            f"X is taken as {a}×{b} images of {c} channels. If it holds {b}×{c} images of {a}, pass "
            f'data_format="channels_first"; if not, image_shape={shape} says so.',
            UserWarning,
            stacklevel=5,
        )

    def _rows(self, X: Any, *, reset: bool) -> tuple[Images, Any]:
        """``as_rows`` as scikit-learn's checks leave it; of lazy images the first one stands for all."""
        rows, shape = as_rows(X, self.data_format)
        self._same_shape(shape, reset)
        if shape is None or not isinstance(rows, LazyImages):
            return validate_data(self, rows, reset=reset, dtype="numeric"), shape
        first = rows[:1]
        validate_data(self, first.reshape(len(first), math.prod(shape)), reset=reset, dtype="numeric")
        return rows, shape

    def _same_shape(self, shape: Any, reset: bool) -> None:
        if not reset and shape is not None and shape != self.image_shape_:
            raise ValueError(
                f"X holds images of (height, width, channels) = {shape}, but {type(self).__name__} "
                f"is expecting {self.image_shape_}."
            )

    def _images(self, rows: Images, shape: Any) -> Images:
        if isinstance(rows, LazyImages):
            return rows
        planes = shape is None and self.data_format == "channels_first"
        return as_images(rows, self.image_shape_, planes)

    def _begin(self, images: Images, y: Array, weights: Array, again: bool, classes: Any) -> None:
        """The preparation, the targets and the network, unless the training goes on where the last one ended."""
        if again:
            self._resume(len(images))
            return
        self._learn_targets(y, weights, classes)
        counted = weights > 0
        if not counted.all():
            images, weights = chosen(images, np.flatnonzero(counted)), weights[counted]
        self.preparation_ = Preparation.of(images, weights=weights)
        recipe = Recipe.of(self, self.image_shape_, self._outputs(), len(images), self._chosen_loss())
        self._accept(recipe.model)
        seed = int(check_random_state(self.random_state).randint(MASK, dtype=np.uint64))
        dtype = computing_dtype(images, self.dtype)
        self._program = recipe.program(self.image_shape_, self._chosen_loss(), seed, dtype, self.threads)
        self._program.data = {"preparation": self.preparation_.to_json(), **self._described()}
        self._schedule, self._epochs = recipe.schedule, recipe.epochs
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.history_ = History(())

    def _resume(self, images: int) -> None:
        """The parameters as they are now; where they ask for another program, one that goes on as the old would."""
        recipe = Recipe.of(self, self.image_shape_, self._outputs(), images, self._chosen_loss())
        old = self._program
        self._schedule, self._epochs = recipe.schedule, recipe.epochs
        if recipe.model != old.model:
            raise ValueError(
                "architecture is not the one that was fitted, with which warm_start and partial_fit go on: "
                "call fit with warm_start=False"
            )
        threads = None if self.threads is None else int(self.threads)
        dtype = old.dtype if self.dtype == "auto" else self.dtype
        asked = (recipe.optimizer, recipe.batch_size, threads, dtype, by_name(self._chosen_loss(), LOSSES))
        if asked == (old.optimizer, old.batch_size, old.threads, old.dtype, old.loss):
            return
        new = recipe.program(self.image_shape_, self._chosen_loss(), old.seed, dtype, threads)
        new.load_parameters(old.parameters)
        if new.state.keys() == old.state.keys():
            new.load_state(old.state, old.steps)
        new.data = old.data
        self._program = new

    def _split(
        self, images: Images, y: Array, weights: Array
    ) -> tuple[Images, Array, Array, tuple[Images, Array, Array]]:
        """(images, y, weights, the prepared images, targets and weights that are held out)."""
        # By number: what lies on the disk is not read for it.
        kept, apart = train_test_split(
            np.arange(len(images)),
            test_size=self.validation_fraction,
            random_state=self._program.seed & 0x7FFFFFFF,
            stratify=y if self._loss == "cross_entropy" else None,
        )
        held_out = self._prepared(chosen(images, apart)), self._targets(y[apart]), weights[apart]
        return chosen(images, kept), y[kept], weights[kept], held_out

    @staticmethod
    def _counted(images: Images, y: Array, weights: Array, weighted: Any) -> tuple[Images, Array, Array]:
        """Only the samples that count, one of weight zero is as if it were not there; weights as ``weighted`` changes them."""
        if weighted is not None:
            weights = _usable(weighted(y, weights), "`class_weight` times `sample_weight`")
        kept = weights > 0
        if kept.all():
            return images, y, weights
        return chosen(images, np.flatnonzero(kept)), y[kept], weights[kept]

    def _prepared(self, images: Images) -> Images:
        return self.preparation_.images(images, dtype=self._program.dtype)

    def _events(self, images: Images, targets: Array, weights: Array, epochs: int, schedule: Any) -> Any:
        same = bool((weights == weights[0]).all())
        return events(
            self._program,
            self._prepared(images),
            targets,
            epochs,
            # Of weights only the ratios count, and so they stay far from the largest and the smallest number.
            sample_weight=None if same else weights / weights.mean(),
            shuffle=True,
            schedule=schedule,
            augment=self._augmentations(),
            training_accuracy=bool(self.verbose),
        )

    def _augmentations(self) -> Any:
        steps = augmentations(self.augment)
        if any(isinstance(step, Normalize) for step in steps):
            raise ValueError(
                "augment: the images are normalised anyway, see preparation_; leave Normalize out"
            )
        return steps

    def _train(
        self, images: Images, y: Array, weights: Array, held_out: tuple[Images, Array, Array] | None
    ) -> None:
        epochs = self._epochs if self.max_iter == "auto" else int(self.max_iter)
        patience = Patience(float(self.tol), int(self.n_iter_no_change))
        best = None
        # Callbacks get X and y in a form that ``predict`` and ``score`` take.
        planes = self.data_format == "channels_first" and not isinstance(images, LazyImages)
        shown = np.moveaxis(np.asarray(images), -1, 1) if planes else images
        fitting = Fitting(self, epochs, shown, y, weights, self._fitted)
        targets = self._targets(y)
        with fitting.task():
            try:
                for event in self._events(images, targets, weights, epochs, self._schedule):
                    if isinstance(event, EpochStart):
                        fitting.begin_epoch()
                    elif isinstance(event, EpochEnd):
                        self._note(event.record)
                        score = -event.record.loss
                        if held_out is not None:
                            score = self._validated(*held_out)
                            if score > patience.best:
                                best = self._program.parameters, self._program.state, self._program.steps
                        if fitting.end_epoch() | patience.lost(score):
                            break
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=4)
            if best is not None:
                parameters, state, steps = best
                self._program.load_parameters(parameters)
                self._program.load_state(state, steps)
                self.best_validation_score_ = patience.best
            self.program_ = self._finish()

    def _note(self, record: Epoch) -> None:
        self.n_iter_ += 1
        self.loss_curve_.append(record.loss)
        self.loss_ = record.loss
        self.best_loss_ = min(self.loss_curve_)
        self.history_ = History((*self.history_.epochs, record))
        if self.verbose:
            print(record, flush=True)

    def _validated(self, x: Images, targets: Array, weights: Array) -> float:
        score = self._score_prepared(x, targets, weights)
        self.validation_scores_ = [*(self.validation_scores_ or ()), score]
        return score

    def _score_prepared(self, x: Images, targets: Array, weights: Array) -> float:
        """Of prepared images: the accuracy, or R², that ``score`` would give."""
        raise NotImplementedError

    def _fitted(self) -> dict[str, Any]:
        """What a copy needs to predict as if training had stopped here."""
        return {"program_": self._finish(), "_program": self._program}

    # --- prediction -------------------------------------------------------------------------------
    def _forward(self, X: Any, method: str) -> tuple[Array, Any]:
        """(what the trained program's ``method`` gives for every image of X, the dtype that results should have)."""
        check_is_fitted(self, "program_")
        rows, shape = self._rows(X, reset=False)
        images = self._images(rows, shape)
        found = getattr(self._program, method)(self._prepared(images), tta=self.tta)
        single = rows.dtype in (np.float16, np.float32)
        return found, np.float32 if single else np.float64


def _usable(weights: Array, what: str) -> Array:
    """The weights, the largest being 1: only their ratios count. Raises ValueError where they cannot be used."""
    if not np.isfinite(weights).all():
        raise ValueError(f"NaN or infinity in {what}.")
    if (weights < 0).any():
        raise ValueError(f"Negative values in data passed to {what}.")
    if not weights.any():
        raise ValueError(f"{what} is zero for every sample: nothing would count.")
    return np.asarray(weights / weights.max())
