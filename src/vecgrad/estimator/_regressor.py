"""CNNRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array
from sklearn.utils.validation import column_or_1d

from vecgrad.estimator._base import BaseCNN, Images
from vecgrad.estimator._callbacks import with_callbacks
from vecgrad.layers import Dense, Layer, Sequential
from vecgrad.program import Program, compile

Array = NDArray[Any]


class CNNRegressor(RegressorMixin, BaseCNN):
    """A convolutional network that predicts numbers from images, trained by the mean squared error or Huber's loss.

    X and the parameters are as in ``CNNClassifier`` (there is no ``class_weight``); y is (n,) or (n, outputs). The network is
    trained on standardised targets, and ``program_`` has the scale folded into its last layer: it predicts y's own units.

    Parameters:
        architecture: as in ``CNNClassifier``; layers must end in ``Dense(outputs)``.
        loss: "squared_error", or "huber", which beyond one standard deviation of the targets grows only with the error itself.
        early_stopping: hold out ``validation_fraction`` of the samples and go by R² on them.
        optimizer, schedule, max_iter, batch_size, image_shape, data_format, dtype, augment, tta, validation_fraction,
            n_iter_no_change, tol, warm_start, random_state, threads, verbose: as in ``CNNClassifier``.

    Attributes:
        target_mean_, target_scale_: mean and standard deviation of each output of the first y that was trained on.
        validation_scores_, best_validation_score_: R² on what was held out; None without ``early_stopping``.
        loss_curve_, loss_, best_loss_: the loss of the standardised targets.
        n_features_in_, image_shape_, preparation_, n_iter_, history_, program_: as in ``CNNClassifier``.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> regressor = CNNRegressor(max_iter=10, random_state=0).fit(X[:600], X[:600].mean(axis=1))
    >>> bool(regressor.score(X[600:900], X[600:900].mean(axis=1)) > 0.5)
    True
    """

    _loss = "mse"

    def __init__(
        self,
        architecture: Any = "auto",
        *,
        loss: str = "squared_error",
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
        random_state: Any = None,
        threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.architecture = architecture
        self.loss = loss
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
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train on images X and targets y (n,) or (n, outputs), weighed by sample_weight (n,), which counts like repetition.

        Raises ValueError for X, y, weights or parameters that cannot be used, naming what came and what was expected.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """One epoch over X and y, going on where the last call ended; the first call learns the targets' scale."""
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> Array:
        """(n,) or (n, outputs), as y was; float32 for X of float32, else float64."""
        found, dtype = self._forward(X, "forward")
        # In float64: a float32 sum would round away what a large mean has on it.
        found = found.astype(np.float64) * self.target_scale_ + self.target_mean_
        return np.asarray(found[:, 0] if self._flat else found, dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # --- targets ----------------------------------------------------------------------------------
    def _checked_y(self, y: Any) -> Array:
        found = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
        if found.ndim == 2 and found.shape[1] == 1:
            found = column_or_1d(found, warn=True)
        if found.ndim > 2:
            raise ValueError(f"y has shape {found.shape}; expected (n,) or (n, outputs)")
        return np.asarray(found, np.float64)

    def _learn_targets(self, y: Array, weights: Array, classes: Any) -> None:
        self._flat = y.ndim == 1
        rows = y.reshape(len(y), -1)
        self.target_mean_ = np.average(rows, axis=0, weights=weights)
        spread = np.sqrt(np.average((rows - self.target_mean_) ** 2, axis=0, weights=weights))
        # A constant target has no scale; what rounding leaves of it must not be blown up.
        tiny = 1e-12 * np.maximum(np.abs(self.target_mean_), 1.0)
        self.target_scale_ = np.where(spread > tiny, spread, 1.0)
        self._public: Program | None = None

    def _targets(self, y: Array) -> Array:
        rows = y.reshape(len(y), -1)
        if rows.shape[1] != len(self.target_mean_):
            raise ValueError(
                f"y has {rows.shape[1]} outputs, but {type(self).__name__} was fitted with {len(self.target_mean_)}"
            )
        return np.asarray((rows - self.target_mean_) / self.target_scale_)

    def _outputs(self) -> int:
        return len(self.target_mean_)

    def _chosen_loss(self) -> str:
        return "huber" if getattr(self, "loss", "") == "huber" else self._loss

    def _accept(self, model: Layer) -> None:
        _last_dense(model)

    def _resume(self, images: int) -> None:
        before = self._program
        super()._resume(images)
        if self._program is not before:
            self._public = None

    def _finish(self) -> Program:
        trained = self._program
        parameters = (trained.average if trained.averaged else None) or trained.parameters
        last = _last_dense(trained.model)
        parameters[f"{last}weight"] = parameters[f"{last}weight"] * self.target_scale_
        parameters[f"{last}bias"] = parameters[f"{last}bias"] * self.target_scale_ + self.target_mean_
        if self._public is None:
            self._public = compile(
                trained.model,
                trained.input_shape,
                loss=trained.loss,
                optimizer=trained.optimizer,
                batch_size=trained.batch_size,
                threads=trained.threads,
                seed=trained.seed,
                dtype=trained.dtype,
            )
            self._public.data = trained.data
        self._public.load_parameters(parameters)
        return self._public

    def _score_prepared(self, x: Images, targets: Array, weights: Array) -> float:
        return float(r2_score(targets, self._program.forward(x, tta=self.tta), sample_weight=weights))


def _last_dense(model: Layer) -> str:
    """The path of the layer that gives the outputs, with a dot behind it. ValueError unless it is Dense with a bias."""
    path = ""
    while isinstance(model, Sequential) and model.layers:
        key, model = model.children()[-1]
        path += f"{key}."
    if not isinstance(model, Dense) or not model.bias:
        raise ValueError(
            f"architecture ends in {model}; expected Dense with a bias, into which the scale of y is folded"
        )
    return path
