"""CNNClassifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from vecgrad.estimator._base import BaseCNN, Images
from vecgrad.estimator._callbacks import with_callbacks
from vecgrad.losses import CrossEntropy, Loss

Array = NDArray[Any]


class CNNClassifier(ClassifierMixin, BaseCNN):
    """A convolutional network that classifies images, trained by cross entropy.

    X is (n, height, width), (n, height, width, channels), with ``data_format="channels_first"`` (n, channels, height,
    width), or rows of pixels (n, features); integers or floats. Lazy images, such as ``vecgrad.data.open`` gives of sets that
    memory does not hold, are read batch by batch. How images are scaled and centred is learned from the
    training images by ``fit`` and part of the fitted model. y is (n,): integers, strings, whatever can be sorted.

    Parameters:
        architecture: "auto" chooses a built-in network by the size of the images; or its name ("digits", "mnist",
            "lenet5", …); or layers that end in one output for each class; or a callable (input_shape, outputs) -> layers.
        optimizer: an update rule such as ``vecgrad.SGD(0.05, momentum=0.9)``, or "sgd", "adam", "adamw" or "rmsprop"; None is
            the built-in's. Its fields are nested parameters: ``optimizer__learning_rate``.
        schedule: how the learning rate moves over ``max_iter`` epochs: "constant", "steps", "cosine", "linear", "one_cycle"
            or a ``vecgrad.train.Schedule``; "auto" is the built-in's.
        max_iter: epochs, at most. "auto": the built-in's number, for few images so many more that about 1,000 steps are
            made, but not more than 200 epochs.
        batch_size: images a training step; "auto" is the built-in's.
        image_shape: (height, width) or (height, width, channels) of the image that a row of X is, channels first where
            ``data_format`` says so. None: a square of one or three channels if the features make one up, else one row.
        data_format: "channels_last" or "channels_first".
        dtype: what is computed with. "auto": "float32" where it holds X exactly (images of integers, float32), else
            "float64", which takes about twice the time.
        augment: changes that are made to the images at random in every epoch: augmentations of ``vecgrad.data.augment`` such as
            (Flip(), PadCrop(4)), or their text "flip,pad-crop:4". They see the images as ``preparation_`` leaves them.
        tta: test-time augmentation, "flip" or "flip-shift": predictions for several views of each image are averaged.
        early_stopping: hold out ``validation_fraction`` of the samples, stop when their accuracy has not improved by ``tol``
            for ``n_iter_no_change`` epochs, and keep the best epoch. Else the training loss decides when to stop.
        warm_start: ``fit`` goes on where the last one ended.
        class_weight: None, "balanced" or {class: weight}.
        label_smoothing: the share of each label that is spread evenly over all classes.
        random_state: of the first parameters, the order of images and the validation split.
        threads: at most so many; None: as ``vecgrad.set_num_threads`` says. The results are the same bits.
        verbose: print a line an epoch.

    Attributes:
        classes_: the classes (k,), sorted.
        n_features_in_: height · width · channels. ``feature_names_in_`` where X had column names.
        image_shape_: (height, width, channels).
        preparation_: the ``vecgrad.data.Preparation`` of the training images.
        n_iter_: epochs that were trained.
        loss_curve_, loss_, best_loss_: the training loss of every epoch, of the last and of the best.
        validation_scores_, best_validation_score_: accuracy on what was held out; None without ``early_stopping``.
        history_: a ``vecgrad.train.History``.
        program_: the ``vecgrad.Program``; ``program_.save(RUN)`` writes what the command line reads.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = CNNClassifier(max_iter=3, random_state=0).fit(X[:600], y[:600])
    >>> bool(classifier.score(X[600:900], y[600:900]) > 0.8)
    True
    """

    _loss = "cross_entropy"

    def __init__(
        self,
        architecture: Any = "auto",
        *,
        optimizer: Any = None,
        schedule: Any = "auto",
        max_iter: Any = "auto",
        batch_size: Any = "auto",
        image_shape: Any = None,
        data_format: str = "channels_last",
        dtype: str = "auto",
        augment: Any = None,
        tta: str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        random_state: Any = None,
        threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.architecture = architecture
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.data_format = data_format
        self.dtype = dtype
        self.augment = augment
        self.tta = tta
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train on images X and their classes y (n,), weighed by sample_weight (n,), which counts like repetition.

        Raises ValueError for X, y, weights or parameters that cannot be used, naming what came and what was expected.
        """
        self._fit(X, y, sample_weight, weighted=self._class_weighted)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> CNNClassifier:
        """One epoch over X and y, going on where the last call ended. ``classes``: all there will be, for the first call."""
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: no call sees all samples. Pass the weights of "
                "compute_class_weight('balanced', classes=classes, y=y) as a dict instead."
            )
        if classes is None and not hasattr(self, "program_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if (
            classes is not None
            and hasattr(self, "program_")
            and not np.array_equal(np.unique(classes), self.classes_)
        ):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        self._partial_fit(X, y, sample_weight, classes, weighted=self._class_weighted)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, classes), in the order of ``classes_``; float32 for X of float32, else float64."""
        found, dtype = self._forward(X, "predict_proba")
        probabilities = found.astype(dtype)
        # What was computed in float32 sums to 1 only that exactly.
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of ``predict_proba``."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict(self, X: Any) -> Array:
        """The most probable class of each image, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    # --- targets ----------------------------------------------------------------------------------
    def _checked_y(self, y: Any) -> Array:
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind.startswith("multilabel"):
            raise ValueError(
                "y is a label indicator matrix (one-hot rows); expected class labels (n,): pass y.argmax(axis=1)"
            )
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return np.asarray(y)

    def _learn_targets(self, y: Array, weights: Array, classes: Any) -> None:
        found = np.unique(y if classes is None else np.asarray(classes))
        if len(found) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data contains only "
                f"one class: {found[0]!r}"
            )
        self.classes_ = found

    def _targets(self, y: Array) -> Array:
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(
                f"y holds classes that are not among those of the first fit: {np.unique(y[~known]).tolist()}, "
                f"expected {self.classes_.tolist()}"
            )
        return np.asarray(np.searchsorted(self.classes_, y), np.int64)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _chosen_loss(self) -> Loss:
        # A pickle of an earlier version has none.
        return CrossEntropy(label_smoothing=float(getattr(self, "label_smoothing", 0.0)))

    def _described(self) -> dict[str, Any]:
        return {"class_names": [str(name) for name in self.classes_.tolist()]}

    def _class_weighted(self, y: Array, weights: Array) -> Array:
        if self.class_weight is None:
            return weights
        if self.class_weight != "balanced":
            return np.asarray(weights * compute_sample_weight(self.class_weight, y))
        # Not scikit-learn's function, which counts samples: here a weight is a repetition.
        codes = self._targets(y)
        totals = np.bincount(codes, weights, minlength=len(self.classes_))
        return np.asarray(weights / np.where(totals > 0, totals, 1.0)[codes])

    def _score_prepared(self, x: Images, targets: Array, weights: Array) -> float:
        return float(
            accuracy_score(
                targets, self._program.forward(x, tta=self.tta).argmax(axis=1), sample_weight=weights
            )
        )
