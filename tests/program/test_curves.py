"""Training beside PyTorch: rounding leads vecgrad no further from the exact curve than it leads PyTorch, up to a small factor.

The exact curve is PyTorch's in float64. Its own float32 runs, in both of its layouts, give the yardstick: the larger of their
distances. The network is smooth (Tanh, averages): where a ReLU or a maximum decides, a single pixel within rounding of a
tie makes a jump, and the distance is a matter of luck. Losses are compared before they are rounded
to float32 themselves: from the outputs, in float64.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from tests.networks import Network
from tests.program.host import FUSED

import vecgrad as vg
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, Sequential, Tanh

torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")

Array = np.ndarray[Any, np.dtype[Any]]
NETWORK = Network(
    Sequential([
        Conv2D(16, 3, padding=1), Tanh(), Conv2D(32, 3, padding=1), Tanh(), AvgPool2D(2), Conv2D(32, 3, padding=1), Tanh(),
        Conv2D(32, 3, padding=1), Tanh(), AvgPool2D(2), Flatten(), Dense(10),
    ]),
    (16, 16, 3), batch=32, loss="cross_entropy",
)  # fmt: skip
STEPS, RATE, MOMENTUM = 24, 0.02, 0.9
SEEDS = (0, 1, 2)
# Of PyTorch's distance. Most of it comes from what all kernels have in common, so Winograd adds little.
DIRECT, WINOGRAD = 1.5, 2.0


def batches(seed: int) -> list[tuple[Array, Array]]:
    """Ten patterns under noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((10, *NETWORK.shape))
    labels = rng.integers(0, 10, (STEPS, NETWORK.batch))
    return [
        ((patterns[y] + rng.standard_normal((len(y), *NETWORK.shape))).astype(np.float32), y) for y in labels
    ]


def loss(outputs: Array, labels: Array) -> float:
    """Mean cross entropy in float64."""
    z = outputs.astype(np.float64)
    z -= z.max(1, keepdims=True)
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean())


@functools.cache
def first(seed: int) -> dict[str, Array]:
    return vg.compile(
        NETWORK.model, NETWORK.shape, "cross_entropy", seed=seed, backend="reference"
    ).parameters


def own(seed: int, machine: Any, algorithm: Any, rate: float = RATE) -> tuple[vg.Program, Array]:
    program = vg.compile(
        NETWORK.model, NETWORK.shape, "cross_entropy", vg.SGD(rate, momentum=MOMENTUM), NETWORK.batch, machine=machine,
        parameters=first(seed), algorithm=algorithm,
    )  # fmt: skip
    losses = []
    for x, y in batches(seed):
        losses.append(loss(program.forward(x), y))
        program.step(x, y)
    return program, np.array(losses)


def torch_curve(seed: int, dtype: Any, layout: Any) -> Array:
    f = torch.nn.functional
    weights = {
        name: torch.tensor(np.ascontiguousarray(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T), dtype=dtype)
        for name, a in first(seed).items()
    }
    weights = {
        name: (w.contiguous(memory_format=layout) if w.ndim == 4 else w).requires_grad_()
        for name, w in weights.items()
    }
    optimizer = torch.optim.SGD(weights.values(), lr=RATE, momentum=MOMENTUM)
    losses = []
    for x, labels in batches(seed):
        y = torch.tensor(x.transpose(0, 3, 1, 2), dtype=dtype).contiguous(memory_format=layout)
        for number, layer in enumerate(NETWORK.model.layers):
            w, b = weights.get(f"{number}.weight"), weights.get(f"{number}.bias")
            match layer:
                case Conv2D():
                    y = f.conv2d(y, w, b, padding=1)
                case Tanh():
                    y = torch.tanh(y)
                case AvgPool2D():
                    y = f.avg_pool2d(y, 2)
                case Flatten():
                    y = y.permute(0, 2, 3, 1).flatten(1)
                case Dense():
                    y = f.linear(y, w, b)
        losses.append(loss(y.detach().numpy(), labels))
        optimizer.zero_grad()
        f.cross_entropy(y, torch.tensor(labels)).backward()
        optimizer.step()
    return np.array(losses)


@functools.cache
def yardstick() -> tuple[Array, float]:
    """The exact curves, one for each seed, and PyTorch's distance from them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    nchw, last = torch.contiguous_format, torch.channels_last
    exact = np.array([torch_curve(seed, torch.float64, nchw) for seed in SEEDS])
    peers = [
        np.array([torch_curve(seed, torch.float32, layout) for seed in SEEDS]) for layout in (nchw, last)
    ]
    torch.set_num_threads(before)
    return exact, max(distance(peer, exact) for peer in peers)


def distance(curves: Array, exact: Array) -> float:
    """rms over seeds and steps."""
    return float(np.sqrt(((curves - exact) ** 2).mean()))


@pytest.mark.parametrize("machine", FUSED, ids=lambda m: m.isa)
@pytest.mark.parametrize(("algorithm", "factor"), [("direct", DIRECT), ("auto", WINOGRAD)])
def test_curves(machine: Any, algorithm: str, factor: float) -> None:
    exact, peer = yardstick()
    assert (exact[:, -1] < 0.5 * exact[:, 0]).all(), "nothing is learned, so nothing is shown"
    runs = [own(seed, machine, algorithm) for seed in SEEDS]
    kernels = {row.call.kernel for row in runs[0][0].explain().rows}
    winograd = {"conv.winograd", "conv_dx.winograd", "conv_dw.winograd"}
    assert kernels & winograd == (winograd if algorithm == "auto" else set())
    found = distance(np.array([losses for _, losses in runs]), exact)
    assert found <= factor * peer, f"{found:.1e}, PyTorch {peer:.1e}"


def test_a_small_fault_is_seen() -> None:
    """A learning rate that is too large by 1e-5 of itself."""
    exact, peer = yardstick()
    curves = [own(seed, FUSED[0], "auto", RATE * (1 + 1e-5))[1] for seed in SEEDS]
    assert distance(np.array(curves), exact) > 2 * WINOGRAD * peer
