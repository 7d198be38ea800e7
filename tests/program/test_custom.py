"""Layers and losses that are not in the package train compiled: activations, sums in the forward pass, computed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.differences import check_layer, check_loss, loss_value
from tests.networks import Network
from tests.program.host import FUSED, everything, same_bits, threads

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, Parameter, ReLU, Sequential
from vecgrad.losses import Loss, mean
from vecgrad.runtime import host_isas, host_machine
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.machine import restricted
from vecgrad.spec.scalar import absolute, exp, sqrt, where

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Swish(Layer):
    """x σ(β x) with a learnable β for each channel (Ramachandran et al. 2017)."""

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"beta": Parameter(shape[-1:], "ones")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, b: x / (1 + exp(-b * x)), x, p["beta"]), x

    def backward(self, e: Any, x: Any, dy: Any, p: Any) -> Any:
        def dx(dy: Any, x: Any, b: Any) -> Any:
            s = 1 / (1 + exp(-b * x))
            return dy * (s + b * x * s * (1 - s))

        def dbeta(dy: Any, x: Any, b: Any) -> Any:
            s = 1 / (1 + exp(-b * x))
            return dy * x * x * s * (1 - s)

        beta = e.reduce("sum", e.map(dbeta, dy, x, p["beta"]), over="pixels")
        return e.map(dx, dy, x, p["beta"]), {"beta": beta}


@dataclass(frozen=True)
class Huber(Loss):
    """d² / 2 near zero, linear beyond ``delta``: one outlier does not rule."""

    delta: float = 1.0

    def forward(self, e: Any, x: Any, t: Any, w: Any) -> Any:
        def each(x: Any, t: Any) -> Any:
            d = absolute(x - t)
            return where(d <= self.delta, 0.5 * d * d, self.delta * (d - 0.5 * self.delta))

        rows = e.reduce("sum", e.map(each, x, t), over="channels")
        return e.reduce("sum", e.map(lambda r, w: r * w * mean(e), rows, w), over="pixels"), (x, t, w)

    def backward(self, e: Any, saved: Any) -> Any:
        def each(x: Any, t: Any, w: Any) -> Any:
            d = x - t
            inside = where(absolute(d) <= self.delta, d, where(d < 0, -self.delta, self.delta))
            return inside * w * mean(e)

        return e.map(each, *saved)


@dataclass(frozen=True)
class PixelNorm(Layer):
    """Each pixel's channels over their root mean square: a sum over channels in the forward pass."""

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        share = 1.0 / x.shape[-1]
        square = e.reduce("sum", e.map(lambda x: x * x, x), over="channels")
        scale = e.map(lambda s: 1 / sqrt(s * share + 1e-3), square)
        return e.map(lambda x, r: x * r, x, scale), (x, scale)

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        x, scale = saved
        share = 1.0 / x.shape[-1]
        along = e.reduce("sum", e.map(lambda dy, x: dy * x, dy, x), over="channels")
        return e.map(lambda dy, x, r, a: r * (dy - x * (r * r * share * a)), dy, x, scale, along), {}


@dataclass(frozen=True)
class Centre(Layer):
    """x less a share of each channel's sum over the whole batch: a sum over images that a later map reads."""

    share: float = 0.125

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        total = e.reduce("sum", x, over="pixels")
        return e.map(lambda x, s: x - self.share * s, x, total), None

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        total = e.reduce("sum", dy, over="pixels")
        return e.map(lambda dy, s: dy - self.share * s, dy, total), {}


@dataclass(frozen=True)
class ScaledConv(Layer):
    """A convolution whose weights are computed: direction · gain per filter, the direction stored as one vector."""

    filters: int

    def geometry(self, shape: Any) -> Conv:
        return Conv(window(shape[:2], 3), shape[2], self.filters)

    def infer(self, shape: Any) -> Any:
        return self.geometry(shape).out_shape

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        fan = 9 * shape[2]
        return {
            "direction": Parameter((fan * self.filters,), "he_normal", fan),
            "gain": Parameter((self.filters,), "ones"),
        }

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        g = self.geometry(x.shape)
        v = e.reshape(p["direction"], g.weight_shape)
        w = e.map(lambda v, g: v * g, v, p["gain"])
        return e.conv(x, w, g), (x, v, w, g)

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        x, v, w, g = saved
        dw = e.conv_dw(x, dy, g)
        direction = e.reshape(e.map(lambda d, g: d * g, dw, p["gain"]), p["direction"].shape)
        gain = e.reduce("sum", e.map(lambda d, v: d * v, dw, v), over="pixels")
        return e.conv_dx(dy, w, g), {"direction": direction, "gain": gain}


