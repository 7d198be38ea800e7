"""What is saved comes back, and training goes on as if it had never stopped."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import data, runs
from vecgrad.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Rescale,
    Sigmoid,
    Softmax,
    Tanh,
)
from vecgrad.losses import CrossEntropy, Loss, MeanSquaredError
from vecgrad.program import Program
from vecgrad.spec.errors import RunError
from vecgrad.spec.scalar import tanh
from vecgrad.train import fit
from vecgrad.updates import Update


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((6, 6, 5, 1), np.float32), rng.integers(0, 3, 6)


def same(one: Program, other: Program) -> bool:
    arrays = [(one.parameters, other.parameters)]
    arrays += [(one.state[key], other.state[key]) for key in one.state]
    return all(a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in arrays)


def test_a_loaded_program_is_the_same_and_goes_on_the_same(program: Program, run: Path) -> None:
    loaded = vg.load(run, backend="reference")
    assert (loaded.model, loaded.loss, loaded.optimizer) == (program.model, program.loss, program.optimizer)
    assert (loaded.steps, loaded.seed, loaded.batch_size, loaded.dtype) == (2, 3, 6, "float32")
    assert same(program, loaded)
    assert [program.step(*batch(s)) for s in range(3)] == [loaded.step(*batch(s)) for s in range(3)]
    assert same(program, loaded)


def test_adam_goes_on_with_its_step_count(tmp_path: Path) -> None:
    program = vg.compile(Dense(3), (6, 5, 1), "cross_entropy", "adam", batch_size=6, backend="reference")
    program.step(*batch())
    loaded = vg.load(program.save(tmp_path / "run"), backend="reference")
    assert [program.step(*batch(1)), program.step(*batch(2))] == [
        loaded.step(*batch(1)),
        loaded.step(*batch(2)),
    ]


def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    x, y = batch()
    programs = [
        vg.compile(
            Dense(3), (6, 5, 1), "cross_entropy", vg.SGD(0.1, momentum=0.9), batch_size=4, backend="reference"
        )
        for _ in range(2)
    ]
    fit(programs[0], x, y, epochs=4)
    first = fit(programs[1], x, y, epochs=2)
    resumed = vg.load(programs[1].save(tmp_path / "run", history=first), backend="reference")
    history = fit(resumed, x, y, epochs=2)
    assert [epoch.epoch for epoch in history.epochs] == [3, 4]
    assert same(programs[0], resumed)


def test_a_program_without_loss_or_optimizer(tmp_path: Path) -> None:
    program = vg.compile(Dense(3), (4,), backend="reference", dtype="float64")
    loaded = vg.load(program.save(tmp_path / "run"), backend="reference")
    assert loaded.loss is None
    assert loaded.optimizer is None
    assert loaded.parameters["weight"].dtype == np.float64
    assert same(program, loaded)


def test_the_batch_size_can_change(run: Path) -> None:
    assert vg.load(run, batch_size=2, backend="reference").batch_size == 2


def test_what_the_folder_holds(program: Program, tmp_path: Path) -> None:
    x, y = batch()
    history = fit(program, x, y, epochs=2, validation=(x, y))
    dataset = data.open((x, y), classes=3)
    folder = program.save(tmp_path / "run", history=history, data=dataset, metrics={"test_accuracy": 0.5})
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json", "curve.svg", "history.csv", "history.jsonl", "metrics.json", "model.safetensors", "state.safetensors",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == {"name": "vecgrad run", "version": 1}
    assert config["vecgrad"] == vg.__version__
    assert config["training"]["schedule"] == {"class": "Constant"}
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [3, 4]
    assert json.loads((folder / "metrics.json").read_text()) == {"test_accuracy": 0.5}
    found = runs.read(folder)
    assert list(found.parameters) == list(program.parameters)
    assert list(found.state["velocity"]) == list(program.parameters)
    assert found.preparation == dataset.preparation
    assert found.class_names == ("0", "1", "2")
    assert found.history[0]["loss"] == history.loss[0]


def test_a_run_that_knows_no_preparation_says_so(run: Path) -> None:
    with pytest.raises(RunError, match="data=dataset"):
        _ = runs.read(run).preparation
    assert runs.read(run).class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(4, (3, 1), stride=(2, 1), padding="same", dilation=2, groups=2, bias=False, initial="glorot_uniform"),
        Conv2D(4, 3, padding=((0, 1), (2, 3)), name="first"),
        Dense(3), MaxPool2D(2, stride=1), AvgPool2D((2, 3), count_padding=True), ReLU(), Sigmoid(), Tanh(), Softmax(),
        Flatten(), Rescale(1 / 255, -0.1), vg.Sequential([vg.Sequential([ReLU()], name="inner"), Dense(2)]),
    ],
    ids=str,
)  # fmt: skip
def test_layers_come_back_equal(layer: Layer) -> None:
    assert runs.from_json(json.loads(json.dumps(runs.to_json(layer))), Layer) == layer


@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=str)
def test_losses_come_back_equal(loss: Loss) -> None:
    assert runs.from_json(runs.to_json(loss), Loss) == loss


@pytest.mark.parametrize(
    "update", [vg.SGD(0.3, momentum=0.5, nesterov=True), vg.Adam(1e-4, beta2=0.99)], ids=str
)
def test_updates_come_back_equal(update: Update) -> None:
    assert runs.from_json(runs.to_json(update), Update) == update


@dataclass(frozen=True)
class Squash(Layer):
    """A layer that the package does not know."""

    steepness: float = 1.0

    def forward(self, e, x, p):  # type: ignore[no-untyped-def]
        y = e.map(lambda x: tanh(self.steepness * x), x)
        return y, y

    def backward(self, e, saved, dy, p):  # type: ignore[no-untyped-def]
        return e.map(lambda dy, y: dy * (1 - y * y) * self.steepness, dy, saved), {}


def test_a_layer_of_ones_own_needs_its_class(tmp_path: Path) -> None:
    program = vg.compile([Squash(0.5), Dense(2)], (3,), backend="reference")
    folder = program.save(tmp_path / "run")
    with pytest.raises(
        RunError, match=r"config\.json: model\.layers\[0\]: .*Squash.* layers=\{\"Squash\": Squash\}"
    ):
        vg.load(folder, backend="reference")
    loaded = vg.load(folder, backend="reference", layers={"Squash": Squash})
    assert loaded.model == program.model
    with pytest.raises(RunError, match="expected a class of layers"):
        vg.load(folder, backend="reference", layers={"Squash": dict})


def test_a_file_never_makes_anything_be_imported(tmp_path: Path) -> None:
    (tmp_path / "trap_of_a_run.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        for name in ("trap_of_a_run.Layer", "os.system", "vecgrad.layers.Dense"):
            with pytest.raises(RunError, match="there is no class"):
                runs.from_json({"class": name, "units": 3}, Layer)
    finally:
        sys.path.remove(str(tmp_path))
    assert "trap_of_a_run" not in sys.modules


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"class": "Dense"}, "units"),
        ({"class": "Dense", "units": 0}, "positive integer"),
        ({"class": "Dense", "units": 3, "color": 1}, "no field 'color'"),
        ({"units": 3}, "without a class"),
        ({"class": ["Dense"]}, "without a class"),
        ({"class": "CrossEntropy"}, "expected a layer"),
        ({"class": "Sequential", "layers": [3]}, "not a layer"),
        ({"class": "Sequential", "layers": 3}, "cannot be made"),
        (3, "expected a layer"),
    ],
)
def test_what_is_no_layer_is_one_clear_error(value: object, words: str) -> None:
    with pytest.raises(RunError, match=words):
        runs.from_json(value, Layer)


class Hidden(Dense):
    """Keeps something that is no field."""

    def __init__(self, units: int) -> None:
        super().__init__(units)
        object.__setattr__(self, "secret", 3)


def test_what_could_not_be_made_again_is_not_saved(tmp_path: Path) -> None:
    program = vg.compile(Hidden(2), (3,), backend="reference")
    with pytest.raises(RunError, match="'secret'"):
        program.save(tmp_path / "run")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("metrics", [{"x": float("nan")}, {"x": np.float32(1)}, {"x": {1, 2}}])
def test_metrics_that_json_cannot_hold_are_refused_whole(
    program: Program, tmp_path: Path, metrics: dict
) -> None:
    with pytest.raises(RunError, match=r"metrics\.json"):
        program.save(tmp_path / "run", metrics=metrics)
    assert not os.listdir(tmp_path)
