"""A small problem that a small network learns: bright left half or bright right half."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Dense
from vecgrad.program import Program


@pytest.fixture
def halves() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4, 4, 1), np.float32), rng.integers(0, 2, 30)
    x[y == 0, :, :2] += 1
    x[y == 1, :, 2:] += 1
    return x, y


@pytest.fixture
def made() -> Callable[..., Program]:
    """``made(seed=…, …)``: a program for the halves; arguments as ``compile`` takes them."""

    def make(**options: object) -> Program:
        given = {"loss": "cross_entropy", "optimizer": vg.SGD(0.2, momentum=0.5), "batch_size": 8}
        return vg.compile(Dense(2), (4, 4, 1), backend="reference", **(given | options))

    return make
