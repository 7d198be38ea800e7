"""The built-in models, and that the digits are learned as promised."""

from __future__ import annotations

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import data
from vecgrad.runtime import native_available
from vecgrad.train import MODELS, BuiltIn, fit
from vecgrad.train.models import fitting


@pytest.mark.parametrize("built", MODELS.values(), ids=MODELS.keys())
def test_a_built_in_model_fits_its_images(built: BuiltIn) -> None:
    assert built.model.infer(built.input_shape) == (built.classes,)
    assert built.build(built.input_shape, 7).infer(built.input_shape) == (7,)


SHAPES = [
    (1, 1, 1),
    (2, 2, 1),
    (3, 1, 1),
    (1, 2, 1),
    (1, 64, 1),
    (1, 3072, 1),
    (17, 2, 1),
    (17, 17, 1),
    (8, 8, 1),
]
SHAPES += [(28, 28, 1), (32, 32, 3), (96, 96, 3), (17, 3000, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_has_a_network_of_sensible_size(shape: tuple[int, int, int]) -> None:
    model = fitting(shape).build(shape, 3)
    assert model.infer(shape) == (3,)
    assert vg.summary(model, shape).parameters < 3_500_000


def test_what_the_models_are() -> None:
    counts = {name: vg.summary(built.model, built.input_shape).parameters for name, built in MODELS.items()}
    assert counts == {"digits": 45_162, "mnist": 1_199_882, "cifar": 113_738, "lenet5": 61_706}


@pytest.mark.skipif(not native_available(), reason="through NumPy this takes an hour")
def test_the_digits_reach_98_percent() -> None:
    built, dataset = MODELS["digits"], data.open("digits")
    prepare = dataset.preparation.arrays
    accuracies = []
    for seed in range(2):
        program = vg.compile(
            built.model,
            built.input_shape,
            "cross_entropy",
            built.optimizer,
            batch_size=built.batch_size,
            seed=seed,
        )
        fit(
            program,
            prepare(dataset.train_images),
            dataset.train_labels,
            built.epochs,
            schedule=built.schedule,
        )
        accuracies.append(program.evaluate(prepare(dataset.test_images), dataset.test_labels).accuracy)
    assert np.mean(accuracies) >= 0.98, accuracies
