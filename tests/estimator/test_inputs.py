"""X and y in all their forms: the same images give the same bits, and what cannot be used is named."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning, NotFittedError
from tests.estimator.small import classifier, regressor

from vecgrad import SGD, CNNClassifier
from vecgrad.data import LazyImages
from vecgrad.layers import Conv2D, Dense, Flatten, ReLU
from vecgrad.train import Constant


def memory_mapped(X: Any, folder: Path) -> Any:
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def test_every_form_of_the_same_images_gives_the_same_bits(stripes: Any, tmp_path: Path) -> None:
    X, y = stripes
    expected = classifier().fit(X, y).predict_proba(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    planes = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    forms: list[tuple[Any, dict[str, Any]]] = [
        (read_only, {}),
        (X.tolist(), {}),
        (np.repeat(X, 2, axis=1)[:, ::2], {}),
        (np.asfortranarray(X), {}),
        (memory_mapped(X, tmp_path), {}),
        (LazyImages.of(X), {}),
        (LazyImages.of(X), {"data_format": "channels_first"}),
        (X.reshape(90, -1), {"image_shape": (6, 5, 3)}),
        (planes, {"data_format": "channels_first"}),
        (planes.reshape(90, -1), {"data_format": "channels_first", "image_shape": [3, 6, 5]}),
    ]
    for form, params in forms:
        fitted = classifier(**params).fit(form, y)
        assert fitted.image_shape_ == (6, 5, 3)
        assert fitted.n_features_in_ == 90
        assert (fitted.predict_proba(form) == expected).all()


def test_channels_that_seem_to_come_first_are_asked_about(stripes: Any) -> None:
    X, y = stripes
    planes = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    with pytest.warns(UserWarning, match=r'6×5 images of 3, pass data_format="channels_first"') as told:
        assert classifier(max_iter=1).fit(planes, y).image_shape_ == (3, 6, 5)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(max_iter=1, image_shape=(3, 6, 5)).fit(planes, y)
        classifier(max_iter=1).fit(X, y)


def test_lazy_images_are_never_read_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (2500, 6, 5, 3), dtype=np.uint8), np.arange(2500) % 2
    read: list[int] = []

    def reading(places: Any) -> Any:
        read.append(len(places))
        return X[places]

    lazy = LazyImages(reading, np.arange(2500), X.shape[1:], X.dtype)
    params = {"max_iter": 2, "early_stopping": True, "batch_size": 32}
    fitted = classifier(**params).fit(lazy, y)
    assert (fitted.predict_proba(lazy) == classifier(**params).fit(X, y).predict_proba(X)).all()
    assert fitted.n_features_in_ == 90
    assert max(read) < 1250
    with pytest.raises(ValueError, match=re.escape("(6, 4, 3), but CNNClassifier is expecting (6, 5, 3)")):
        fitted.predict(LazyImages.of(X[:, :, :4]))
    with pytest.raises(ValueError, match=r"at least one|minimum of 1"):
        fitted.predict(lazy.take(np.arange(0)))


def test_a_lazy_image_with_nan_is_named(stripes: Any) -> None:
    X, y = stripes
    X = X.astype(np.float32)
    fitted = classifier().fit(LazyImages.of(X), y)
    X[70, 2, 2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity, in image 70"):
        classifier().fit(LazyImages.of(X), y)
    with pytest.raises(ValueError, match="holds nan at"):
        fitted.predict(LazyImages.of(X))


def test_rows_and_images_can_be_mixed_between_fit_and_predict(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier().fit(X, y)
    assert (fitted.predict_proba(X.reshape(90, -1)) == fitted.predict_proba(X)).all()
    with pytest.raises(ValueError, match=re.escape("(5, 6, 3), but CNNClassifier is expecting (6, 5, 3)")):
        fitted.predict(X.transpose(0, 2, 1, 3))


@pytest.mark.parametrize(
    ("features", "expected"),
    [(64, (8, 8, 1)), (784, (28, 28, 1)), (3072, (32, 32, 3)), (10, (1, 10, 1)), (9, (1, 9, 1)), (90, (1, 90, 1)), (1, (1, 1, 1))],
)  # fmt: skip
def test_the_shape_of_rows(features: int, expected: tuple[int, int, int]) -> None:
    X = np.random.default_rng(0).random((12, features), dtype=np.float32)
    y = np.arange(12) % 2
    assert CNNClassifier(max_iter=1, architecture=_flat).fit(X, y).image_shape_ == expected


def _flat(shape: Any, outputs: int) -> list[Any]:
    return [Flatten(), Dense(outputs)]


def test_greys_without_a_channel_axis(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier().fit(X[..., 0], y)
    assert fitted.image_shape_ == (6, 5, 1)
    assert (fitted.predict(X[..., 0]) == fitted.predict(X[..., :1])).all()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float32", "float64"])
def test_what_numbers_mean_is_learned(stripes: Any, dtype: str) -> None:
    X, y = stripes
    X = (X > 100).astype(dtype) if dtype == "bool" else X.astype(dtype)
    fitted = classifier(max_iter=25).fit(X, y)
    assert fitted.score(X, y) > 0.9
    assert fitted.predict_proba(X).dtype == (
        np.float32 if dtype == "float16" or dtype == "float32" else np.float64
    )
    assert fitted.program_.dtype == "float32", "it holds them all exactly"
    assert fitted.preparation_.scale == (1 if dtype == "bool" else 255 if dtype == "uint8" else X.max())


def test_what_float32_cannot_hold_is_computed_in_float64_unless_told(stripes: Any) -> None:
    X, y = stripes
    X = X / 255
    assert classifier(max_iter=1).fit(X, y).program_.dtype == "float64"
    assert classifier(max_iter=1, dtype="float32").fit(X, y).program_.dtype == "float32"
    assert classifier(max_iter=1).fit(X.astype(np.float32), y).program_.dtype == "float32"
    assert classifier(max_iter=1).fit((X * 2**26).astype(np.int64), y).program_.dtype == "float64"


@pytest.mark.parametrize(
    "names",
    [np.array(["cat", "dog", "eel"]), np.array(["cat", "dog", "eel"], object), np.array([-7.0, 0.0, 2.0]),
     np.array([5, 50, 500]), np.array([False, True])],
    ids=["strings", "objects", "floats", "integers", "booleans"],
)  # fmt: skip
def test_labels_of_every_kind_come_back(stripes: Any, names: Any) -> None:
    X, y = stripes
    y = np.minimum(y, len(names) - 1)
    fitted = classifier(max_iter=25).fit(X, names[y])
    assert (fitted.classes_ == np.unique(names)).all()
    assert fitted.predict(X).dtype == np.unique(names).dtype
    assert fitted.score(X, names[y]) > 0.9


def test_a_column_of_labels_is_taken_with_a_warning(stripes: Any) -> None:
    X, y = stripes
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        classifier(max_iter=1).fit(X, y[:, np.newaxis])


BAD_DATA: list[tuple[Any, str]] = [
    (
        lambda X, y: (X, np.eye(3)[y]),
        r"one-hot rows\); expected class labels \(n,\): pass y.argmax\(axis=1\)",
    ),
    (lambda X, y: (X, y + 0.5), "Unknown label type"),
    (lambda X, y: (X, np.zeros(90)), "the data contains only one class: "),
    (lambda X, y: (X[:1], y[:1]), "at least 2 classes in the data, but the data contains only one class"),
    (lambda X, y: (X[:0], y[:0]), "Found array with 0 sample"),
    (lambda X, y: (X, y[:-1]), r"inconsistent numbers of samples: \[90, 89\]"),
    (lambda X, y: (X, None), "requires y to be passed, but the target y is None"),
    (lambda X, y: (X * 1j, y), "Complex data not supported"),
    (
        lambda X, y: (X.astype(object).reshape(90, -1) * {}.__class__, y),
        "unsupported operand|argument must be",
    ),
    (lambda X, y: (np.where(X > 200, np.nan, X), y), "Input X contains NaN"),
    (lambda X, y: (np.where(X > 200, np.inf, X), y), "Input X contains infinity"),
    (lambda X, y: (X[..., np.newaxis], y), "Found array with dim 5. Images are"),
    (lambda X, y: (X[0, 0, 0], y), "Expected 2D array, got 1D array instead"),
    (lambda X, y: ([[1, 2], [3]] * 45, y), "inhomogeneous|setting an array element"),
]


@pytest.mark.parametrize(("broken", "words"), BAD_DATA, ids=[words[:24] for _, words in BAD_DATA])
def test_bad_data_is_named(stripes: Any, broken: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        classifier().fit(*broken(*stripes))


def test_sparse_rows_are_refused_in_scikit_learns_words(stripes: Any) -> None:
    from scipy.sparse import csr_matrix

    X, y = stripes
    with pytest.raises(TypeError, match="Sparse data was passed"):
        classifier().fit(csr_matrix(X.reshape(90, -1)), y)


def test_prediction_says_what_is_missing(stripes: Any) -> None:
    X, y = stripes
    with pytest.raises(NotFittedError, match="This CNNClassifier instance is not fitted yet"):
        classifier().predict(X)
    with pytest.raises(
        ValueError, match="X has 60 features, but CNNClassifier is expecting 90 features as input"
    ):
        classifier(max_iter=1).fit(X, y).predict(X.reshape(90, -1)[:, :60])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"architecture": "vgg99"}, "The 'architecture' parameter of CNNClassifier must be a str among {'auto', "),
        ({"architecture": [Conv2D]}, "The 'architecture' parameter"),
        ({"optimizer": "sgdd"}, "of CNNClassifier must be None, a str among {'sgd', 'adam', 'adamw', 'rmsprop'}"),
        ({"max_iter": 0}, "of CNNClassifier must be the str 'auto' or an int in the range [1, inf). Got 0 instead."),
        ({"max_iter": True}, "Got True instead"),
        ({"batch_size": 0.5}, "The 'batch_size' parameter"),
        ({"validation_fraction": 1}, "a float in the range (0.0, 1.0). Got 1 instead."),
        ({"tol": -1e-3}, "The 'tol' parameter"),
        ({"image_shape": (6,)}, "The 'image_shape' parameter"),
        ({"image_shape": (6, 5, 1)}, "image_shape=(6, 5, 1) has 30 pixels and channels"),
        ({"data_format": "NCHW"}, "{'channels_last', 'channels_first'}. Got 'NCHW'"),
        ({"threads": 0}, "None or an int in the range [1, 256]"),
        ({"schedule": "lineal"}, "The 'schedule' parameter"),
        ({"label_smoothing": 1.5}, "The 'label_smoothing' parameter"),
        ({"class_weight": "even"}, "class_weight"),
        ({"architecture": [Flatten(), Dense(4)]}, "architecture gives (4,) for images of (6, 5, 3), but y needs (3,)"),
        ({"architecture": [Conv2D(4, 9), Flatten(), Dense(3)]}, "layer 0, Conv2D(4, 9)"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named(stripes: Any, params: dict[str, Any], words: str) -> None:
    estimator = classifier(**params)
    with pytest.raises(ValueError, match=re.escape(words)):
        estimator.fit(*stripes)
    with pytest.raises(NotFittedError):
        estimator.predict(stripes[0])


def test_bad_weights(stripes: Any) -> None:
    X, y = stripes
    for weights, words in (
        (-np.ones(90), "Negative values"),
        (np.zeros(90), "zero"),
        (np.ones(89), "sample_weight.shape"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier().fit(X, y, sample_weight=weights)


def test_architectures(stripes: Any) -> None:
    X, y = stripes
    layers = [Flatten(), Dense(8), ReLU(), Dense(3)]
    for architecture in (layers, tuple(layers), "digits", "auto", _flat):
        fitted = CNNClassifier(architecture, max_iter=1, random_state=0).fit(X, y)
        assert fitted.predict(X).shape == (90,)


def test_parameters_within_parameters() -> None:
    estimator = classifier(optimizer=SGD(0.1, momentum=0.5), schedule=Constant())
    assert estimator.get_params()["optimizer__momentum"] == 0.5
    assert "optimizer__momentum" not in estimator.get_params(deep=False)
    estimator.set_params(optimizer__learning_rate=0.2, max_iter=3)
    assert estimator.optimizer == SGD(0.2, momentum=0.5)
    estimator.set_params(optimizer=SGD(0.3), optimizer__momentum=0.9)
    assert estimator.optimizer == SGD(0.3, momentum=0.9)
    with pytest.raises(ValueError, match="Invalid parameter 'optimizer__speed'"):
        estimator.set_params(optimizer__speed=1)
    with pytest.raises(ValueError, match="set optimizer to a rule such as SGD"):
        CNNClassifier().set_params(optimizer__learning_rate=1)
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        estimator.set_params(epochs=1)


def test_targets_of_a_regressor(stripes: Any) -> None:
    X, y = stripes
    several = np.stack([y * 1000.0, 5 - y * 1e-3], axis=1)
    fitted = regressor(max_iter=60).fit(X, several)
    assert fitted.predict(X).shape == (90, 2)
    assert fitted.score(X, several) > 0.8
    with pytest.raises(ValueError, match="y has 1 outputs, but CNNRegressor was fitted with 2"):
        regressor(warm_start=True).fit(X, several).fit(X, y)
    with pytest.raises(ValueError, match="expected Dense with a bias, into which the scale of y is folded"):
        regressor(architecture=[Flatten(), Dense(1), ReLU()]).fit(X, y)
