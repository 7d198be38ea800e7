"""Shapes, counts, receptive fields and memory, against what they mean."""

from __future__ import annotations

import inspect
import json
import sys

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import AvgPool2D, BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Tanh
from vecgrad.spec.errors import ShapeError

LENET = [
    Conv2D(6, 5, padding=2),
    Tanh(),
    AvgPool2D(2),
    Conv2D(16, 5),
    Tanh(),
    AvgPool2D(2),
    Flatten(),
    Dense(10),
]


def test_the_rows_of_lenet() -> None:
    found = vg.summary(LENET, (28, 28, 1))
    assert [row.output_shape for row in found.rows] == [
        (28, 28, 6), (28, 28, 6), (14, 14, 6), (10, 10, 16), (10, 10, 16), (5, 5, 16), (400,), (10,),
    ]  # fmt: skip
    assert [row.parameters for row in found.rows] == [156, 0, 0, 2416, 0, 0, 0, 4010]
    assert [row.receptive_field for row in found.rows] == [
        (5, 5), (5, 5), (6, 6), (14, 14), (14, 14), (16, 16), (16, 16), (28, 28),
    ]  # fmt: skip
    assert found.rows[0].flops == 2 * 28 * 28 * 6 * 25
    assert found.rows[0].memory == 4 * 28 * 28 * 6
    assert found.rows[6].memory == 0  # a view
    assert found.parameters == 6582
    assert found.memory == sum(row.memory for row in found.rows)
    assert vg.summary(LENET, (28, 28, 1), dtype="float64").memory == 2 * found.memory


def test_a_deep_model_sees_as_far_as_its_layers_add_up_to() -> None:
    """Deeper than Python may call itself."""
    most = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        found = vg.summary([Conv2D(1, 3, padding=1) for _ in range(300)], (4096, 4096, 1))
    finally:
        sys.setrecursionlimit(most)
    assert [row.receptive_field for row in found.rows[::100]] == [(3, 3), (203, 203), (403, 403)]
    assert found.rows[-1].receptive_field == (601, 601)


def influence(model: vg.Sequential, shape: tuple[int, int, int]) -> tuple[int, int]:
    """The rows and columns of the image that move some one output entry, found by moving each pixel."""
    program = vg.compile(model, shape, dtype="float64", backend="reference")
    image = np.random.default_rng(0).random((1, *shape)) + 1
    still = program.forward(image)
    moved = np.zeros((*shape[:2], still.size), bool)
    for i in range(shape[0]):
        for j in range(shape[1]):
            other = image.copy()
            other[0, i, j] += 1
            moved[i, j] = (program.forward(other) != still).ravel()
    rows, cols = moved.any(axis=1), moved.any(axis=0)
    return int(rows.sum(axis=0).max()), int(cols.sum(axis=0).max())


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2D(2, (3, 2))],
        [Conv2D(2, 3, stride=2, padding=1), Conv2D(2, (1, 3))],
        [Conv2D(1, (2, 3), dilation=(2, 1)), AvgPool2D(2)],
        [AvgPool2D(3, stride=1), AvgPool2D((2, 1)), Conv2D(1, 2)],
        [AvgPool2D(2), Flatten(), Dense(2)],
        [Conv2D(1, 3), vg.Sequential([AvgPool2D(2, stride=1), vg.Sequential([Conv2D(1, 2)], name="in")])],
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_the_receptive_field_is_what_moves_an_entry(layers: list[Layer]) -> None:
    model, shape = vg.Sequential(layers), (9, 8, 1)
    assert vg.summary(model, shape).rows[-1].receptive_field == influence(model, shape)


def test_what_is_not_trained_is_counted_apart() -> None:
    model = [Conv2D(4, 3), BatchNorm(), ReLU(), Flatten(), Dense(2)]
    found = vg.summary(model, (6, 6, 1))
    # As PyTorch's parameters() and buffers() have it, but for its count of batches.
    assert [row.parameters for row in found.rows] == [40, 8, 0, 0, 130]
    assert [row.not_trained for row in found.rows] == [0, 8, 0, 0, 0]
    assert (found.parameters, found.not_trained) == (178, 8)
    told = json.loads(json.dumps(found.to_json()))
    assert (told["parameters"], told["not_trained"], told["layers"][1]["not_trained"]) == (178, 8, 8)
    lines = str(found).splitlines()
    assert "not trained" in lines[0]
    assert lines[-1].split()[:3] == ["total", "178", "8"]
    assert "not trained" not in str(vg.summary(model[2:], (4, 4, 4)))


def test_parameters_and_flops_add_up_to_the_model_s() -> None:
    model = vg.Sequential([vg.Sequential([Conv2D(4, 3), ReLU()], name="body"), MaxPool2D(2), Dense(3)])
    found = vg.summary(model, (9, 9, 2))
    stated = model.parameters((9, 9, 2)).values()
    assert found.parameters == sum(int(np.prod(parameter.shape)) for parameter in stated)
    assert found.flops == model.flops((9, 9, 2))
    assert [row.path for row in found.rows] == ["body.0", "body.1", "1", "2"]


def test_the_table_is_aligned_and_json_says_the_same() -> None:
    found = vg.summary(LENET, (28, 28, 1))
    lines = str(found).splitlines()
    assert len(lines) == 1 + 1 + 1 + len(LENET) + 1 + 1
    assert len({len(line) for line in lines if "input" not in line}) == 1
    told = json.loads(json.dumps(found.to_json()))
    assert [row["parameters"] for row in told["layers"]] == [row.parameters for row in found.rows]
    assert (told["parameters"], told["flops"], told["memory"]) == (
        found.parameters,
        found.flops,
        found.memory,
    )


def test_a_single_layer_and_an_impossible_network() -> None:
    assert vg.summary(Dense(3), (5,)).rows[0].parameters == 18
    with pytest.raises(ShapeError, match="layer 1, MaxPool2D"):
        vg.summary([Conv2D(2, 3), MaxPool2D(9)], (8, 8, 1))
