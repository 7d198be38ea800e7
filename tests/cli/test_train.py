"""``vecgrad train``: what it prints, what it leaves, how it is interrupted."""

from __future__ import annotations

import errno
import json
import math
import os
import pty
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import runs
from vecgrad.program import Evaluation, Program


def last_line(done) -> dict:
    """The JSON object at the end of stdout."""
    return json.loads(done.stdout.splitlines()[-1])


def test_bare_train_learns_the_digits(call, digits_run: Path) -> None:
    found = runs.read(digits_run)
    assert found.metrics["test_accuracy"] > 0.9
    assert found.data["source"] == "digits"
    assert (digits_run / "history.jsonl").read_text().count("\n") == found.metrics["epochs"]


def test_plain_lines_and_json_at_the_end(spawn, tiny: Path, tmp_path: Path) -> None:
    process = spawn(
        "train", tiny, "--epochs", 3, "--seed", 7, "--backend", "reference", "--json", cwd=tmp_path
    )
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert not {"\x1b", "\r"} & set(out)
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch ")] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]
    told = json.loads(lines[-1])
    assert told["epochs"] == 3
    assert told["test_accuracy"] == 1.0
    assert told["train_seconds"] > 0
    assert told["images_per_second"] > 0
    assert Path(told["run"]) == tmp_path / "runs" / "halves-7-1"
    assert any(line.startswith("test accuracy 1.0000") for line in lines)
    assert f"run saved in {Path('runs', 'halves-7-1')}" in lines
    loaded = vg.load(told["run"], backend="reference")
    assert loaded.seed == 7
    assert loaded.steps == 3 * 2


def test_runs_get_new_names_and_an_out_is_replaced(call, tiny: Path, tmp_path: Path) -> None:
    short = ("train", tiny, "--epochs", 1, "--backend", "reference")
    for _ in range(2):
        assert call(*short, cwd=tmp_path).returncode == 0
    assert sorted(os.listdir(tmp_path / "runs")) == ["halves-0-1", "halves-0-2"]
    for seed in (1, 2):
        assert call(*short, "--seed", seed, "--out", "mine", cwd=tmp_path).returncode == 0
    assert runs.read(tmp_path / "mine").seed == 2


def test_the_options_reach_the_training(call, tiny: Path, tmp_path: Path) -> None:
    given = (
        "--optimizer",
        "adam",
        "--learning-rate",
        "0.01",
        "--batch-size",
        5,
        "--model",
        "digits",
        "--threads",
        1,
    )
    done = call("train", tiny, "--epochs", 1, *given, "--out", tmp_path / "run", "--backend", "reference")
    assert done.returncode == 0, done.stderr
    found = runs.read(tmp_path / "run")
    assert found.optimizer == vg.Adam(learning_rate=0.01)
    assert found.batch_size == 5
    assert found.steps == 8


def test_how_it_learns_reaches_the_training(call, tiny: Path, tmp_path: Path) -> None:
    given = (
        "--optimizer adamw --weight-decay 0.1 --clip-norm 0.5 --average 0.9 --schedule linear --warmup 0.25"
    )
    done = call(
        "train",
        tiny,
        "--epochs",
        1,
        *given.split(),
        "--label-smoothing",
        0.1,
        "--out",
        tmp_path / "run",
        "--backend",
        "reference",
    )
    assert done.returncode == 0, done.stderr
    found = runs.read(tmp_path / "run")
    assert found.optimizer == vg.updates.AdamW(weight_decay=0.1, clip_norm=0.5, average=0.9)
    assert found.loss == vg.losses.CrossEntropy(label_smoothing=0.1)
    assert set(found.state) == {"mean", "square", "average"}
    assert found.training is not None
    told = vg.train.schedules.from_json(found.training["schedule"])
    assert told == vg.train.Warmup(vg.train.Linear(), share=0.25)


def test_a_models_own_warm_up_is_not_made_twice(call, tiny: Path, tmp_path: Path) -> None:
    done = call(
        "train", tiny, "--epochs", 1, "--warmup", 0.3, "--out", tmp_path / "run", "--backend", "reference"
    )
    assert done.returncode == 0, done.stderr
    assert runs.read(tmp_path / "run").training["schedule"] == {
        "class": "Cosine",
        "warmup": 0.3,
        "final": 0.0,
    }


