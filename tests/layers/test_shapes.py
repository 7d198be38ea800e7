"""Shapes are inferred before anything runs, and an impossible network says which layer, what came, what helps."""

from __future__ import annotations

from typing import Any

import pytest

from vecgrad.layers import (
    AvgPool2D,
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
from vecgrad.spec.errors import ArgumentError, ShapeError


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Conv2D(8, 3), (28, 27, 1), (26, 25, 8)),
        (Conv2D(8, (3, 5), stride=(2, 1)), (28, 28, 3), (13, 24, 8)),
        (Conv2D(8, 3, padding="same", stride=2), (7, 8, 3), (4, 4, 8)),
        (Conv2D(8, 3, padding=((0, 1), (2, 0)), dilation=2), (5, 5, 3), (2, 3, 8)),
        (Conv2D(6, 3, groups=3), (5, 5, 3), (3, 3, 6)),
        (MaxPool2D(2), (7, 6, 5), (3, 3, 5)),
        (MaxPool2D(3, stride=2, padding=1), (7, 6, 5), (4, 3, 5)),
        (AvgPool2D((2, 1)), (6, 6, 4), (3, 6, 4)),
        (Flatten(), (3, 4, 5), (60,)),
        (Flatten(), (7,), (7,)),
        (Dense(10), (3, 4, 5), (10,)),
        (Dense(10), (60,), (10,)),
        (ReLU(), (3, 4, 5), (3, 4, 5)),
        (Sigmoid(), (9,), (9,)),
        (Rescale(), (3, 4, 5), (3, 4, 5)),
        (Sequential([]), (3, 4, 5), (3, 4, 5)),
        (Sequential([Conv2D(4, 3), Sequential([ReLU(), MaxPool2D(2)]), Flatten()]), (8, 8, 1), (36,)),
    ],
    ids=str,
)
def test_output_shapes(layer: Layer, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert layer.infer(shape) == expected


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            [Conv2D(4, 3), MaxPool2D(2), Conv2D(8, 5)],
            ["layer 2", "Conv2D(8, 5)", "(3, 3, 4)", "height 5", "padding='same'"],
        ),
        (
            [Flatten(), Conv2D(4, 3)],
            ["layer 1", "(64,)", "image (height, width, channels)", "before Flatten"],
        ),
        ([Conv2D(3, 3), Conv2D(4, 1, groups=2)], ["layer 1", "groups=2", "3 input channels", "4 filters"]),
        ([Conv2D(3, 3, name="stem"), MaxPool2D(9, name="pool")], ["layer pool", "MaxPool2D(9", "(6, 6, 3)"]),
        ([ReLU(), Sequential([ReLU(), MaxPool2D(9)], name="body")], ["layer body.1", "MaxPool2D(9)"]),
        ([MaxPool2D(2, padding=2)], ["layer 0", "output row 0", "padding only", "less padding"]),
        ([AvgPool2D(2, stride=1, padding=(0, 3))], ["layer 0", "output column 0", "padding only"]),
        ([Dense(4), MaxPool2D(2)], ["layer 1", "MaxPool2D", "(4,)"]),
    ],
)
def test_an_impossible_network_says_where_and_why(layers: list[Layer], words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        Sequential(layers).infer((8, 8, 1))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Conv2D(0, 3), "filters"),
        (lambda: Conv2D(2.5, 3), "filters"),  # type: ignore[arg-type]
        (lambda: Conv2D(True, 3), "filters"),
        (lambda: Conv2D(4, 0), "kernel_size"),
        (lambda: Conv2D(4, (3, 3, 3)), "kernel_size"),  # type: ignore[arg-type]
        (lambda: Conv2D(4, 3, stride=0), "stride"),
        (lambda: Conv2D(4, 3, dilation=-1), "dilation"),
        (lambda: Conv2D(4, 3, groups=0), "groups"),
        (lambda: Conv2D(4, 3, padding="full"), "padding"),  # type: ignore[arg-type]
        (lambda: Conv2D(4, 3, padding=-1), "padding"),
        (lambda: Conv2D(4, 3, initial="xavier"), "initial"),  # type: ignore[arg-type]
        (lambda: Dense(0), "units"),
        (lambda: Dense(4, initial=None), "initial"),  # type: ignore[arg-type]
        (lambda: MaxPool2D(0), "pool_size"),
        (lambda: MaxPool2D(2, stride=0), "stride"),
        (lambda: AvgPool2D(2, padding="none"), "padding"),  # type: ignore[arg-type]
        (lambda: Rescale(float("nan")), "scale"),
        (lambda: Rescale(1.0, float("inf")), "offset"),
        (lambda: Rescale("1"), "scale"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_mean_nothing_are_refused_at_once(make: Any, word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        make()


def test_parameters_in_layer_order_weight_before_bias() -> None:
    model = Sequential([Conv2D(6, (3, 2), groups=2), ReLU(), Conv2D(3, 1, bias=False), Flatten(), Dense(5)])
    shapes = {name: parameter.shape for name, parameter in model.parameters((5, 5, 4)).items()}
    assert list(shapes.items()) == [
        ("0.weight", (3, 2, 2, 6)),
        ("0.bias", (6,)),
        ("2.weight", (1, 1, 6, 3)),
        ("4.weight", (36, 5)),
        ("4.bias", (5,)),
    ]


def test_a_name_replaces_the_number_on_the_whole_path() -> None:
    block = Sequential([Conv2D(2, 1, name="mix"), ReLU()], name="body")
    model = Sequential([Conv2D(2, 1), block, Dense(3, name="head")])
    assert list(model.parameters((2, 2, 1))) == [
        "0.weight", "0.bias", "body.mix.weight", "body.mix.bias", "head.weight", "head.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "word"),
    [
        ([ReLU(name="a"), Tanh(name="a")], "'a'"),
        ([ReLU(name="1"), Tanh()], "'1'"),
        ([ReLU(name="a.b")], "dots"),
        ([ReLU], "did you mean ReLU"),
        ([ReLU(), "relu"], "layer 1"),
    ],
)
def test_names_and_layers_that_cannot_be_told_apart(layers: list[Any], word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        Sequential(layers)


def test_initial_laws_know_what_flows_in_and_out() -> None:
    conv = Conv2D(6, (3, 2), groups=2, initial="glorot_uniform").parameters((5, 5, 4))
    assert conv["weight"] == Parameter((3, 2, 2, 6), "glorot_uniform", fan_in=12, fan_out=18)
    assert conv["bias"] == Parameter((6,), "zeros")
    assert Dense(7).parameters((2, 3, 4))["weight"] == Parameter((24, 7), "he_normal", 24, 7)


def test_layers_are_values() -> None:
    assert Conv2D(4, 3) == Conv2D(4, 3)
    assert Conv2D(4, 3) != Conv2D(4, 3, stride=2)
    assert hash(Sequential([ReLU()])) == hash(Sequential([ReLU()]))
    with pytest.raises(AttributeError):
        Conv2D(4, 3).filters = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2D(32, 3), "Conv2D(32, 3)"),
        (Conv2D(32, (3, 1), padding="same", bias=False), "Conv2D(32, (3, 1), padding='same', bias=False)"),
        (MaxPool2D(2), "MaxPool2D(2)"),
        (Dense(10, name="head"), "Dense(10, name='head')"),
        (ReLU(), "ReLU()"),
        (Softmax(), "Softmax()"),
    ],
)
def test_a_layer_is_written_as_it_is_made(layer: Layer, text: str) -> None:
    assert str(layer) == text


def test_work_is_counted() -> None:
    assert Conv2D(8, 3).flops((10, 10, 2)) == 2 * 64 * 8 * 9 * 2
    assert Dense(5).flops((4, 4, 2)) == 2 * 32 * 5
    assert Sequential([Conv2D(8, 3), Flatten(), Dense(5)]).flops((10, 10, 2)) == 2 * 64 * 8 * 18 + 2 * 512 * 5
