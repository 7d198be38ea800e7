"""Gradients and short runs beside PyTorch's, from the same parameters on the same batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.networks import LENET, Network
from tests.program.host import MACHINES

import vecgrad as vg
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential, Tanh

torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")

Array = np.ndarray[Any, np.dtype[Any]]
MNIST_CNN = Network(
    Sequential([Conv2D(32, 3), ReLU(), Conv2D(64, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(128), ReLU(), Dense(10)]),
    (28, 28, 1), batch=8, loss="cross_entropy",
)  # fmt: skip
ODD = Network(
    Sequential([
        Conv2D(12, 3, stride=2, padding=1), Tanh(), Conv2D(24, 3, padding=2, dilation=2, groups=4), ReLU(),
        MaxPool2D(3, stride=2, padding=1), AvgPool2D(2, stride=1, padding=1, count_padding=True), Flatten(), Dense(10),
    ]),
    (17, 14, 3), batch=8, loss="cross_entropy",
)  # fmt: skip
NETWORKS = {"lenet": LENET, "mnist cnn": MNIST_CNN, "strided, dilated, grouped": ODD}


class Peer:
    """The same model in PyTorch, channels first inside, with vecgrad's parameters."""

    def __init__(self, network: Network, parameters: dict[str, Array]) -> None:
        self.layers = network.model.layers
        self.weights = {
            name: torch.tensor(self._turned(a), requires_grad=True) for name, a in parameters.items()
        }

    @staticmethod
    def _turned(a: Array) -> Array:
        """(kh, kw, in, out) as (out, in, kh, kw); (in, out) as (out, in)."""
        return np.ascontiguousarray(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T)

    @staticmethod
    def back(a: Any) -> Array:
        array: Array = a.detach().numpy()
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    def forward(self, x: Array) -> Any:
        f = torch.nn.functional
        y = torch.tensor(x.transpose(0, 3, 1, 2))
        for number, layer in enumerate(self.layers):
            w, b = self.weights.get(f"{number}.weight"), self.weights.get(f"{number}.bias")
            match layer:
                case Conv2D():
                    y = f.conv2d(y, w, b, layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[arg-type]
                case Dense():
                    y = f.linear(y, w, b)  # type: ignore[arg-type]
                case MaxPool2D():
                    y = f.max_pool2d(y, layer.pool_size, layer.stride, _number(layer.padding))  # type: ignore[arg-type]
                case AvgPool2D():
                    y = f.avg_pool2d(y, layer.pool_size, layer.stride, _number(layer.padding))  # type: ignore[arg-type]
                case Flatten():
                    y = y.permute(0, 2, 3, 1).flatten(1)
                case ReLU():
                    y = f.relu(y)
                case Tanh():
                    y = torch.tanh(y)
                case _:
                    raise AssertionError(layer)
        return y

    def loss(self, x: Array, y: Array) -> Any:
        return torch.nn.functional.cross_entropy(self.forward(x), torch.tensor(y))


def _number(padding: Any) -> int:
    return 0 if padding == "valid" else int(padding)


def batch(network: Network, n: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.random((n, *network.shape), np.float32), rng.integers(0, 10, n)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("machine", MACHINES[:1] + MACHINES[-1:], ids=lambda m: m.isa)
def test_gradients_of_one_step(name: str, machine: Any) -> None:
    network = NETWORKS[name]
    program = vg.compile(network.model, network.shape, "cross_entropy", batch_size=8, machine=machine)
    peer = Peer(network, program.parameters)
    x, y = batch(network, 7)
    np.testing.assert_allclose(program.forward(x), peer.forward(x).detach().numpy(), rtol=0, atol=1e-5)
    loss = peer.loss(x, y)
    loss.backward()
    assert program.evaluate(x, y).loss == pytest.approx(float(loss.detach()), rel=1e-5)
    for key, found in program.gradients(x, y).items():
        expected = Peer.back(peer.weights[key].grad)
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected), key


@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [("float64", 20, 1e-9), ("float32", 6, 1e-4)])
@pytest.mark.parametrize("name", ["lenet", "strided, dilated, grouped"])
def test_a_short_run(name: str, dtype: str, steps: int, tolerance: float) -> None:
    """In float32 rounding soon flips a ReLU or the choice of a pool, and runs part; in float64 not within 20 steps."""
    network = NETWORKS[name]
    rule = vg.SGD(0.02, momentum=0.9)
    program = vg.compile(network.model, network.shape, "cross_entropy", rule, 8, dtype=dtype)
    peer = Peer(network, program.parameters)
    optimizer = torch.optim.SGD(peer.weights.values(), lr=0.02, momentum=0.9)
    losses: list[tuple[float, float]] = []
    for step in range(steps):
        x, y = batch(network, 8, seed=step % 4)
        x = x.astype(dtype)
        optimizer.zero_grad()
        loss = peer.loss(x, y)
        loss.backward()
        optimizer.step()
        losses.append((program.step(x, y), float(loss.detach())))
    found, expected = np.array(losses).T
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    for key, array in program.parameters.items():
        other = Peer.back(peer.weights[key])
        assert np.linalg.norm(array - other) <= 10 * tolerance * np.linalg.norm(other), key
