"""Losses: means over the images given, on predictions; each with its gradient in closed form."""

from vecgrad.losses.base import Loss, by_name, mean
from vecgrad.losses.cross_entropy import CrossEntropy
from vecgrad.losses.mse import MeanSquaredError

LOSSES: dict[str, type[Loss]] = {"cross_entropy": CrossEntropy, "mse": MeanSquaredError}

__all__ = ["LOSSES", "CrossEntropy", "Loss", "MeanSquaredError", "by_name", "mean"]