@dataclass(frozen=True)
class Shift(Layer):
    """x · s + a + b: two parameters with one gradient, and a fixed scale per channel that is only read."""

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {name: Parameter(shape[-1:], "ones") for name in ("a", "b", "s")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, a, b, s: x * s + a + b, x, p["a"], p["b"], p["s"]), x

    def backward(self, e: Any, x: Any, dy: Any, p: Any) -> Any:
        both = e.reduce("sum", dy, over="pixels")
        scale = e.reduce("sum", e.map(lambda d, x: d * x, dy, x), over="pixels")
        return e.map(lambda d, s: d * s, dy, p["s"]), {"a": both, "b": both, "s": scale}


@dataclass(frozen=True)
class Spread(Layer):
    """One channel as many, each with its weight: a map that is larger than what it reads."""

    channels: int

    def infer(self, shape: Any) -> Any:
        return (*shape[:2], self.channels)

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"v": Parameter((self.channels,), "ones")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, v: x * v, x, p["v"]), x

    def backward(self, e: Any, x: Any, dy: Any, p: Any) -> Any:
        dv = e.reduce("sum", e.map(lambda d, x: d * x, dy, x), over="pixels")
        return e.reduce("sum", e.map(lambda d, v: d * v, dy, p["v"]), over="channels"), {"v": dv}


