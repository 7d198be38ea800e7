"""Shapes, counts, receptive fields and refusals of the layers that normalize, drop, resize and run a window backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import layers as known
from vecgrad.layers import (
    ELU,
    GELU,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Parameter,
    SiLU,
    SpatialDropout2D,
    UpSample2D,
    ZeroPad2D,
)
from vecgrad.runs import _objects
from vecgrad.spec.errors import ArgumentError, ShapeError

NEW = [
    LeakyReLU(0.2),
    ELU(0.5),
    SiLU(),
    GELU("tanh"),
    GlobalAvgPool2D(),
    GlobalMaxPool2D(),
    UpSample2D((2, 1)),
    ZeroPad2D(((0, 1), (2, 3))),
    ConvTranspose2D(8, 3, stride=2, padding=1, output_padding=1, groups=2),
    GroupNorm(2, 0.01, shift=False),
    LayerNorm(scale=False),
    Dropout(0.25),
    SpatialDropout2D(0.1),
]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (GlobalAvgPool2D(), (7, 6, 5), (5,)),
        (GlobalMaxPool2D(), (1, 1, 3), (3,)),
        (UpSample2D((2, 3)), (3, 4, 5), (6, 12, 5)),
        (ZeroPad2D((1, 2)), (3, 4, 5), (5, 8, 5)),
        (ConvTranspose2D(6, 3, stride=2, padding=1), (4, 5, 3), (7, 9, 6)),
        (ConvTranspose2D(6, (2, 3), (3, 1), ((0, 1), (1, 2)), (2, 0), (1, 2)), (4, 5, 3), (12, 6, 6)),
        (GroupNorm(2), (3, 4, 6), (3, 4, 6)),
        (LayerNorm(), (9,), (9,)),
        (SpatialDropout2D(), (3, 4, 6), (3, 4, 6)),
    ],
    ids=str,
)
def test_output_shapes(layer: Layer, shape: Any, expected: Any) -> None:
    assert layer.infer(shape) == expected


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (GlobalAvgPool2D(), (5,), ["image (height, width, channels)"]),
        (UpSample2D(), (5,), ["image (height, width, channels)"]),
        (ZeroPad2D(), (5,), ["image (height, width, channels)"]),
        (SpatialDropout2D(), (5,), ["image (height, width, channels)"]),
        (ConvTranspose2D(4, 3, groups=2), (3, 3, 3), ["groups=2", "3 input channels", "4 filters"]),
        (ConvTranspose2D(4, 2, padding=2), (2, 5, 3), ["height would be -1", "less padding"]),
        (GroupNorm(4), (3, 3, 6), ["groups=4", "6 channels"]),
        (GroupNorm(6), (1, 1, 6), ["one entry each", "fewer groups"]),
        (LayerNorm(), (3, 3, 1), ["single channel", "two or more"]),
    ],
    ids=str,
)
def test_inputs_that_cannot_work(layer: Layer, shape: Any, words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        vg.compile([layer], shape)
    for word in ["layer 0", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: LeakyReLU(-0.1), "slope"),
        (lambda: LeakyReLU("1"), "slope"),  # type: ignore[arg-type]
        (lambda: ELU(float("inf")), "alpha"),
        (lambda: GELU("erf"), "approximate"),  # type: ignore[arg-type]
        (lambda: UpSample2D(0), "factor"),
        (lambda: ZeroPad2D(-1), "padding"),
        (lambda: ZeroPad2D("same"), "padding"),
        (lambda: ConvTranspose2D(0, 3), "filters"),
        (lambda: ConvTranspose2D(4, 3, output_padding=1), "output_padding must be less than the stride"),
        (lambda: ConvTranspose2D(4, 3, padding="same"), "output's size open"),
        (lambda: ConvTranspose2D(4, 3, 2, output_padding=-1), "output_padding"),
        (lambda: GroupNorm(0), "groups"),
        (lambda: GroupNorm(2, 0.0), "epsilon"),
        (lambda: LayerNorm(True), "epsilon"),
        (lambda: Dropout(1.0), "rate must be a number below 1"),
        (lambda: Dropout(-0.1), "rate"),
        (lambda: SpatialDropout2D(float("nan")), "rate"),
    ],
)
def test_arguments_that_mean_nothing(make: Any, word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        make()


@pytest.mark.parametrize("layer", NEW, ids=str)
def test_saved_and_loaded(layer: Layer) -> None:
    assert _objects.from_json(_objects.to_json(layer), Layer) == layer


def test_all_are_exported() -> None:
    assert {type(layer).__name__ for layer in NEW} <= set(known.__all__)


def test_parameters() -> None:
    found = ConvTranspose2D(6, (4, 2), stride=2, groups=2).parameters((3, 3, 8))
    assert found["weight"] == Parameter((4, 2, 3, 8), "he_normal", fan_in=8, fan_out=24)
    assert found["bias"] == Parameter((6,), "zeros")
    assert GroupNorm(2).parameters((3, 3, 8)) == {
        "weight": Parameter((8,), "ones"),
        "bias": Parameter((8,), "zeros"),
    }
    assert list(LayerNorm(shift=False).parameters((9,))) == ["weight"]


UP_AND_DOWN = [
    [Conv2D(1, 3), UpSample2D(2), Conv2D(1, 2), Conv2D(1, 3)],
    [MaxPool2D(2), UpSample2D((3, 2)), Conv2D(1, 3, stride=2), MaxPool2D(2, stride=1)],
    [Conv2D(1, 2), ConvTranspose2D(1, 3, stride=2), Conv2D(1, 3)],
    [ConvTranspose2D(1, 2, stride=3, output_padding=1), MaxPool2D(2)],
    [ZeroPad2D(2), Conv2D(1, 3, stride=2), GlobalAvgPool2D(), Dense(2)],
]


@pytest.mark.parametrize("model", UP_AND_DOWN, ids=lambda model: ", ".join(map(str, model)))
def test_receptive_fields_are_what_an_output_entry_depends_on(model: list[Layer]) -> None:
    """The widest of all entries of each layer's output, found with the gradient of one entry at a time."""
    shape = (12, 11, 1)
    rows = vg.summary(model, shape).rows
    for depth in range(1, len(model) + 1):
        program = vg.compile(model[:depth], shape, "mse", batch_size=1, backend="reference", dtype="float64")
        program.load_parameters({name: np.ones(a.shape) for name, a in program.parameters.items()})
        x = np.random.default_rng(0).random((1, *shape))
        y = program.forward(x)
        widest = (0, 0)
        for entry in np.ndindex(*y.shape):
            t = y.copy()
            t[entry] += 1
            dx = program.gradients(x, t, inputs=True)["x"][0, :, :, 0]
            seen = [np.flatnonzero(dx.any(axis)) for axis in (1, 0)]
            widest = tuple(
                max(w, int(np.ptp(s)) + 1 if s.size else 0) for w, s in zip(widest, seen, strict=True)
            )  # type: ignore[assignment]
        stated = rows[depth - 1].receptive_field
        assert widest[0] <= stated[0], (depth, widest, stated)
        assert widest[1] <= stated[1], (depth, widest, stated)
        if not any(isinstance(layer, MaxPool2D) for layer in model[:depth]):
            assert widest == stated, depth
