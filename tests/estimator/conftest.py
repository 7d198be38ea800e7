"""Images that can be told apart in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def stripes() -> tuple[Any, Any]:
    """uint8 images (90, 6, 5, 3) with a bright row, column or nothing, and the labels 0, 1, 2."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, (90, 6, 5, 3), dtype=np.uint8)
    y = np.arange(90) % 3
    for i, label in enumerate(y):
        if label == 0:
            X[i, rng.integers(6)] += 180
        elif label == 1:
            X[i, :, rng.integers(5)] += 180
    return X, y
