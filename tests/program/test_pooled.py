"""Convolutions that pool and un-pool on the way: the same bits as with passes of their own, and fewer of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.networks import Network
from tests.program.host import MACHINES, compiled, gradients, threads

import vecgrad as vg
from vecgrad.kernels import _pooled
from vecgrad.layers import Conv2D, Dense, Flatten, GlobalMaxPool2D, MaxPool2D, ReLU, Sequential

LAYERS = {
    "side by side": (Conv2D(24, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(48, 3, padding=1), ReLU(), MaxPool2D(2)),
    "whole tiles": (Conv2D(24, 3), ReLU(), MaxPool2D(4), Conv2D(17, 3, padding=1), MaxPool2D((1, 2)), ReLU()),
    "of three": (Conv2D(24, 3, padding=1), ReLU(), MaxPool2D(3), Conv2D(33, 3, padding=1), ReLU(), MaxPool2D(3)),
    "direct gradients": (Conv2D(24, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(20, 5), ReLU(), MaxPool2D(2)),
    "wide": (Conv2D(256, 1), Conv2D(256, 3, padding=1), ReLU(), MaxPool2D(2)),
}  # fmt: skip


def network(name: str) -> Network:
    shape = (8, 8, 256) if name == "wide" else (19, 22, 16)
    return Network(Sequential((*LAYERS[name], Flatten(), Dense(4))), shape, batch=6, exact=False)


def test_wide_layers_pool_too() -> None:
    """They take their weights as they are, in both directions; else the case "wide" would not be about them."""
    told = str(compiled(network("wide"), machine=MACHINES[0], optimizer="sgd").explain())
    for operation in ("1+2+3:conv", "1+3:conv_dx"):
        assert f"{operation}: packed weights:" in told


def passes(program: Any) -> list[str]:
    """The pooling kernels of a training step."""
    return [line.split()[0] for line in str(program.explain()).splitlines() if "max_pool." in line]


def found(case: Network, machine: Any) -> tuple[dict[str, Any], list[str]]:
    rng = np.random.default_rng(3)
    program = compiled(case, machine=machine)
    x = rng.standard_normal((case.batch, *case.shape)).astype("f")
    t = rng.standard_normal((case.batch, 4)).astype("f")
    results = {count: {} for count in (1, 3)}
    for count in results:
        with threads(count):
            results[count] = {"output": program.forward(x)} | gradients(program, x, t)
    for key in results[1]:
        np.testing.assert_array_equal(results[1][key], results[3][key], err_msg=f"{key}, threads")
    return results[1], passes(program)


@pytest.mark.parametrize("name", LAYERS)
def test_bits_are_those_of_separate_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = network(name)
    machines = MACHINES if name == "side by side" else MACHINES[:2]
    together = [found(case, machine) for machine in machines]
    monkeypatch.setattr(_pooled, "refusal", lambda *a, **k: "tested apart")
    for machine, (results, calls) in zip(machines, together, strict=True):
        apart, others = found(case, machine)
        assert len(calls) < len(others) or name == "of three"
        for key, value in apart.items():
            np.testing.assert_array_equal(results[key], value, err_msg=f"{key}, {machine.isa}")
    for machine, (results, _) in list(zip(machines, together, strict=True))[1:]:
        if not machine.fma:  # it rounds each product
            continue
        for key, value in together[0][0].items():
            np.testing.assert_array_equal(results[key], value, err_msg=f"{key}, instruction sets")


@pytest.mark.parametrize(
    "front",
    [
        [Conv2D(20, 3, frozen=True, bias=False), ReLU(), MaxPool2D(2)],
        [ReLU(), MaxPool2D(2)],
        [Conv2D(17, 3, frozen=True, bias=False), ReLU(), GlobalMaxPool2D()],
    ],
    ids=["frozen", "nothing", "global"],
)
def test_nothing_is_trained_in_front_of_the_pooling(front: list[Any]) -> None:
    """Nobody reads the gradient there, and no kernel un-pools it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 19, 22, 16)).astype(np.float32), np.arange(6) % 4
    model = Sequential((*front, Flatten(), Dense(4)))
    made, reference = (
        vg.compile(model, x.shape[1:], "cross_entropy", "sgd", 6, backend=backend)
        for backend in ("native", "reference")
    )
    expected = reference.gradients(x, y)
    for name, array in made.gradients(x, y).items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    made.step(x, y)
    assert "max_pool_dx" not in str(made.explain())
