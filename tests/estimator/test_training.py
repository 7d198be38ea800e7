"""What ``fit`` and ``partial_fit`` learn, when they stop, and what they leave behind."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tests.estimator.small import classifier, regressor

import vecgrad as vg
from vecgrad import CNNClassifier, CNNRegressor
from vecgrad.data.augment import ColorJitter, Flip, PadCrop
from vecgrad.estimator._stopping import Patience
from vecgrad.layers import Dense, Flatten
from vecgrad.runtime import native_available


def weights_of(estimator: Any) -> Any:
    return np.concatenate([each.ravel() for each in estimator.program_.parameters.values()])


@pytest.mark.skipif(not native_available(), reason="two trainings take minutes in NumPy")
def test_the_digits_with_no_word_said() -> None:
    X, y = load_digits(return_X_y=True)
    X, Xt, y, yt = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    scores = [CNNClassifier(random_state=seed).fit(X, y).score(Xt, yt) for seed in range(2)]
    assert np.mean(scores) >= 0.98


def test_it_is_what_the_training_loop_does(stripes: Any) -> None:
    """The shell adds nothing: the same program trained by ``vecgrad.fit`` has the same bits."""
    X, y = stripes
    fitted = CNNClassifier([Flatten(), Dense(3)], optimizer=vg.SGD(0.1), schedule="cosine", max_iter=3, batch_size=16,
                           random_state=7).fit(X, y)  # fmt: skip
    seed = fitted.program_.seed
    twin = vg.compile(
        [Flatten(), Dense(3)], (6, 5, 3), "cross_entropy", vg.SGD(0.1), batch_size=16, seed=seed
    )
    history = vg.fit(twin, fitted.preparation_.arrays(X), y, epochs=3, schedule="cosine")
    assert all((array == twin.parameters[name]).all() for name, array in fitted.program_.parameters.items())
    assert fitted.loss_curve_ == history.loss == fitted.history_.loss
    assert fitted.n_iter_ == 3
    assert fitted.loss_ == fitted.loss_curve_[-1]
    assert fitted.best_loss_ == min(fitted.loss_curve_)


def test_the_same_state_gives_the_same_bits_on_any_number_of_threads(stripes: Any) -> None:
    X, y = stripes
    one, two = (classifier(threads=threads).fit(X, y) for threads in (1, 2))
    assert (weights_of(one) == weights_of(two)).all()
    assert (weights_of(one) != weights_of(classifier(random_state=1).fit(X, y))).any()
    generator = np.random.RandomState(3)
    first = classifier(random_state=generator).fit(X, y)
    assert (weights_of(first) != weights_of(classifier(random_state=generator).fit(X, y))).any()
    assert (
        weights_of(first) == weights_of(classifier(random_state=np.random.RandomState(3)).fit(X, y))
    ).all()


def test_early_stopping_keeps_the_best_epoch(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier(early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, max_iter=60).fit(
        X, y
    )
    assert fitted.n_iter_ < 60
    assert len(fitted.validation_scores_) == fitted.n_iter_ == len(fitted.loss_curve_)
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    _, held_out = train_test_split(
        np.arange(90), test_size=0.3, random_state=fitted.program_.seed & 0x7FFFFFFF, stratify=y
    )
    assert fitted.score(X[held_out], y[held_out]) == pytest.approx(fitted.best_validation_score_)


def test_early_stopping_of_a_regressor_goes_by_r2(stripes: Any) -> None:
    X, y = stripes
    fitted = regressor(early_stopping=True, validation_fraction=0.3, max_iter=5).fit(X, 1000.0 * y)
    _, held_out = train_test_split(
        np.arange(90), test_size=0.3, random_state=fitted.program_.seed & 0x7FFFFFFF
    )
    score = fitted.score(X[held_out], 1000.0 * y[held_out])
    assert score == pytest.approx(fitted.best_validation_score_, abs=1e-5)


def test_without_validation_the_loss_decides(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier(max_iter=300, n_iter_no_change=3, tol=0.01).fit(X, y)
    assert fitted.n_iter_ < 300
    assert fitted.validation_scores_ is None
    curve = fitted.loss_curve_
    assert all(curve[-k] > min(curve[:-k]) - 0.01 for k in (1, 2, 3))
    assert curve[-4] <= min(curve[:-4]) - 0.01


def test_patience_counts_epochs_in_a_row() -> None:
    patience = Patience(tol=0.0, epochs=2)
    assert [patience.lost(score) for score in (1.0, 0.5, 1.0, 0.9, 0.9)] == [False, False, False, False, True]
    assert patience.best == 1.0


def test_a_warm_start_goes_on(stripes: Any) -> None:
    X, y = stripes
    warm = classifier(warm_start=True, max_iter=2, schedule=None).fit(X, y)
    program, before = warm.program_, weights_of(warm)
    warm.fit(X, y)
    assert warm.program_ is program
    assert warm.n_iter_ == len(warm.loss_curve_) == 4
    assert (weights_of(warm) != before).any()
    assert (weights_of(warm) == weights_of(classifier(max_iter=4, schedule=None).fit(X, y))).all()
    with pytest.raises(ValueError, match=r"classes that are not among those of the first fit: \[3\]"):
        warm.fit(X, np.where(y == 1, 3, y))
    with pytest.raises(ValueError, match="is expecting"):
        warm.fit(X[:, :4], y)


def test_a_warm_start_heeds_changed_parameters(stripes: Any) -> None:
    X, y = stripes
    for warm, other in ((classifier, vg.SGD(0.5)), (regressor, vg.Adam(0.01))):
        first = warm(warm_start=True, max_iter=1).fit(X, y)
        predicted = first.predict(X)
        again = first.set_params(
            optimizer=other, batch_size=7, threads=1, dtype="float64", schedule="cosine"
        ).fit(X, y)
        assert again.program_.optimizer == other
        assert (again.program_.batch_size, again.program_.dtype, again.program_.threads) == (7, "float64", 1)
        assert again.n_iter_ == 2
        assert (again.predict(X) != predicted).any()
        with pytest.raises(ValueError, match="architecture is not the one that was fitted"):
            again.set_params(architecture=[Flatten(), Dense(3 if warm is classifier else 1)]).fit(X, y)


def test_a_large_mean_costs_no_precision(stripes: Any) -> None:
    X, y = stripes
    small, large = (regressor().fit(X, base + 100.0 * y).predict(X) - base for base in (0.0, 2.0**31))
    np.testing.assert_allclose(small, large, atol=1e-3)


@pytest.mark.parametrize("factor", [1e-15, 1e-8, 1e-3, 1e30])
def test_the_unit_of_pixels_does_not_matter(stripes: Any, factor: float) -> None:
    X, y = stripes
    assert classifier(max_iter=25).fit(X * factor, y).score(X * factor, y) > 0.9


def test_a_subclass_with_parameters_of_its_own(stripes: Any) -> None:
    class Mine(CNNClassifier):
        def __init__(self, max_iter: int = 3) -> None:
            super().__init__(architecture=[Flatten(), Dense(3)], max_iter=max_iter)

    assert Mine().fit(*stripes).n_iter_ == 3


def test_partial_fit_is_one_epoch(stripes: Any) -> None:
    X, y = stripes
    whole = classifier(schedule=None, max_iter=2).fit(X, y)
    parts = classifier(schedule=None, max_iter=99).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
    assert (weights_of(whole) == weights_of(parts)).all()
    assert parts.n_iter_ == 2
    once = classifier().partial_fit(X[y < 2], y[y < 2], classes=np.array([0, 1, 2]))
    assert once.predict_proba(X).shape == (90, 3)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        once.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="does not support early_stopping"):
        regressor(early_stopping=True).partial_fit(X, y)


def test_a_regressor_learns_in_parts_and_predicts_in_its_own_units(stripes: Any) -> None:
    X, y = stripes
    whole = regressor(schedule=None, max_iter=2).fit(X, 1e6 + 1e3 * y)
    parts = regressor(schedule=None).partial_fit(X, 1e6 + 1e3 * y).partial_fit(X, 1e6 + 1e3 * y)
    assert (parts.predict(X) == whole.predict(X)).all()
    folded = parts.program_.forward(parts.preparation_.arrays(X))[:, 0]
    np.testing.assert_allclose(folded, parts.predict(X), rtol=1e-6)
    assert parts.target_mean_ == pytest.approx(1e6 + 1e3)
    constant = regressor(max_iter=1).fit(X, np.full(90, 7.0))
    assert constant.target_scale_ == 1.0


def test_a_weight_is_a_repetition(stripes: Any) -> None:
    X, y = stripes
    X = X[:24] / 255
    counts = np.arange(24) // 3 % 3
    repeated = classifier(batch_size=64, class_weight={0: 3, 1: 1}).fit(
        X.repeat(counts, axis=0), y[:24].repeat(counts)
    )
    weighted = classifier(batch_size=64, class_weight={0: 3, 1: 1}).fit(X, y[:24], sample_weight=counts)
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)
    assert np.abs(weights_of(classifier(batch_size=64).fit(X, y[:24])) - weights_of(weighted)).max() > 1e-3


def test_class_weights_shift_the_balance(stripes: Any) -> None:
    X, y = stripes
    shares = [
        classifier(class_weight=weight, max_iter=3).fit(X, y).predict_proba(X)[:, 2].mean()
        for weight in ({2: 0.01}, None, "balanced", {2: 100.0})
    ]
    assert shares[0] < shares[1] == pytest.approx(shares[2], abs=1e-3)
    assert shares[3] > shares[1]


def test_balanced_classes_count_weights_as_repetitions(stripes: Any) -> None:
    X, y = stripes
    X = X[:24] / 255
    counts = np.arange(24) // 3 % 3
    params = {"batch_size": 64, "class_weight": "balanced"}
    repeated = classifier(**params).fit(X.repeat(counts, axis=0), y[:24].repeat(counts))
    weighted = classifier(**params).fit(X, y[:24], sample_weight=counts)
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_bad_class_weights(stripes: Any, weight: float) -> None:
    with pytest.raises(ValueError, match="`class_weight` times `sample_weight`"):
        classifier(class_weight={0: weight, 1: 1, 2: 1}).fit(*stripes)


def test_verbose_says_a_line_an_epoch(stripes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    classifier(max_iter=2, verbose=True).fit(*stripes)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "accuracy" in lines[0]


def test_an_interrupt_keeps_what_was_learned(stripes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = stripes
    estimator = classifier(max_iter=50)
    note = type(estimator)._note

    def interrupting(self: Any, record: Any) -> None:
        note(self, record)
        if self.n_iter_ == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(estimator), "_note", interrupting)
    with pytest.warns(UserWarning, match="interrupted by user"):
        estimator.fit(X, y)
    assert estimator.n_iter_ == 3
    assert estimator.predict(X).shape == (90,)


def test_a_fit_that_fails_leaves_nothing_that_predicts(stripes: Any) -> None:
    X, y = stripes
    estimator = classifier(max_iter=1).fit(X, y)
    estimator.set_params(optimizer__learning_rate=1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="lower the learning rate"):
            estimator.set_params(max_iter=30).fit(X, y)
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(X)


def test_augmentations_reach_the_training_and_its_bits_stay_the_same(stripes: Any) -> None:
    X, y = stripes
    plain, text, records, two = (
        classifier(augment=augment, threads=threads).fit(X, y)
        for augment, threads in (
            (None, 1),
            ("flip,pad-crop:1,color-jitter:0.1", 1),
            ((Flip(), PadCrop(1), ColorJitter(0.1)), 1),
            ("flip,pad-crop:1,color-jitter:0.1", 2),
        )
    )
    assert (weights_of(text) == weights_of(records)).all()
    assert (weights_of(text) == weights_of(two)).all()
    assert (weights_of(text) != weights_of(plain)).any()
    assert clone(records).get_params()["augment"] == records.augment
    parts = classifier(augment="flip", schedule=None).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
    whole = classifier(augment="flip", schedule=None, max_iter=2).fit(X, y)
    assert (weights_of(parts) == weights_of(whole)).all()


def test_a_regressor_is_augmented_too(stripes: Any) -> None:
    X, y = stripes
    fitted = regressor(augment="flip,mixup:0.2", max_iter=2).fit(X, 1.0 * y)
    assert (weights_of(fitted) != weights_of(regressor(max_iter=2).fit(X, 1.0 * y))).any()


def test_predictions_over_views(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier().fit(X, y)
    one = fitted.predict_proba(X)
    other = fitted.set_params(tta="flip").predict_proba(X)
    logits = fitted.program_.forward(fitted.preparation_.arrays(X), tta="flip").astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(other, expected, rtol=1e-4, atol=1e-6)
    assert (one != other).any()
    numbers = regressor().fit(X, 1.0 * y)
    both = (numbers.predict(X) + numbers.predict(X[:, :, ::-1])) / 2
    np.testing.assert_allclose(numbers.set_params(tta="flip").predict(X), both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"augment": "flop"}, "The 'augment' parameter"),
        ({"augment": [3]}, "The 'augment' parameter"),
        ({"augment": "normalize"}, "leave Normalize out"),
        ({"augment": "pad-crop:40"}, "can be reflected by at most"),
        ({"tta": "turn"}, "The 'tta' parameter"),
    ],
)
def test_bad_augmentations(stripes: Any, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        classifier(**parameters).fit(*stripes)


def test_label_smoothing_is_the_losss(stripes: Any) -> None:
    X, y = stripes
    rule = vg.SGD(0.1)
    settings: dict[str, Any] = {
        "architecture": [Flatten(), Dense(3)],
        "optimizer": rule,
        "max_iter": 2,
        "random_state": 0,
    }
    plain, smooth = (
        CNNClassifier(**settings).fit(X, y),
        CNNClassifier(label_smoothing=0.2, **settings).fit(X, y),
    )
    assert smooth.program_.loss == vg.losses.CrossEntropy(label_smoothing=0.2)
    assert smooth.loss_ > plain.loss_
    warm = smooth.set_params(label_smoothing=0.0, warm_start=True).fit(X, y)
    assert warm.program_.loss == vg.losses.CrossEntropy()


def test_hubers_regressor_is_not_moved_by_one_wild_target(stripes: Any) -> None:
    X = stripes[0]
    y = X.reshape(len(X), -1).mean(axis=1)
    wild = y.copy()
    wild[0] += 100 * y.std()
    errors = {}
    for loss in ("squared_error", "huber"):
        fitted = CNNRegressor(
            [Flatten(), Dense(1)], loss=loss, optimizer=vg.Adam(0.01), max_iter=60, random_state=0
        ).fit(X, wild)
        errors[loss] = np.abs(fitted.predict(X) - y)[1:].mean()
    assert errors["huber"] < 0.7 * errors["squared_error"]
    with pytest.raises(ValueError, match="'loss' parameter of CNNRegressor"):
        CNNRegressor(loss="mse").fit(X, y)


def test_a_regressor_predicts_by_the_average(stripes: Any) -> None:
    X = stripes[0]
    y = X.reshape(len(X), -1).mean(axis=1)
    fitted = CNNRegressor(
        [Flatten(), Dense(1)], optimizer=vg.SGD(0.01, average=0.9), max_iter=3, random_state=0
    ).fit(X, y)
    x = fitted.preparation_.arrays(X, dtype=fitted.program_.dtype)
    np.testing.assert_allclose(fitted.program_.forward(x)[:, 0], fitted.predict(X), rtol=1e-5)
