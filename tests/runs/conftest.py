"""A small program that has made two steps, and a run of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from vecgrad.program import Program


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((6, 6, 5, 1), np.float32), rng.integers(0, 3, 6)


def network() -> vg.Sequential:
    body = vg.Sequential([Conv2D(2, (3, 2), padding=((1, 1), (0, 1))), ReLU()], name="body")
    return vg.Sequential([body, MaxPool2D(2), Flatten(), Dense(3)])


@pytest.fixture
def program() -> Program:
    made = vg.compile(
        network(),
        (6, 5, 1),
        "cross_entropy",
        vg.SGD(0.1, momentum=0.9),
        batch_size=6,
        seed=3,
        backend="reference",
    )
    for _ in range(2):
        made.step(*batch())
    return made


@pytest.fixture
def run(program: Program, tmp_path: Path) -> Path:
    """A run folder, alone in its parent."""
    return program.save(tmp_path / "runs" / "one")
