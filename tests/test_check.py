"""Gradient checks pass what is right and name what is wrong, down to a part in 10⁵."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import check
from vecgrad.graph.eager import EagerValue
from vecgrad.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    Parameter,
    ReLU,
    Rescale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from vecgrad.losses import CrossEntropy, Loss, mean
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.scalar import exp, tanh, where

RIGHT = [
    (Conv2D(4, (3, 2), stride=(2, 1), padding=1, groups=2), (7, 6, 4)),
    (Conv2D(2, 3, dilation=2, padding="same", bias=False), (6, 5, 1)),
    (Dense(5), (3, 3, 2)),
    (MaxPool2D(3, stride=1, padding=1), (6, 6, 2)),
    (AvgPool2D(3, stride=2, padding=1), (7, 7, 2)),
    (AvgPool2D(2, padding=1, count_padding=True), (4, 4, 2)),
    (ReLU(), (5, 5, 3)),
    (Sigmoid(), (4,)),
    (Tanh(), (2, 2, 1)),
    (Softmax(), (6,)),
    (Flatten(), (2, 2, 3)),
    (Rescale(1 / 255, 1.0), (2, 2, 1)),
]


@pytest.mark.parametrize(("layer", "shape"), RIGHT, ids=[str(layer) for layer, _ in RIGHT])
def test_the_package_s_layers_pass(layer: Layer, shape: tuple[int, ...]) -> None:
    report = check.layer(layer, shape)
    assert report.passed
    assert [found.subject for found in report.findings] == ["x", *layer.parameters(shape)]


def test_linear_maps_are_checked_by_the_adjoint_identity_others_by_differences() -> None:
    methods = {
        str(layer): {found.method for found in check.layer(layer, shape).findings} for layer, shape in RIGHT
    }
    linear = (Conv2D, Dense, AvgPool2D, Flatten, Rescale)
    for layer, _ in RIGHT:
        assert methods[str(layer)] == {"adjoint" if isinstance(layer, linear) else "differences"}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_package_s_losses_pass(loss: str) -> None:
    assert check.loss(loss, (5,)).passed


def test_a_model_with_kinks_and_ties_passes() -> None:
    model = [Conv2D(3, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(6), Tanh(), Dense(4)]
    report = check.model(model, (8, 8, 1))
    subjects = ["x", "0.weight", "0.bias", "4.weight", "4.bias", "6.weight", "6.bias"]
    assert [found.subject for found in report.findings] == subjects
    assert report.passed
    assert check.model(model, (8, 8, 1), loss="mse").passed


@dataclass(frozen=True)
class Scaled(Layer):
    """tanh whose gradient is wrong by a factor."""

    factor: float = 1.0

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        y = e.map(tanh, x)
        return y, y

    def backward(self, e: Any, y: Any, dy: Any, p: Any) -> Any:
        return e.map(lambda dy, y: dy * (1 - y * y) * self.factor, dy, y), {}


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5, 1.001, 0.0, -1.0, 2.0, 1e6, float("nan")])
def test_a_wrong_factor_is_found(factor: float) -> None:
    assert check.layer(Scaled(), (4, 3, 2)).passed
    with pytest.raises(check.GradientError, match="gradient of x") as caught:
        check.layer(Scaled(factor), (4, 3, 2))
    found = caught.value.report.findings[0]
    assert not found.passed
    if factor == factor:
        assert found.entry is not None
        assert found.entry_backward == pytest.approx(found.entry_forward * factor, rel=1e-6)


@dataclass(frozen=True)
class Altered(Conv2D):
    """A convolution in whose gradient of ``subject`` one entry is wrong."""

    subject: str = "weight"
    entry: tuple[int, ...] = ()

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        dx, gradients = super().backward(e, saved, dy, p)
        all_of_them = {"x": dx} | gradients
        value = all_of_them[self.subject]
        array = value.array.copy()
        array[self.entry] *= 1 + 1e-3
        all_of_them[self.subject] = EagerValue(array, value.batched)
        return all_of_them.pop("x"), all_of_them


@pytest.mark.parametrize(
    ("subject", "entry"),
    [("weight", (0, 1, 1, 2)), ("weight", (2, 2, 0, 0)), ("bias", (1,)), ("x", (1, 3, 4, 0))],
)
def test_the_wrong_entry_of_the_wrong_gradient_is_named(subject: str, entry: tuple[int, ...]) -> None:
    report = check.layer(Altered(3, 3, subject=subject, entry=entry), (6, 5, 2), strict=False)
    wrong = [found for found in report.findings if not found.passed]
    assert [(found.subject, found.entry) for found in wrong] == [(subject, entry)]
    assert wrong[0].entry_backward == pytest.approx(wrong[0].entry_forward * (1 + 1e-3), rel=1e-9)
    assert f"gradient of {subject}" in str(report)
    assert str(entry) in str(report)
    assert json.loads(json.dumps(report.to_json()))["passed"] is False


@dataclass(frozen=True)
class Transposed(Dense):
    """Multiplies the gradient by W where it must be Wᵀ: of the right shape for square W only."""

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        _, gradients = super().backward(e, saved, dy, p)
        return EagerValue(dy.array @ p["weight"].array, True), gradients


@dataclass(frozen=True)
class LastOnly(MaxPool2D):
    """Writes where it must add: an entry that several windows chose keeps one of them."""

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        index, g = saved
        right = e.max_pool_dx(dy, index, g).array
        once = e.max_pool_dx(EagerValue(np.ones_like(dy.array), True), index, g).array
        return EagerValue(right / np.maximum(once, 1), True), {}


@dataclass(frozen=True)
class SteepReLU(ReLU):
    """Lets the gradient through below zero as well."""

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        return dy, {}


@dataclass(frozen=True)
class Mixed(Layer):
    """Softmax whose backward pass forgets that outputs depend on each other."""

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return Softmax().forward(e, x, p)

    def backward(self, e: Any, y: Any, dy: Any, p: Any) -> Any:
        return e.map(lambda y, dy: dy * y * (1 - y), y, dy), {}


@dataclass(frozen=True)
class Slope(Layer):
    """max(x, a x) with a learned a, whose gradient forgets to sum over the images' sign."""

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        return {"slope": Parameter((shape[-1],), "zeros")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return e.map(lambda x, a: where(x <= 0, a * x, x), x, p["slope"]), x

    def backward(self, e: Any, x: Any, dy: Any, p: Any) -> Any:
        dx = e.map(lambda dy, x, a: where(x <= 0, a * dy, dy), dy, x, p["slope"])
        return dx, {"slope": e.reduce("sum", e.map(lambda dy, x: dy * x, dy, x), over="pixels")}


@pytest.mark.parametrize(
    ("layer", "shape", "subjects"),
    [
        (Transposed(4), (4,), ["x"]),
        (LastOnly(3, stride=1), (6, 6, 2), ["x"]),
        (SteepReLU(), (5, 5, 1), ["x"]),
        (Mixed(), (5,), ["x"]),
        (Slope(), (3, 3, 2), ["slope"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else None,
)
def test_the_classic_mistakes_are_found(layer: Layer, shape: tuple[int, ...], subjects: list[str]) -> None:
    report = check.layer(layer, shape, strict=False)
    assert [found.subject for found in report.findings if not found.passed] == subjects


def test_a_wrong_layer_is_found_inside_a_model() -> None:
    report = check.model([Conv2D(2, 3), Scaled(1.0001), Dense(3)], (5, 5, 1), strict=False)
    assert [found.subject for found in report.findings if not found.passed] == ["x", "0.weight", "0.bias"]


@dataclass(frozen=True)
class Shifted(Conv2D):
    """A convolution whose bias gradient is off by a constant."""

    off: float = 0.0

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        dx, gradients = super().backward(e, saved, dy, p)
        return dx, gradients | {"bias": EagerValue(gradients["bias"].array + self.off, False)}


def normalized(off: float) -> list[Layer]:
    return [
        Shifted(4, 3, off=off),
        BatchNorm(),
        ReLU(),
        Conv2D(3, 3),
        BatchNorm(),
        Tanh(),
        Flatten(),
        Dense(3),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_a_gradient_that_is_zero_but_for_rounding_passes(seed: int) -> None:
    report = check.model(normalized(0.0), (7, 7, 2), seed=seed, images=3)
    found = {each.subject: each for each in report.findings}
    for subject in ("0.bias", "3.bias"):  # what normalization takes away again
        assert abs(found[subject].backward) + abs(found[subject].forward) < 1e-13
    assert check.layer(Sequential(normalized(0.0)[:2]), (5, 5, 2), seed=seed).passed


@pytest.mark.parametrize("off", [1e-12, 1e-3, float("nan")])
def test_a_gradient_that_should_be_zero_and_is_not_is_found(off: float) -> None:
    report = check.model(normalized(off), (7, 7, 2), strict=False)
    assert [found.subject for found in report.findings if not found.passed] == ["0.bias"]


@pytest.mark.parametrize("small", [1e-3, 1e-6, 1e-9])
def test_a_small_gradient_is_not_taken_for_rounding(small: float) -> None:
    model = [Shifted(2, 3, off=1e-3 * small), Rescale(small, 0.0), Flatten(), Dense(3)]
    report = check.model(model, (5, 5, 1), loss="mse", strict=False)
    assert "0.bias" in [found.subject for found in report.findings if not found.passed]


@dataclass(frozen=True)
class Huber(Loss):
    """√(1 + d²) − 1 without weights; ``wrong`` forgets the mean in the gradient."""

    wrong: bool = False

    def forward(self, e: Any, x: Any, t: Any, w: Any) -> Any:
        scale = mean(e)
        d = e.map(lambda x, t: x - t, x, t)
        each = e.map(lambda d, w: w * scale * (exp(d) + exp(-d)), d, w)
        return e.reduce("sum", e.reduce("sum", each, over="channels"), over="pixels"), (d, w, scale)

    def backward(self, e: Any, saved: Any) -> Any:
        d, w, scale = saved
        return e.map(lambda d, w: w * (1 if self.wrong else scale) * (exp(d) - exp(-d)), d, w)


def test_a_loss_of_ones_own() -> None:
    assert check.loss(Huber(), (3,)).passed
    with pytest.raises(check.GradientError, match=r"Huber on input \(3,\): gradient of x"):
        check.loss(Huber(wrong=True), (3,))


@dataclass(frozen=True)
class Misshapen(Scaled):
    """Gives a gradient of another shape, or none for its parameter."""

    forgets: bool = False

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        return {"gain": Parameter((1,), "ones")} if self.forgets else {}

    def backward(self, e: Any, y: Any, dy: Any, p: Any) -> Any:
        dx, gradients = super().backward(e, y, dy, p)
        return (dx if self.forgets else EagerValue(dx.array[:, :-1], True)), gradients


def test_gradients_of_a_wrong_shape_and_missing_ones() -> None:
    with pytest.raises(
        check.GradientError, match=r"backward gives shape \(2, 3\) for x, expected shape \(2, 4\)"
    ):
        check.layer(Misshapen(), (4,))
    with pytest.raises(check.GradientError, match="nothing for gain"):
        check.layer(Misshapen(forgets=True), (4,))


@dataclass(frozen=True)
class Rough(Layer):
    """Of which differences never settle."""

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        return EagerValue(np.random.default_rng().random(x.array.shape), True), None

    def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
        return dy, {}


def test_what_cannot_be_differentiated_is_called_so() -> None:
    with pytest.raises(check.GradientError, match="do not settle"):
        check.layer(Rough(), (4,))


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, same, other = (str(check.layer(Tanh(), (4,), seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_bad_arguments() -> None:
    with pytest.raises(ShapeError, match="needs an image"):
        check.layer(Conv2D(1, 1), (4,))
    with pytest.raises(ShapeError, match="logit"):
        check.model(Conv2D(1, 1), (4, 4, 1))
    with pytest.raises(ArgumentError, match="directions"):
        check.layer(Tanh(), (4,), directions=0)
    with pytest.raises(ArgumentError, match="loss"):
        check.loss("hinge", (4,))
    assert check.loss(CrossEntropy(), (2,)).passed
    assert vg.check is check
