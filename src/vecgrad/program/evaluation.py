"""What a program says of labelled data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """loss: the mean over the images (weighted). accuracy: share of images whose largest output is the label; None for values."""

    loss: float
    accuracy: float | None
    images: int
