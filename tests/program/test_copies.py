"""Copies of a program: pickled, deep, for another day."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, ReLU


def trained(**options: Any) -> vg.Program:
    program = vg.compile(
        [Conv2D(16, 3), ReLU(), Flatten(), Dense(3)], (9, 8, 2), "cross_entropy", vg.Adam(0.01), batch_size=8, seed=4,
        **options,
    )  # fmt: skip
    program.data = {"class_names": ["a", "b", "c"]}
    step(program)
    return program


def step(program: vg.Program) -> float:
    x = np.random.default_rng(0).standard_normal((8, 9, 8, 2)).astype(program.dtype)
    return program.step(x, np.arange(8) % 3)


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "float64"}, {"algorithm": "direct", "threads": 1}, {"backend": "reference"}],
    ids=str,
)
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, copy.copy, lambda p: pickle.loads(pickle.dumps(p))],
    ids=["deep", "shallow", "pickle"],
)
def test_a_copy_is_another_program_with_the_same_bits(options: dict[str, Any], copied: Any) -> None:
    program = trained(**options)
    twin = copied(program)
    for name in (
        "model",
        "loss",
        "optimizer",
        "batch_size",
        "seed",
        "dtype",
        "steps",
        "backend",
        "threads",
        "algorithm",
        "data",
    ):
        assert getattr(twin, name) == getattr(program, name), name
    before = program.parameters
    first = [step(twin), step(twin)]
    assert all((array == before[name]).all() for name, array in program.parameters.items()), "untouched"
    assert [step(program), step(program)] == first
    assert all((array == twin.parameters[name]).all() for name, array in program.parameters.items())
