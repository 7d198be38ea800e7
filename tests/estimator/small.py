"""Estimators that compile and learn in a moment."""

from __future__ import annotations

from typing import Any

from vecgrad import SGD, CNNClassifier, CNNRegressor
from vecgrad.layers import Conv2D, Dense, Flatten, ReLU


def small(shape: Any, outputs: int) -> list[Any]:
    """An architecture that compiles and learns fast."""
    return [Conv2D(4, (min(3, shape[0]), min(3, shape[1]))), ReLU(), Flatten(), Dense(outputs)]


def classifier(**params: Any) -> CNNClassifier:
    """A quick classifier; parameters as in CNNClassifier."""
    return CNNClassifier(
        **{"architecture": small, "optimizer": SGD(0.05, momentum=0.9), "max_iter": 8, "random_state": 0}
        | params
    )


def regressor(**params: Any) -> CNNRegressor:
    """A quick regressor."""
    return CNNRegressor(
        **{"architecture": small, "optimizer": SGD(0.01, momentum=0.9), "max_iter": 20, "random_state": 0}
        | params
    )
