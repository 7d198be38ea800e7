"""On random numbers compiled code is as close to the float64 reference as its type allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.networks import LENET, NETWORKS, Network
from tests.program.host import everything, gradients

import vecgrad as vg

Array = np.ndarray[Any, np.dtype[Any]]
ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-53}
NAMES = ("seventeen channels", "groups", "activations", "classifier")


def inputs(network: Network, n: int) -> tuple[Array, Any, Array]:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((n, *network.shape))
    output = network.model.infer(network.shape)
    t = (
        rng.integers(0, output[0], n)
        if network.loss == "cross_entropy"
        else rng.standard_normal((n, *output))
    )
    return x, t, rng.random(n) + 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", [*(NETWORKS[name] for name in NAMES), LENET], ids=[*NAMES, "lenet"])
def test_close_to_the_reference(network: Network, dtype: str) -> None:
    n = min(network.batch, 16)
    x, t, w = inputs(network, n)
    # Rounding the inputs once is not the code's fault: both sides get the same numbers.
    x, w = x.astype(dtype), w.astype(dtype)
    settings: dict[str, Any] = {"loss": network.loss, "batch_size": network.batch}
    exact = vg.compile(network.model, network.shape, backend="reference", dtype="float64", **settings)
    parameters = {name: a.astype(dtype) for name, a in exact.parameters.items()}
    exact.load_parameters(parameters)
    asked = gradients if network is LENET else everything
    found = asked(
        vg.compile(network.model, network.shape, dtype=dtype, parameters=parameters, **settings), x, t, w
    )
    # A chain of m roundings errs by about √m of them; the longest sum here has some 800 terms, and a value passes
    # through at most 12 layers forward and back, whose errors add up in the worst case.
    bound = 12 * np.sqrt(800) * ROUNDING[dtype]
    assert bound < (3e-5 if dtype == "float32" else 1e-13)
    for name, expected in asked(exact, x, t, w).items():
        error = np.linalg.norm(found[name] - expected) / max(np.linalg.norm(expected), 1e-30)
        assert error < bound, f"{name}: {error:.1e}"


def test_the_bound_is_tight_enough_to_see_one_wrong_entry() -> None:
    """One entry off by its own size in an array of 10 000 is a hundred times the float32 bound."""
    a = np.random.default_rng(0).standard_normal(10_000)
    b = a.copy()
    b[17] = 0
    assert np.linalg.norm(a - b) / np.linalg.norm(a) > 20 * 12 * np.sqrt(800) * ROUNDING["float32"]
