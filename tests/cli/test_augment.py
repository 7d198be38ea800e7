"""``train --augment --validation --patience --keep`` and ``evaluate`` with a source, mistakes and ``--tta``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import data, runs
from vecgrad.data.augment import Cutout, Flip, Normalize, PadCrop, from_json


@pytest.fixture(scope="module")
def augmented(call, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("augmented") / "run"
    done = call(
        "train", tiny, "--epochs", 12, "--batch-size", 8, "--augment", "flip,pad-crop:1,cutout:2", "--validation", 0.25,
        "--patience", 2, "--out", out, "--json", "--backend", "reference",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is the best on the validation images" in done.stdout
    return out, json.loads(done.stdout.splitlines()[-1])


def test_the_best_epoch_is_saved_and_the_last_one_too(augmented: tuple[Path, dict], tiny: Path) -> None:
    out, told = augmented
    found = runs.read(out)
    epochs = found.history
    scores = [(epoch["validation_accuracy"], -epoch["validation_loss"]) for epoch in epochs]
    assert told["best_epoch"] == 1 + scores.index(max(scores)) == found.training["best_epoch"]
    assert found.steps == told["best_epoch"] * 4  # 30 images, in batches of 8
    assert told["stopped_early"] is (len(epochs) < 12)
    if told["best_epoch"] < len(epochs):
        assert runs.read(out / "last").steps == len(epochs) * 4
    assert {"curve.svg", "history.csv"} <= set(os.listdir(out))
    dataset = data.open(tiny)
    normalize = Normalize(dataset.preparation.mean, dataset.preparation.std, 255)
    assert from_json(found.training["augment"]) == (Flip(), PadCrop(1), normalize, Cutout(2))
    assert found.preparation == dataset.preparation
    assert found.training["validation_images"] == 10
    program = vg.load(out, backend="reference")
    prepared = dataset.preparation.arrays(dataset.test_images)
    assert found.metrics["test_loss"] == program.evaluate(prepared, dataset.test_labels).loss


def test_keep_last(call, tiny: Path, tmp_path: Path) -> None:
    given = ("--epochs", 3, "--validation", 0.25, "--keep", "last", "--backend", "reference")
    assert call("train", tiny, *given, "--out", tmp_path / "run").returncode == 0
    assert runs.read(tmp_path / "run").training["best_epoch"] is None
    assert "last" not in os.listdir(tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--augment", "flop"], "no augmentation 'flop'"),
        (["--augment", "pad-crop:9"], "reflected by at most 7"),
        (["--augment", "normalize"], "leave normalize out"),
        (["--augment", "color-jitter:hue=0.1"], "need 3 channels"),
        (["--validation", "1.5"], "--validation"),
        (["--validation", "0"], "--validation"),
        (["--patience", "3"], "add --validation"),
        (["--keep", "best"], "add --validation"),
    ],
)
def test_misuse(call, tiny: Path, tmp_path: Path, given: list[str], words: str) -> None:
    done = call("train", tiny, *given, "--backend", "reference", cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not os.listdir(tmp_path)


def test_evaluate_lists_the_worst_mistakes(call, tiny_run: Path, tiny: Path, tmp_path: Path) -> None:
    arrays = np.load(tiny)
    turned = 1 - arrays["y_test"]
    turned[:3] = arrays["y_test"][:3]
    source = tmp_path / "turned.npz"
    np.savez(source, X=arrays["x_test"], y=turned)
    done = call(
        "evaluate", tiny_run, source, "--mistakes", 4, "--tta", "flip", "--json", "--backend", "reference"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["accuracy"] == 3 / 8
    assert len(told["mistakes"]) == 4
    assert {each["index"] for each in told["mistakes"]} <= {3, 4, 5, 6, 7}
    losses = [each["loss"] for each in told["mistakes"]]
    assert losses == sorted(losses, reverse=True)
    assert all(each["confidence"] > 0.5 and each["truth"] != each["said"] for each in told["mistakes"])
    program, found = vg.load(tiny_run, backend="reference"), runs.read(tiny_run)
    prepared = found.preparation.arrays(arrays["x_test"])
    assert told["loss"] == program.evaluate(prepared, turned, tta="flip").loss
    assert done.stdout.splitlines()[-6].split() == ["image", "is", "taken", "for", "confidence", "loss"]
    both = call("evaluate", tiny_run, source, "--data", source, "--backend", "reference")
    assert both.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_a_complete_run(spawn, call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = spawn(
        "train", tiny, "--epochs", 100_000, "--augment", "flip,mixup", "--validation", 0.2, "--out", out,
        "--backend", "reference", "--json",
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch 3 "):
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    told = json.loads(rest.splitlines()[-1])
    assert told["interrupted"] is True
    assert told["best_epoch"] is not None
    found = runs.read(out)
    assert found.training["interrupted"] is True
    assert len(found.history) == told["epochs"]
    assert call("evaluate", out, "--backend", "reference").returncode == 0
    if told["best_epoch"] < told["epochs"]:
        assert runs.read(out / "last").steps > found.steps
