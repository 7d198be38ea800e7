"""Copies of a program: pickled, deep, for another day."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
from pathlib import Path
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


@pytest.mark.parametrize("averaged", [True, False])
def test_a_saved_program_predicts_by_what_it_did(tmp_path: Path, averaged: bool) -> None:
    program = vg.compile([Dense(3)], (4,), "cross_entropy", vg.SGD(0.5, average=0.9), backend="reference")
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    for _ in range(3):
        program.step(x, np.arange(8) % 3)
    program.averaged = averaged
    loaded = vg.load(program.save(tmp_path / "run"), backend="reference")
    assert loaded.averaged is averaged
    np.testing.assert_array_equal(loaded.forward(x), program.forward(x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX")
def test_a_forked_child_may_use_a_program_that_is_at_work() -> None:
    """The parent's thread, which holds it, is not in the child."""
    program, x = trained(), np.zeros((2, 9, 8, 2), np.float32)
    expected = program.forward(x)
    held, over = threading.Event(), threading.Event()

    def work() -> None:
        with program._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=work)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it, should it wait for ever
        os._exit(0 if np.array_equal(program.forward(x), expected) else 1)
    over.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
