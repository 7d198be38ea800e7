"""scikit-learn's callback protocol, from 1.9 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.estimator.small import classifier, regressor

from vecgrad.layers import Dense, Flatten

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

LAYERS = [Flatten(), Dense(3)]


class Listener:
    """Notes what it hears; stops after ``stop`` epochs."""

    def __init__(self, stop: int = 1000) -> None:
        self.heard: list[tuple[str, str]] = []
        self.scores: list[float] = []
        self.stop = stop

    def setup(self, estimator: Any, context: Any) -> None:
        self.heard.append(("setup", context.task_name))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.heard.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.heard.append(("begin", context.task_name))

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any = None, y: Any = None, metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:  # fmt: skip
        self.heard.append(("end", context.task_name))
        self.scores.append(fitted_estimator.score(X, y, **(metadata or {})))
        return len(self.scores) >= self.stop


def test_every_epoch_is_heard(stripes: Any) -> None:
    listener = Listener()
    fitted = classifier(architecture=LAYERS, max_iter=3).set_callbacks(listener).fit(*stripes)
    epoch = [("begin", "epoch"), ("end", "epoch")]
    assert listener.heard == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epoch * 3,
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert listener.scores[-1] == listener.scores[-2] == fitted.score(*stripes)
    early = classifier(architecture=LAYERS, max_iter=3).set_callbacks(Listener(stop=1)).fit(*stripes)
    assert listener.scores[0] == early.score(*stripes)


def test_a_callback_may_stop_the_training(stripes: Any) -> None:
    listener = Listener(stop=2)
    fitted = classifier(architecture=LAYERS, max_iter=50).set_callbacks(listener).fit(*stripes)
    assert fitted.n_iter_ == 2


def test_hearing_changes_nothing(stripes: Any) -> None:
    X, y = stripes
    alone = regressor(architecture=[Flatten(), Dense(1)], max_iter=4).fit(X, y).predict(X)
    heard = regressor(architecture=[Flatten(), Dense(1)], max_iter=4).set_callbacks(Listener()).fit(X, y)
    assert (heard.predict(X) == alone).all()


def test_teardown_comes_after_an_error_too(stripes: Any) -> None:
    class Failing(Listener):
        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:  # type: ignore[override]
            raise LookupError("on purpose")

    listener = Failing()
    with pytest.raises(LookupError):
        classifier(architecture=LAYERS).set_callbacks(listener).fit(*stripes)
    assert listener.heard[-1] == ("teardown", "fit")


def test_images_are_shown_in_a_form_that_predict_takes(stripes: Any) -> None:
    X, y = stripes
    listener = Listener()
    planes = X.transpose(0, 3, 1, 2)
    estimator = classifier(architecture=LAYERS, data_format="channels_first", max_iter=2)
    fitted = estimator.set_callbacks(listener).fit(planes, np.array(["a", "b", "c"])[y], sample_weight=1 + y)
    assert listener.scores[-1] == fitted.score(planes, np.array(["a", "b", "c"])[y], sample_weight=1 + y)


def test_scikit_learns_own_monitor_within_a_search(stripes: Any) -> None:
    monitor = callback.ScoringMonitor(scoring="accuracy")
    classifier(architecture=LAYERS, max_iter=2).set_callbacks(monitor).fit(*stripes)
    logs = monitor.get_logs()
    assert logs is not None
