"""Batch normalization: against its definition, differences, PyTorch, and itself with weights that repeat images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecgrad as vg
from vecgrad.layers import BatchNorm, Conv2D, Dense, ReLU
from vecgrad.reference.normalization import Partial, batch_norm, batch_norm_backward, merged, moments
from vecgrad.spec.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(5)
X = RNG.normal(3, 2, (6, 4, 5, 3))
Y = RNG.normal(size=(6, 2))


def program(norm: BatchNorm, **more: Any) -> vg.Program:
    settings: dict[str, Any] = {
        "backend": "reference",
        "dtype": "float64",
        "optimizer": vg.SGD(0.1),
        "batch_size": 12,
    }
    return vg.compile([norm, Dense(2)], (4, 5, 3), "mse", **(settings | more))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(3,), (1, 1, 2), (2, 3, 4)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(2, 4),
)
def test_gradients(shape: Any, frozen: bool, scale: bool, shift: bool, images: int) -> None:
    vg.check.layer(BatchNorm(frozen=frozen, scale=scale, shift=shift), shape, images=images)


def test_the_layer_is_the_reference() -> None:
    w = RNG.uniform(0.5, 2, len(X))
    made = program(BatchNorm())
    trace = made.trace(X, Y, w)
    p = made.parameters
    y, mean, rate = batch_norm(X, p["0.weight"], p["0.bias"], w, 1e-5)
    np.testing.assert_allclose(trace["1"].x, y, rtol=1e-13)
    dx, dgamma, dbeta = batch_norm_backward(X, p["0.weight"], w, mean, rate, trace["1"].dx)
    found = made.gradients(X, Y, w, inputs=True)
    for name, expected in (("x", dx), ("0.weight", dgamma), ("0.bias", dbeta)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-14)


def test_normalized_means_normalized() -> None:
    y = program(BatchNorm()).trace(X, Y)["1"].x
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, atol=1e-4)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("total", [5.5, 1.0001, 1e-3])
def test_equal_weights_however_small_are_none(backend: str, total: float) -> None:
    """The unbiased variance divides by one image less, not by how much the sum of the weights is above 1."""
    weighted, plain = (program(BatchNorm(), backend=backend) for _ in range(2))
    for _ in range(2):
        weighted.step(X, Y, np.full(len(X), total / len(X)))
        plain.step(X, Y)
    for name, array in plain.parameters.items():
        np.testing.assert_allclose(weighted.parameters[name], array, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_weight_counts_images(backend: str) -> None:
    """Weight 2 is an image twice, weight 0 none: in statistics, losses and gradients."""
    w = np.array([1, 2, 0, 1, 2, 1.0])
    weighted, repeated = (program(BatchNorm(), backend=backend) for _ in range(2))
    twice = np.repeat(np.arange(6), w.astype(int))
    for _ in range(3):
        np.testing.assert_allclose(weighted.step(X, Y, w), repeated.step(X[twice], Y[twice]), rtol=1e-12)
    for name, array in repeated.parameters.items():
        np.testing.assert_allclose(weighted.parameters[name], array, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_running_statistics(backend: str) -> None:
    made = program(BatchNorm(momentum=0.25), backend=backend)
    mean, variance = np.zeros(3), np.ones(3)
    for part in (X[:4], X):
        made.step(part, Y[: len(part)])
        mean = 0.75 * mean + 0.25 * part.mean((0, 1, 2))
        variance = 0.75 * variance + 0.25 * part.reshape(-1, 3).var(0, ddof=1)
    np.testing.assert_allclose(made.parameters["0.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(made.parameters["0.running_var"], variance, rtol=1e-12)
    before = made.parameters
    made.gradients(X, Y)
    made.trace(X, Y)
    made.evaluate(X, Y)
    assert all(np.array_equal(before[name], array) for name, array in made.parameters.items())
    # Predictions use them, and see each image alone.
    np.testing.assert_allclose(made.forward(X)[2:3], made.forward(X[2:3]), rtol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_frozen_ones_stay_and_are_used(backend: str) -> None:
    made = program(BatchNorm(frozen=True), backend=backend)
    kept = made.parameters | {"0.running_mean": np.full(3, 3.0), "0.running_var": np.full(3, 4.0)}
    made.load_parameters(kept)
    found = [made.gradients(X, Y, training=training) for training in (True, False)]
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-12)
    made.step(X, Y)
    assert np.array_equal(made.parameters["0.running_var"], np.full(3, 4.0))
    assert not np.array_equal(made.parameters["0.weight"], np.ones(3))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_parts_merge_to_the_whole(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n + m, 2)), rng.uniform(0.1, 2, n + m)

    def known(at: slice) -> Partial:
        mean, variance = moments(x[at], w[at])
        return Partial(w[at].sum(), mean, variance * w[at].sum())

    whole, both = known(slice(None)), merged(known(slice(n)), known(slice(n, None)))
    for one, other in zip(both, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_large_means_do_not_spoil_variances(shift: float) -> None:
    """float32, 20 images in 16 chunks: one pass of sums of squares would lose all digits of a variance of 1 beside 10⁶."""
    x = (RNG.normal(size=(20, 9, 7, 17)) + shift).astype(np.float32)
    y = np.zeros((20, 1), np.float32)
    made = vg.compile([BatchNorm(momentum=1.0), Dense(1)], (9, 7, 17), "mse", vg.SGD(0.0), 20)
    made.step(x, y)
    exact = x.astype(np.float64).reshape(-1, 17)
    np.testing.assert_allclose(made.parameters["0.running_mean"], exact.mean(0), rtol=2e-7, atol=2e-7)
    # Between chunks lie their means, each rounded to float32: an ulp of 1000 against their distance of about 0.1.
    rounded = 0.1 * np.spacing(np.float32(shift))
    np.testing.assert_allclose(
        made.parameters["0.running_var"], exact.var(0, ddof=1), rtol=3e-6 + 2 * rounded
    )


class TestBadInput:
    def test_one_value_per_channel(self) -> None:
        with pytest.raises(ShapeError, match=r"batch_size is 1.*needs 2 images"):
            vg.compile([BatchNorm(), Dense(2)], (5,), "mse", "sgd", 1)
        made = vg.compile([BatchNorm(), Dense(2)], (5,), "mse", "sgd", 4)
        before = made.parameters
        with pytest.raises(ShapeError, match="needs at least 2 images, got 1"):
            made.step(np.ones((1, 5), "f"), np.ones((1, 2), "f"))
        assert all(np.array_equal(before[name], array) for name, array in made.parameters.items())
        assert made.forward(np.ones((1, 5), "f")).shape == (1, 2)
        vg.compile([BatchNorm(frozen=True), Dense(2)], (5,), "mse", "sgd", 1).step(
            np.ones((1, 5)), np.ones((1, 2))
        )

    def test_a_last_batch_of_one_value_is_told_before_the_first_step(self) -> None:
        made = vg.compile([BatchNorm(), Dense(2)], (5,), "mse", "sgd", 4, backend="reference")
        before = made.parameters
        with pytest.raises(
            ArgumentError, match=r"9 images in batches of 4 leave a last batch of 1.*needs 2 at least"
        ):
            vg.fit(made, np.ones((9, 5), "f"), np.ones((9, 2), "f"), epochs=1)
        assert made.steps == 0
        assert all(np.array_equal(before[name], array) for name, array in made.parameters.items())
        vg.fit(made, np.ones((10, 5), "f"), np.ones((10, 2), "f"), epochs=1)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"momentum": 1.5}, "momentum must be a number from 0 to 1, got 1.5"),
            ({"momentum": "0"}, "momentum"),
            ({"epsilon": 0.0}, "epsilon must be.*above 0, got 0.0"),
            ({"epsilon": float("nan")}, "epsilon"),
        ],
    )
    def test_arguments(self, given: dict[str, Any], words: str) -> None:
        with pytest.raises(ArgumentError, match=words):
            BatchNorm(**given)


def test_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    model = [Conv2D(6, 3, bias=False), BatchNorm(), ReLU(), Dense(3), BatchNorm(momentum=0.3, epsilon=1e-3)]
    made = vg.compile(model, (6, 5, 2), "mse", vg.SGD(0.05, momentum=0.9), 8, dtype="float64")
    p = made.parameters
    peer = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, bias=False), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(72, 3), torch.nn.BatchNorm1d(3, momentum=0.3, eps=1e-3),
    ).double()  # fmt: skip
    with torch.no_grad():
        peer[0].weight.copy_(torch.tensor(p["0.weight"].transpose(3, 2, 0, 1)))
        dense = p["3.weight"].reshape(4, 3, 6, 3).transpose(3, 2, 0, 1).reshape(3, 72)
        peer[4].weight.copy_(torch.tensor(dense))
        peer[4].bias.copy_(torch.tensor(p["3.bias"]))
    optimizer = torch.optim.SGD(peer.parameters(), 0.05, momentum=0.9)
    for step in range(5):
        rng = np.random.default_rng(step)
        x, y = rng.normal(size=(8, 6, 5, 2)), rng.normal(size=(8, 3))
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(peer(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(y))
        loss.backward()
        optimizer.step()
        assert made.step(x, y) == pytest.approx(float(loss.detach()), rel=1e-11)
    now = made.parameters
    for name, module in (("1", peer[1]), ("4", peer[5])):
        for key, value in module.state_dict().items():
            if key != "num_batches_tracked":
                np.testing.assert_allclose(now[f"{name}.{key}"], value.numpy(), rtol=1e-9, atol=1e-12)
