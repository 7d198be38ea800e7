"""One image alone, cut into tasks: the bits of an image that is not, for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.program.host import MACHINES, everything, same_bits, threads

import vecgrad as vg
from vecgrad.kernels import _within
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from vecgrad.program import Program
from vecgrad.spec.machine import Machine

LAYERS = [
    Conv2D(24, 3, padding=1), ReLU(), Conv2D(32, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(64, 3, stride=2, padding=1),
    ReLU(), Conv2D(160, 3), ReLU(), AvgPool2D(2), Flatten(), Dense(270), ReLU(), Dense(3),
]  # fmt: skip
SHAPE = (26, 30, 5)
X = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
T = np.array([0, 2, 1])


def program(machine: Machine, **more: Any) -> Program:
    return vg.compile(LAYERS, SHAPE, loss="cross_entropy", batch_size=1, machine=machine, **more)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
def test_tasks_and_threads_change_no_bits(
    machine: Machine, algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_within, "_LEAST", float("inf"))
        whole = program(machine, algorithm=algorithm)
        expected = everything(whole, X[:1], T[:1])
    cut = program(machine, algorithm=algorithm)
    modes = [getattr(call.spec, "mode", "") for call in cut.explain().plan.calls() if call.op == "conv"]
    assert len(set(modes)) > 2, "the network has work of every kind"
    for count in (1, 2, 3, 5):
        with threads(count):
            same_bits(everything(cut, X[:1], T[:1]), expected, f"{count} threads")
            same_bits({"output": cut.forward(X)[:1]}, {"output": expected["output"]})


def test_steps_are_the_same_for_any_number_of_threads() -> None:
    found = []
    for count in (1, 2, 4):
        made = vg.compile(
            LAYERS, SHAPE, "cross_entropy", vg.SGD(0.01, momentum=0.9), batch_size=1, threads=count
        )
        losses = [made.step(X[i % 3 : i % 3 + 1], T[i % 3 : i % 3 + 1]) for i in range(6)]
        found.append({"losses": np.array(losses), **made.parameters})
    same_bits(found[1], found[0])
    same_bits(found[2], found[0])