def test_the_same_seed_gives_the_same_run(call, tiny: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        call("train", tiny, "--epochs", 1, "--out", tmp_path / name, "--backend", "reference")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert one == other


def test_a_folder_with_other_things_is_refused_before_the_work(call, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = call("train", tiny, "--epochs", 1000, "--out", tmp_path, "--json", "--backend", "reference")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "holds no run" in last_line(done)["error"]
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mnist"], 2, "--data DIR"),
        (["digits", "--data", "."], 2, "--data"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--optimizer", "lion"], 2, "--optimizer"),
        (["--learning-rate", "nan"], 2, "--learning-rate"),
        (["--model", "vgg"], 2, "no built-in model"),
        (["--what"], 2, "--what"),
        (["/no/such/data"], 1, "nothing is ever downloaded"),
        (["mnist", "--data", "/no/such/folder"], 1, "/no/such/folder"),
        (["--model", "lenet5"], 1, "layer 3, Conv2D"),
    ],
)
def test_misuse_is_2_and_failure_is_1_with_one_line(call, tmp_path: Path, arguments, code, words) -> None:
    done = call("train", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_fails_and_leaves_nothing(call, tiny: Path, tmp_path: Path) -> None:
    done = call("train", tiny, "--learning-rate", "1e6", "--backend", "reference", cwd=tmp_path)
    assert done.returncode == 1
    assert "lower the learning rate" in done.stderr
    assert not os.listdir(tmp_path)


def test_images_with_nan_are_refused(call, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", X=np.full((8, 8, 8), np.nan, np.float32), y=np.arange(8) % 2)
    done = call("train", tmp_path / "bad.npz", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad" in done.stderr
    assert "nan" in done.stderr
    assert os.listdir(tmp_path) == ["bad.npz"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_saves_what_was_learned(spawn, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = spawn("train", tiny, "--epochs", 100_000, "--out", out, "--backend", "reference", "--json")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 2 "):
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "saved" in errors
    told = json.loads(rest.splitlines()[-1])
    assert told["interrupted"] is True
    assert told["epochs"] >= 2
    assert told["run"] == str(out)
    loaded = vg.load(out, backend="reference")
    assert loaded.steps >= 2 * 2
    assert runs.read(out).training["interrupted"] is True
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
def test_a_reader_that_leaves_does_not_stop_the_training(
    spawn, tiny: Path, tmp_path: Path, both: bool
) -> None:
    out = tmp_path / "run"
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": writing} | ({"stderr": writing} if both else {})
    process = spawn("train", tiny, "--epochs", 3, "--out", out, "--backend", "reference", **streams)
    os.close(writing)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    if not both:
        assert errors.splitlines() == ["warning: nobody reads the output any more; the work goes on"]
    assert runs.read(out).training["epochs"] == 3


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_more_ctrl_c_while_it_is_saved(spawn, tiny: Path, tmp_path: Path) -> None:
    process = spawn("train", tiny, "--epochs", 100_000, "--backend", "reference", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch 2 "):
            break
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.003)
        if list(tmp_path.glob("runs/*/config.json")):
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "what was learned so far is saved" in errors
    (run,) = (tmp_path / "runs").iterdir()
    assert runs.read(run).steps >= 4


def test_ctrl_c_in_the_last_measurement_saves_the_training(
    call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("vecgrad.data.Dataset.part", interrupted)
    done = call("train", tiny, "--epochs", 1, "--out", "run", "--backend", "reference", cwd=tmp_path)
    assert done.returncode == 130
    found = runs.read(tmp_path / "run")
    assert found.steps == 2
    assert found.metrics["test_accuracy"] is None


def test_a_training_that_diverges_keeps_its_best_epoch(
    call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Program.step

    def failing(self: Program, *arguments: object) -> float:
        loss = step(self, *arguments)
        return loss if self.steps < 6 else math.nan

    monkeypatch.setattr(Program, "step", failing)
    asked = ("--epochs", 9, "--validation", 0.2, "--out", "run", "--backend", "reference", "--json")
    done = call("train", tiny, *asked, cwd=tmp_path)
    assert done.returncode == 1
    assert "the loss became nan" in done.stderr
    assert "lower the learning rate" in last_line(done)["error"]
    found = runs.read(tmp_path / "run")
    assert found.training["best_epoch"] is not None
    assert len(found.history) == found.metrics["epochs"] > 0
    assert not (tmp_path / "run" / "last").exists()


def test_a_validation_loss_that_is_no_number_is_null(
    call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Program.evaluate

    def overflowing(self: Program, *arguments: object) -> Evaluation:
        return replace(evaluate(self, *arguments), loss=math.nan if self.steps < 3 else math.inf)

    monkeypatch.setattr(Program, "evaluate", overflowing)
    asked = ("--epochs", 3, "--validation", 0.2, "--out", "run", "--backend", "reference", "--json")
    done = call("train", tiny, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert last_line(done)["test_loss"] is None
    assert [record["validation_loss"] for record in runs.read(tmp_path / "run").history] == [None] * 3
    assert (tmp_path / "run" / "curve.svg").is_file()


def test_a_run_that_cannot_be_saved_leaves_no_empty_folder(
    call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Program, "save", full)
    done = call("train", tiny, "--epochs", 1, "--backend", "reference", cwd=tmp_path)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_a_bar(spawn, tiny: Path, tmp_path: Path, colour: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CI")} | {
        "TERM": "xterm-256color"
    }
    environment |= {} if colour else {"NO_COLOR": "1"}
    arguments = ("train", tiny, "--epochs", 4, "--out", tmp_path / "run", "--backend", "reference", "--json")
    process = spawn(*arguments, stdout=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # how Linux reports the end
        pass
    os.close(ours)
    assert process.wait(timeout=120) == 0
    text = seen.decode()
    assert "\x1b[" in text
    assert ("\x1b[38;5" in text or "\x1b[3" in text) is colour
    assert "epoch 4  " in text
    assert json.loads(text.splitlines()[-1])["epochs"] == 4
