"""The recording emitter writes down what the layers say, and a dense layer on a flattened map is a convolution that covers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecgrad.graph.build import Wanted, record, record_update, run
from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.graph.nodes import Graph
from vecgrad.graph.record import RecordingEmitter
from vecgrad.graph.verify import verify
from vecgrad.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sequential
from vecgrad.losses import CrossEntropy, Loss, MeanSquaredError
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.geometry import Conv, window
from vecgrad.updates import SGD, Adam

TRAINING = Wanted(loss=True, gradients=True)


def graph(model: Layer, shape: tuple[int, ...], loss: Loss | None = None, wanted: Wanted = TRAINING) -> Graph:
    shapes = {name: parameter.shape for name, parameter in model.parameters(shape).items()}
    return verify(
        record(model, loss or MeanSquaredError(), shape, model.infer(shape), shapes, "float32", wanted)
    )


def test_a_training_step_in_text(golden: Callable[[str, str], None]) -> None:
    model = Sequential([Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)])
    golden("graph-step.txt", str(graph(model, (6, 6, 1), CrossEntropy())))


def test_only_what_is_wanted_is_live() -> None:
    model = Sequential([Dense(4), ReLU(), Dense(2)])
    forward = graph(model, (3,), wanted=Wanted(prediction=True))
    assert {node.attribute for node in forward.live() if node.op == "input"} == {
        "x", "parameter.0.weight", "parameter.0.bias", "parameter.2.weight", "parameter.2.bias",
    }  # fmt: skip
    step = graph(model, (3,))
    assert sum(node.op == "conv_dx" for node in step.live()) == 1, "∂z/∂x of the first layer is not asked for"
    inputs = graph(model, (3,), wanted=Wanted(gradients=True, input_gradient=True))
    assert sum(node.op == "conv_dx" for node in inputs.live()) == 2
    assert list(step.outputs) == [
        "loss",
        "gradient.0.weight",
        "gradient.0.bias",
        "gradient.2.weight",
        "gradient.2.bias",
    ]


def test_a_trace_names_every_layer() -> None:
    model = Sequential([Dense(4), Sequential([ReLU(name="bend")], name="body")])
    wanted = Wanted(loss=True, gradients=True, input_gradient=True, trace=True)
    names = {name for name in graph(model, (3,), wanted=wanted).outputs if name.startswith("trace.")}
    assert names == {"trace.dx"} | {
        f"trace.{layer}.{side}" for layer in ("0", "body", "body.bend") for side in ("x", "dx")
    }


class TestCovering:
    def ops(self, model: Layer, shape: tuple[int, ...]) -> list[str]:
        return [
            f"{n.op} {n.attribute.window.kernel} {n.scope}"
            for n in graph(model, shape).live()
            if isinstance(n.attribute, Conv)
        ]

    def test_behind_flatten_all_three_directions_cover_the_map(self) -> None:
        model = Sequential([Conv2D(5, 1), Flatten(), Dense(7)])
        assert self.ops(model, (3, 4, 2)) == [
            "conv (1, 1) 0", "conv (3, 4) 2", "conv_dw (3, 4) 2", "conv_dx (3, 4) 2", "conv_dw (1, 1) 0",
        ]  # fmt: skip

    def test_nothing_is_copied_into_another_order(self) -> None:
        live = graph(Sequential([Conv2D(5, 1), Flatten(), Dense(7)]), (3, 4, 2)).live()
        for node in live:
            if node.op == "reshape" and node.types[0].batched:
                assert node.inputs[0].type.map == node.types[0].map

    def test_two_flattens_do_not_hide_it(self) -> None:
        assert "conv (3, 4) 2" in self.ops(Sequential([Flatten(), Flatten(), Dense(7)]), (3, 4, 2))

    def test_an_activation_in_between_keeps_the_vector(self) -> None:
        model = Sequential([Conv2D(5, 1), Flatten(), ReLU(), Dense(7)])
        assert "conv (1, 1) 3" in self.ops(model, (3, 4, 2))

    def test_the_gradient_has_the_public_shape(self) -> None:
        step = graph(Sequential([Flatten(), Dense(7)]), (3, 4, 2))
        assert step.outputs["gradient.1.weight"].shape == (24, 7)


def test_both_emitters_run_the_same_program() -> None:
    model = Sequential([Conv2D(4, 3, padding=1), MaxPool2D(2), Flatten(), Dense(3)])
    shapes = {name: p.shape for name, p in model.parameters((4, 4, 2)).items()}
    e = EagerEmitter({"inverse_weight": 0.5}, np.float64)
    p = {name: EagerValue(np.ones(shape), False) for name, shape in shapes.items()}
    x, t = EagerValue(np.ones((2, 4, 4, 2)), True), EagerValue(np.ones((2, 3)), True)
    w = EagerValue(np.ones(2), True)
    eager = run(e, model, MeanSquaredError(), x, t, w, p, TRAINING)
    recorded = graph(model, (4, 4, 2)).outputs
    assert {"loss": eager.values["loss"].shape} | {
        f"gradient.{name}": value.shape for name, value in eager.gradients.items()
    } == {name: ref.shape for name, ref in recorded.items()}


class TestBothRefuse:
    """What one emitter refuses, the other does too: a layer that runs eagerly also compiles."""

    @pytest.fixture(params=["eager", "recording"])
    def made(self, request: pytest.FixtureRequest) -> tuple[Any, Callable[..., Any]]:
        if request.param == "recording":
            e = RecordingEmitter("float64")
            numbers = iter(range(100))
            return e, lambda shape, batched=True: e.input(f"v{next(numbers)}", shape, batched)
        eager = EagerEmitter({}, np.float64)
        return eager, lambda shape, batched=True: EagerValue(
            np.ones((2, *shape) if batched else shape), batched
        )

    def test_a_maximum_over_pixels(self, made: Any) -> None:
        e, value = made
        with pytest.raises(ShapeError, match="sums only"):
            e.reduce("max", value((2, 2, 3)), over="pixels")

    def test_a_weight_of_another_shape(self, made: Any) -> None:
        e, value = made
        g = Conv(window((4, 4), 3), 2, 5)
        with pytest.raises(ShapeError):
            e.conv(value((4, 4, 2)), value((3, 3, 5, 2), False), g)
        with pytest.raises(ShapeError):
            e.conv_dx(value((2, 2, 5)), value((3, 3, 5, 2), False), g)
        with pytest.raises(ShapeError):
            e.conv_dw(value((4, 4, 3)), value((2, 2, 5)), g)

    def test_a_window_of_another_image(self, made: Any) -> None:
        e, value = made
        g = window((4, 4), 2)
        with pytest.raises(ShapeError):
            e.max_pool(value((5, 4, 2)), g)
        with pytest.raises(ShapeError):
            e.avg_pool_dx(value((4, 4, 2)), g, False)

    def test_a_comparison_as_a_number(self, made: Any) -> None:
        e, value = made
        with pytest.raises(ArgumentError, match="comparison"):
            e.map(lambda x: x > 0, value((3,)))

    def test_shapes_that_do_not_broadcast(self, made: Any) -> None:
        e, value = made
        with pytest.raises(ValueError, match=r"broadcast|shape"):
            e.map(lambda x, y: x + y, value((2, 3)), value((2, 4)))

    def test_reductions_of_single_numbers(self, made: Any) -> None:
        e, value = made
        one = e.reduce("sum", value(()), over="pixels")
        assert (one.shape, one.batched) == ((1,), False)
        same = e.reduce("max", value(()), over="channels")
        assert (same.shape, same.batched) == ((1,), True)


@pytest.mark.parametrize("rule", [SGD(momentum=0.5, nesterov=True), Adam()], ids=lambda r: type(r).__name__)
def test_an_update_rule_is_maps_over_flat_arrays(rule: Any) -> None:
    recorded = verify(record_update(rule, 48, "float32"))
    assert {node.op for node in recorded.live()} == {"input", "map"}
    assert set(recorded.outputs) == {"w", *rule.state()}
    assert all(ref.shape == (48,) and not ref.batched for ref in recorded.outputs.values())
