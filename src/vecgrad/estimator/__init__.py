"""scikit-learn's door: a classifier and a regressor that keep its contract."""

from vecgrad.estimator._classifier import CNNClassifier
from vecgrad.estimator._regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNRegressor"]
