"""Losses: means over the images given, on predictions; each with its gradient in closed form."""

from vecgrad.losses.base import Loss, by_name, mean
from vecgrad.losses.binary import BinaryCrossEntropy
from vecgrad.losses.cross_entropy import CrossEntropy
from vecgrad.losses.huber import Huber
from vecgrad.losses.mse import MeanSquaredError

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "mse": MeanSquaredError,
    "binary_cross_entropy": BinaryCrossEntropy,
    "huber": Huber,
}

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "Loss",
    "MeanSquaredError",
    "by_name",
    "mean",
]
