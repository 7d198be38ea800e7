"""Whole training runs: the same bits for any number of threads and for every machine with a fused multiply-add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.networks import NETWORKS, Network
from tests.program.host import FUSED, MACHINES, same_bits, threads

import vecgrad as vg
from vecgrad.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from vecgrad.spec.machine import Machine

Array = np.ndarray[Any, np.dtype[Any]]

SMALL = Network(
    Sequential([
        Conv2D(6, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(9, 3, groups=3), Tanh(),
        Flatten(), Dense(20), Sigmoid(), Dense(5),
    ]),
    (8, 7, 1), batch=21, loss="cross_entropy",
)  # fmt: skip
STRIDED = Network(
    Sequential([Conv2D(17, 3, stride=2, padding="same", dilation=2), ReLU(), AvgPool2D(2, stride=1), Dense(4)]),
    (9, 8, 3), batch=16,
)  # fmt: skip
RESIDUAL = Network(
    Sequential([
        Conv2D(17, 3, bias=False), BatchNorm(), ReLU(),
        Residual([Conv2D(17, 3, padding=1, bias=False), BatchNorm(), ReLU(), Conv2D(17, 3, padding=1), BatchNorm()]), ReLU(),
        Residual([Conv2D(24, 3, 2, 1, bias=False), BatchNorm()], [Conv2D(24, 1, 2), BatchNorm(frozen=True)]), ReLU(),
        Flatten(), Dense(5), BatchNorm(),
    ]),
    (9, 8, 2), batch=21, loss="cross_entropy",
)  # fmt: skip
# The second convolution has 36 864 weights, more than are summed beside other work; the dense layer 410 kB, more
# than are streamed for each chunk of images.
LARGE = Network(
    Sequential([Conv2D(64, 3, padding=1), ReLU(), Conv2D(64, 3), ReLU(), Flatten(), Dense(100), ReLU(), Dense(7)]),
    (6, 6, 2), batch=16, loss="cross_entropy",
)  # fmt: skip


def data(network: Network, batches: int) -> list[tuple[Array, Any]]:
    """Batches of noise with learnable labels; every third one is smaller."""
    rng = np.random.default_rng(7)
    output = network.model.infer(network.shape)
    found = []
    for i in range(batches):
        n = network.batch if i % 3 else max(1, network.batch // 3)
        x = rng.standard_normal((n, *network.shape)).astype(np.float32)
        values = np.tanh(x.reshape(n, -1)[:, : output[0]])
        found.append((x, values.argmax(1) if network.loss == "cross_entropy" else values))
    return found


def trained(network: Network, rule: Any, steps: int, machine: Machine | None = None) -> dict[str, Array]:
    """All losses, parameters and state of a run."""
    program = vg.compile(
        network.model, network.shape, network.loss, rule, network.batch, seed=3, machine=machine
    )
    batches = data(network, 10)
    losses = [program.step(*batches[i % len(batches)]) for i in range(steps)]
    assert losses[-1] < losses[0]
    state = {f"{key} of {name}": a for key, arrays in program.state.items() for name, a in arrays.items()}
    return {"losses": np.array(losses), **program.parameters, **state}


RUNS = {
    "small, momentum": (SMALL, vg.SGD(0.05, momentum=0.9, weight_decay=1e-4), 400),
    "strided, adam": (STRIDED, vg.Adam(0.003), 300),
    "residual, momentum": (RESIDUAL, vg.SGD(0.05, momentum=0.9), 60),
    "large, nesterov": (LARGE, vg.SGD(0.01, momentum=0.9, nesterov=True), 30),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    runs = []
    for count in (1, 2, 3, 4):
        with threads(count):
            runs.append(trained(*RUNS[name]))
    for count, run in enumerate(runs[1:], 2):
        same_bits(run, runs[0], f"{count} threads")


@pytest.mark.skipif(len(FUSED) < 2, reason="this processor has one instruction set with a fused multiply-add")
@pytest.mark.parametrize("name", RUNS)
def test_the_same_bits_on_machines_with_a_fused_multiply_add(name: str) -> None:
    network, rule, steps = RUNS[name]
    with threads(2):
        runs = [trained(network, rule, steps // 2, machine) for machine in FUSED]
    same_bits(runs[1], runs[0], "avx2 against avx512")


def test_threads_of_the_program_count_like_the_global_ones() -> None:
    batches = data(SMALL, 4)
    results = []
    for count in (1, 3):
        program = vg.compile(SMALL.model, SMALL.shape, "cross_entropy", "sgd", SMALL.batch, threads=count)
        results.append({str(i): np.float32(program.step(*batch)) for i, batch in enumerate(batches)})
    same_bits(results[1], results[0])


def test_the_seed_decides_the_first_parameters() -> None:
    def first(seed: int) -> dict[str, Array]:
        return vg.compile(SMALL.model, SMALL.shape, seed=seed).parameters

    same_bits(first(1), first(1))
    assert not np.array_equal(first(1)["0.weight"], first(2)["0.weight"])
    for name, array in first(1).items():
        if name.endswith("bias"):
            assert not array.any()
    weight = vg.compile([Dense(200)], (300,), seed=5).parameters["0.weight"]
    # Of 60 000 draws the standard deviation is known to 0.3 %.
    assert weight.std() == pytest.approx(np.sqrt(2 / 300), rel=0.02)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_learning_rate_for_one_step(backend: str) -> None:
    network = NETWORKS["odd maps, one channel"]
    x, t = network.images(4), network.targets(4)
    program = vg.compile(network.model, network.shape, "mse", vg.SGD(0.25), 4, backend=backend)
    before = program.parameters
    gradients = program.gradients(x, t)
    program.step(x, t, learning_rate=0.0)
    same_bits(program.parameters, before, "learning rate 0")
    program.step(x, t, learning_rate=0.5)
    for name, array in program.parameters.items():
        np.testing.assert_allclose(array, before[name] - 0.5 * gradients[name], rtol=2e-6, atol=1e-6)
    assert program.steps == 2


@pytest.mark.parametrize("rule", [vg.SGD(0.05, momentum=0.9), vg.Adam(0.01)], ids=["momentum", "adam"])
def test_training_follows_the_reference(rule: Any) -> None:
    batches = data(SMALL, 5)
    losses = []
    for backend in ("native", "reference"):
        program = vg.compile(SMALL.model, SMALL.shape, "cross_entropy", rule, SMALL.batch, backend=backend)
        losses.append([program.step(*batches[i % 5]) for i in range(20)])
    # Rounding of 2⁻²⁴ grows along the run; a wrong term would show at once.
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
def test_tiny_numbers_do_not_change_the_caller_s_arithmetic(machine: Machine) -> None:
    denormal, tiny = np.array([1e-40], np.float32), np.array([1e-30], np.float32)
    program = vg.compile([Dense(8), Dense(2)], (4,), "mse", vg.SGD(0.1), 4, machine=machine, threads=2)
    program.load_parameters({name: np.full(a.shape, 1e-30) for name, a in program.parameters.items()})
    x, t = np.full((4, 4), 1e-5, np.float32), np.zeros((4, 2), np.float32)
    for _ in range(20):
        assert np.isfinite(program.step(x, t))
        assert (denormal * np.float32(1)).view(np.uint32) != 0, "denormals are flushed in the caller's code"
        assert (tiny * np.float32(1e-10)).view(np.uint32) != 0
    assert all(np.isfinite(a).all() for a in program.parameters.values())


def test_divergence_shows_and_does_not_crash() -> None:
    program = vg.compile([Dense(8), ReLU(), Dense(2)], (4,), "mse", vg.SGD(1e30), 4)
    x, t = np.ones((4, 4), np.float32), np.ones((4, 2), np.float32)
    losses = [program.step(x, t) for _ in range(6)]
    assert not np.isfinite(losses[-1])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_state_and_steps_can_be_carried_over(backend: str) -> None:
    batches = data(SMALL, 8)

    def fresh() -> Any:
        return vg.compile(
            SMALL.model, SMALL.shape, "cross_entropy", vg.Adam(0.01), SMALL.batch, backend=backend
        )

    whole = fresh()
    for batch in batches:
        whole.step(*batch)
    first, second = fresh(), fresh()
    for batch in batches[:4]:
        first.step(*batch)
    second.load_parameters(first.parameters)
    second.load_state(first.state, first.steps)
    for batch in batches[4:]:
        second.step(*batch)
    same_bits(second.parameters, whole.parameters)
    assert second.steps == whole.steps == 8
