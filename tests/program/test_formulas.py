"""Each formula that a plan names is one that ``vecgrad equations`` can show."""

from __future__ import annotations

import pytest

import vecgrad as vg
from vecgrad.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from vecgrad.reference.equations import equations
from vecgrad.updates import AdamW, RMSprop, Update

KNOWN = {equation.number for equation in equations()}
ALL: list[Layer] = [
    Conv2D(3, 2),
    ReLU(),
    MaxPool2D(2),
    Sigmoid(),
    AvgPool2D(2),
    Tanh(),
    Softmax(),
    Flatten(),
    Dense(2),
]


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "huber", "binary_cross_entropy"])
@pytest.mark.parametrize(
    "rule",
    [
        vg.SGD(0.1),
        vg.SGD(0.1, 0.9),
        vg.SGD(0.1, 0.9, nesterov=True, weight_decay=0.1),
        vg.Adam(weight_decay=0.1),
        AdamW(clip_norm=1.0, lookahead=5, average=0.9),
        RMSprop(),
    ],
    ids=str,
)
def test_plans_name_formulas_that_exist(rule: Update, loss: str) -> None:
    program = vg.compile(Sequential(ALL), (9, 9, 1), loss, rule, batch_size=2)
    named = {
        formula
        for row in program.explain().rows
        if row.call.formula
        for formula in row.call.formula.split(", ")
    }
    assert named <= KNOWN
    assert {"2.9", "2.21", "bias", "4.2", "5.1"} <= named