LAYERS: dict[str, Layer] = {
    "swish": Swish(),
    "pixel norm": PixelNorm(),
    "centre": Centre(),
    "computed weights": ScaledConv(4),
    "shared gradient": Shift(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_their_gradients(name: str) -> None:
    check_layer(LAYERS[name], (4, 5, 3), images=3)


def test_the_loss_s_gradient() -> None:
    rng = np.random.default_rng(0)
    x, t, w = 2 * rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.random(3) + 0.5
    check_loss(Huber(0.7), x, t, w)
    d = np.abs(x - t)
    each = np.where(d <= 0.7, d * d / 2, 0.7 * (d - 0.35)).sum(1)
    assert loss_value(Huber(0.7), x, t, w) == pytest.approx((w * each).sum() / w.sum(), rel=1e-12)


def model() -> Sequential:
    return Sequential([
        ScaledConv(12), Swish(), PixelNorm(), MaxPool2D(2), Centre(0.01),
        Conv2D(9, 2), Shift(), Swish(name="bend"), Flatten(), Dense(3),
    ])  # fmt: skip


SHAPE, BATCH = (9, 8, 2), 10


def run(steps: int = 60, **more: Any) -> dict[str, Array]:
    program = vg.compile(model(), SHAPE, Huber(), vg.SGD(0.02, momentum=0.8), BATCH, seed=1, **more)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((BATCH, *SHAPE)).astype(np.float32)
    t = np.tanh(x[:, :3, 0, 0])
    losses = [program.step(x[: BATCH - i % 3], t[: BATCH - i % 3]) for i in range(steps)]
    assert losses[-1] < 0.5 * losses[0]
    return {"losses": np.array(losses), **program.parameters}


def test_they_train_compiled_with_the_same_bits_for_any_number_of_threads() -> None:
    runs = []
    for count in (1, 2, 3, 4):
        with threads(count):
            runs.append(run())
    for other in runs[1:]:
        same_bits(other, runs[0])


@pytest.mark.skipif(len(FUSED) < 2, reason="this processor has one instruction set with a fused multiply-add")
def test_and_for_machines_with_a_fused_multiply_add() -> None:
    same_bits(run(machine=FUSED[1]), run(machine=FUSED[0]))


def test_compiled_float64_is_the_reference() -> None:
    found, expected = (run(dtype="float64", backend=backend) for backend in ("native", "reference"))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-8, atol=1e-10, err_msg=name)


INTEGER: dict[str, Network] = {
    "spread behind a dense layer": Network(Sequential([Spread(16), Dense(4)]), (4, 4, 1)),
    "spread after a convolution": Network(
        Sequential([Conv2D(1, 2), Spread(16), Flatten(), Dense(4)]), (4, 4, 2)
    ),
    "shared gradient": Network(Sequential([Conv2D(3, 2), Shift(), ReLU(), Dense(4)]), (4, 4, 2), high=1),
    "shared gradient on whole vectors": Network(
        Sequential([Conv2D(16, 1), Shift(), Dense(4)]), (4, 4, 2), high=1
    ),
    "computed weights": Network(Sequential([ScaledConv(5), ReLU(), Dense(4)]), (5, 4, 2), high=1),
    "sums over the batch": Network(
        Sequential([Centre(0.5), Conv2D(3, 2), Centre(1.0), Dense(2)]), (3, 3, 2), high=1
    ),
    "sums over a large batch": Network(Sequential([Centre(1.0), Dense(2)]), (3, 3, 2), batch=19, high=1),
}


@pytest.mark.parametrize("name", INTEGER)
def test_bit_for_bit_on_integers(name: str) -> None:
    network = INTEGER[name]
    results = []
    for backend in ("native", "reference"):
        program = vg.compile(
            network.model, network.shape, "mse", vg.SGD(2.0**-4), network.batch,
            backend=backend, parameters=network.parameters(),
        )  # fmt: skip
        answers: dict[str, Array] = {}
        for n in sorted({1, network.batch // 2, network.batch}, reverse=True):
            weight = np.ones(n)
            weight[-1] = 32 - (n - 1)
            found = everything(program, network.images(n), network.targets(n), weight)
            answers |= {f"{key} of {n}": value for key, value in found.items()}
        # The training step is one more plan, with an update behind it; n = 4 images keep its scales exact.
        program.step(network.images(4), network.targets(4))
        results.append({**answers, **program.parameters})
    same_bits(*results)


@dataclass(frozen=True)
class Frozen(Layer):
    """A parameter whose gradient is the parameter itself."""

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"a": Parameter(shape[-1:], "ones")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, a: x + a, x, p["a"]), None

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        return dy, {"a": p["a"]}


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_gradient_may_be_an_input(backend: str) -> None:
    program = vg.compile([Dense(3), Frozen(name="f")], (2,), "mse", vg.SGD(0.25), 2, backend=backend)
    x, t = np.ones((2, 2)), np.zeros((2, 3))
    np.testing.assert_array_equal(program.gradients(x, t)["f.a"], np.ones(3))
    program.step(x, t)
    program.step(x, t)
    np.testing.assert_array_equal(program.parameters["f.a"], np.full(3, 0.75**2, np.float32))


@dataclass(frozen=True)
class Position(Layer):
    """A number for each place of the map."""

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"a": Parameter(shape, "ones")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, a: x + a, x, p["a"]), None

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        flat = e.reduce("sum", e.reshape(dy, (int(np.prod(dy.shape)),)), over="pixels")
        return dy, {"a": e.reshape(flat, dy.shape)}


@pytest.mark.parametrize("shape", [(3, 4, 2), (2, 2, 17), (3, 3, 1), (1, 1, 5)])
@pytest.mark.parametrize("isa", host_isas())
def test_a_parameter_for_each_pixel(isa: str, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.integers(-3, 4, (2, 4, *shape)).astype(np.float32)
    model = Sequential([Position(name="place"), ReLU()])
    parameters = {"place.a": rng.integers(-3, 4, shape)}
    settings: dict[str, Any] = {"loss": "mse", "batch_size": 4, "parameters": parameters}
    native = vg.compile(model, shape, machine=restricted(host_machine(), isa), **settings)
    reference = vg.compile(model, shape, backend="reference", **settings)
    same_bits({"output": native.forward(x)}, {"output": reference.forward(x)})
    # Without gradients the whole network joins the loss's sums.
    np.testing.assert_allclose(native.evaluate(x, t).loss, reference.evaluate(x, t).loss, rtol=1e-6)
    expected = reference.gradients(x, t, inputs=True)
    for name, found in native.gradients(x, t, inputs=True).items():
        # The mean's factor is rounded; all else is exact.
        np.testing.assert_allclose(found, expected[name], rtol=3e-7, atol=0, err_msg=name)
