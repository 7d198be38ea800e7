"""Compiled float32 equals the reference bit for bit on integers: networks × instruction sets × threads × batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.networks import NETWORKS, Network
from tests.program.host import MACHINES, compiled, everything, gradients, same_bits, threads

import vecgrad as vg
from vecgrad.spec.machine import Machine

EXACT = {name: network for name, network in NETWORKS.items() if network.exact}
# Between them every kernel; for the instruction set that differs least from its neighbour.
FEW = (
    "dense alone",
    "odd maps, one channel",
    "seventeen channels",
    "stride 2, same",
    "dilated",
    "groups",
    "overlapping pools",
    "average, image cells",
    "flatten, activation, dense",
    "batch of seventeen",
)


def cases() -> Iterator[Any]:
    for number, machine in enumerate(MACHINES):
        for name in EXACT if number < 2 else FEW:
            yield pytest.param(name, machine, id=f"{name}-{machine.isa}")


def batches(network: Network) -> list[int]:
    """All images, some, one: a smaller batch finds the memory as a larger one left it."""
    return sorted({1, max(1, network.batch - 1), network.batch}, reverse=True)


def power_of_two_weights(n: int) -> Any:
    """Weights whose sum is a power of two, so that its inverse is exact: 1, 1, …, and what is missing."""
    total = 1 << (2 * n).bit_length()
    return np.array([1.0] * (n - 1) + [total - (n - 1)], np.float32)


@pytest.mark.parametrize(("name", "machine"), list(cases()))
def test_the_corpus(name: str, machine: Machine) -> None:
    network = EXACT[name]
    # Forward and trace are plans of their own, with other fusions of the same kernels: a few of them will do.
    asked = everything if machine is MACHINES[0] and name in (*FEW, "nested", "rescaled") else gradients
    reference, native = compiled(network, backend="reference"), compiled(network, machine=machine)
    for n in batches(network):
        x, t, w = network.images(n, seed=n), network.targets(n, seed=n + 50), power_of_two_weights(n)
        expected = asked(reference, x, t, w)
        for count in (1, 2, 3, 4) if n == network.batch else (2,):
            with threads(count):
                same_bits(asked(native, x, t, w), expected, f"{n} images, {count} threads")


@pytest.mark.parametrize("name", EXACT)
def test_the_corpus_is_exact(name: str) -> None:
    """Float64 gives the same numbers: no sum of the corpus is ever rounded in float32."""
    network = EXACT[name]
    n = network.batch
    x, t, w = network.images(n, seed=n), network.targets(n, seed=n + 50), power_of_two_weights(n)
    single = everything(compiled(network, backend="reference"), x, t, w)
    double = everything(compiled(network, backend="reference", dtype="float64"), x, t, w)
    for key in single:
        np.testing.assert_array_equal(single[key], double[key], err_msg=key)
    if any("weight" in key for key in single):
        assert any(a.any() for key, a in single.items() if "weight" in key), (
            "all gradients vanish: nothing is tested"
        )


@pytest.mark.parametrize("name", ["odd maps, one channel", "stride 2, same", "groups", "batch of seventeen"])
def test_any_number_of_images_forward(name: str) -> None:
    network = EXACT[name]
    reference, native = compiled(network, backend="reference"), compiled(network)
    for n in (0, 1, network.batch + 1, 3 * network.batch):
        x = network.images(n)
        assert native.forward(x).shape == (n, *native.output_shape)
        np.testing.assert_array_equal(native.forward(x), reference.forward(x))


@pytest.mark.parametrize("name", ["groups", "overlapping pools", "flatten, activation, dense", "nested"])
def test_a_training_step(name: str) -> None:
    """One step with a learning rate that is a power of two is exact too; the next begins from rounded weights."""
    network = EXACT[name]
    x, t, w = (
        network.images(network.batch),
        network.targets(network.batch),
        power_of_two_weights(network.batch),
    )
    results = []
    for backend in ("native", "reference"):
        program = compiled(network, optimizer=vg.SGD(2.0**-6, weight_decay=0.5), backend=backend)
        loss = program.step(x, t, w)
        results.append({"loss": np.float32(loss), **program.parameters})
    same_bits(*results)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
def test_an_image_has_the_same_answer_alone_and_in_a_batch(machine: Machine) -> None:
    network = NETWORKS["activations"]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, *network.shape)).astype(np.float32)
    program = vg.compile(network.model, network.shape, batch_size=4, machine=machine)
    together = program.forward(x)
    for i in range(4):
        np.testing.assert_array_equal(program.forward(x[i : i + 1])[0], together[i])


@pytest.mark.parametrize("groups", [1, 2])
def test_a_stride_beside_padding_meets_not_every_pixel(groups: int) -> None:
    """1 × 1 by 2 on a padded 2 × 2 map gives a map of that size again, and reads one pixel of it."""
    model = vg.layers.Sequential(
        [
            vg.layers.Conv2D(2, 1),
            vg.layers.Conv2D(2, 1, stride=2, padding=1, groups=groups),
            vg.layers.Dense(2),
        ]
    )
    network = Network(model, (2, 2, 1), batch=3, loss="mse")
    x, t, w = network.images(3), network.targets(3), power_of_two_weights(3)
    found, expected = (gradients(compiled(network, backend=b), x, t, w) for b in ("native", "reference"))
    same_bits(found, expected, f"{groups} groups")
