"""``predict``, ``evaluate``, ``summary``, ``explain``, ``equations``, and what all commands share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import vecgrad as vg
from vecgrad import data, runs
from vecgrad.cli import main
from vecgrad.runtime import native_available
from vecgrad.train import MODELS

BACKEND = "native" if native_available() else "reference"
COMMANDS = ("train", "predict", "evaluate", "summary", "explain", "equations")


def invoke(*arguments: object) -> SimpleNamespace:
    """A command: its code, out, err, and the JSON object at the end of out, if asked for."""
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="vecgrad")
    lines = done.stdout.splitlines()
    told = json.loads(lines[-1]) if "--json" in arguments and lines else None
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr, json=told)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first test digits as PNG files, 0 … 16 stretched to 0 … 255."""
    folder = tmp_path_factory.mktemp("png")
    images = data.open("digits").test_images[:30, :, :, 0]
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).save(path)
    return paths


def test_a_held_out_digit_saved_as_png_gets_its_array_s_answer(
    digits_run: Path, held_out: list[Path]
) -> None:
    done = invoke("predict", digits_run, *held_out, "--json", "--backend", BACKEND)
    assert done.code == 0, done.err
    found, dataset = runs.read(digits_run), data.open("digits")
    program = vg.load(found, backend=BACKEND)
    expected = program.predict_proba(found.preparation.arrays(dataset.test_images[: len(held_out)]))
    answers = done.json["predictions"]
    assert [answer["image"] for answer in answers] == list(map(str, held_out))
    np.testing.assert_array_equal(np.float32([answer["probabilities"] for answer in answers]), expected)
    assert [answer["label"] for answer in answers] == expected.argmax(axis=1).tolist()
    lines = done.out.splitlines()[:-1]
    assert [line.split(": ")[1].split()[0] for line in lines] == [answer["class"] for answer in answers]


def test_a_picture_of_another_size_and_inverted_is_prepared_as_well(
    digits_run: Path, held_out: list[Path], tmp_path: Path
) -> None:
    image = Image.open(held_out[0])
    black_on_white = Image.eval(image, lambda value: 255 - value).convert("RGB")
    black_on_white.resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "big.png")
    answers = invoke(
        "predict", digits_run, held_out[0], tmp_path / "big.png", "--json", "--backend", BACKEND
    ).json
    assert answers["predictions"][0]["label"] == answers["predictions"][1]["label"]


def test_images_that_cannot_be_read_are_named_and_the_others_answered(
    digits_run: Path, held_out: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(held_out[0].read_bytes()[:40])
    paths = (tmp_path / "torn.png", held_out[0], tmp_path / "missing.png")
    done = invoke("predict", digits_run, *paths, "--json", "--backend", BACKEND)
    assert done.code == 1
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "error"]
    assert "torn.png" in done.err
    assert "missing.png" in done.err
    assert len(done.json["predictions"]) == 1
    assert sorted(map(Path, done.json["errors"])) == sorted([paths[0], paths[2]])


def test_predict_needs_an_image(digits_run: Path) -> None:
    assert invoke("predict", digits_run).code == 2


def test_evaluate_measures_the_test_images(digits_run: Path) -> None:
    done = invoke("evaluate", digits_run, "--json", "--backend", BACKEND)
    assert done.code == 0, done.err
    assert done.json["accuracy"] == runs.read(digits_run).metrics["test_accuracy"]
    assert done.json["images"] == 360
    confusion = np.array(done.json["confusion"])
    assert confusion.sum(axis=1).tolist() == np.bincount(data.open("digits").test_labels).tolist()
    recalls = [row["recall"] for row in done.json["classes"]]
    assert recalls == pytest.approx(np.diag(confusion) / confusion.sum(axis=1))
    assert [line.split()[0] for line in done.out.splitlines()[2:12]] == list("0123456789")


def test_evaluate_on_data_that_were_moved(tiny_run: Path, tiny: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.npz"
    moved.write_bytes(tiny.read_bytes())
    done = invoke("evaluate", tiny_run, "--data", moved, "--json", "--backend", "reference")
    assert (done.code, done.json["images"], done.json["accuracy"]) == (0, 8, 1.0)


def test_evaluate_notices_other_test_images(call, tiny: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.npz"
    source.write_bytes(tiny.read_bytes())
    out = tmp_path / "run"
    assert call("train", source, "--epochs", 1, "--out", out, "--backend", "reference").returncode == 0
    arrays = dict(np.load(tiny))
    np.savez(source, **(arrays | {"x_test": arrays["x_train"][:8], "y_test": arrays["y_train"][:8]}))
    done = invoke("evaluate", out, "--backend", "reference")
    assert done.code == 1
    assert "not those the run was trained beside" in done.err
    source.unlink()
    done = invoke("evaluate", out, "--backend", "reference")
    assert done.code == 1
    assert "--data DIR" in done.err


def test_data_without_a_test_part_give_the_same_fifth_again(call, tiny: Path, tmp_path: Path) -> None:
    arrays = np.load(tiny)
    np.savez(tmp_path / "whole.npz", X=arrays["x_train"], y=arrays["y_train"])
    out = tmp_path / "run"
    call("train", tmp_path / "whole.npz", "--epochs", 2, "--out", out, "--seed", 5, "--backend", "reference")
    done = invoke("evaluate", out, "--json", "--backend", "reference")
    assert (done.code, done.json["images"]) == (0, 8)
    assert done.json["accuracy"] == runs.read(out).metrics["test_accuracy"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "summary", "explain"])
def test_a_damaged_run_is_one_line_and_1(tiny_run: Path, tmp_path: Path, command: str) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in tiny_run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "model.safetensors").write_bytes(b"")
    done = invoke(command, copy, *(["x.png"] if command == "predict" else []), "--json")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "model.safetensors" in done.json["error"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "summary", "explain"])
def test_a_missing_run_is_one_line_and_1(tmp_path: Path, command: str) -> None:
    done = invoke(command, tmp_path / "nowhere", *(["x.png"] if command == "predict" else []))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "no such run" in done.err


def test_summary_of_a_name_and_of_a_run(tiny_run: Path) -> None:
    done = invoke("summary", "mnist", "--json")
    assert done.code == 0
    assert done.json["parameters"] == 1_199_882
    assert "1,199,882" in done.out
    assert invoke("summary", tiny_run, "--json").json["input_shape"] == [8, 8, 1]
    wrong = invoke("summary", "resnet")
    assert wrong.code == 2
    assert all(name in wrong.err for name in MODELS)


@pytest.mark.skipif(not native_available(), reason="needs llvmlite")
def test_explain_shows_the_plan_and_its_code(tiny_run: Path) -> None:
    done = invoke("explain", "digits", "--json")
    assert done.code == 0, done.err
    assert done.json["phases"]
    assert "conv" in done.out
    code = invoke("explain", tiny_run, "--ir", "--asm", "--kernel", "0:conv", "--json")
    assert code.code == 0, code.err
    assert "define" in code.json["ir"]["0:conv"]
    assert code.json["asm"].keys() == {"0:conv"}
    assert invoke("explain", "digits", "--ir", "--kernel", "99:conv").code == 1
    assert invoke("explain", "digits", "--kernel", "0:conv").code == 2


@pytest.mark.skipif(not native_available(), reason="needs llvmlite")
def test_explain_with_times(tiny_run: Path) -> None:
    done = invoke("explain", tiny_run, "--time", "--threads", 1, "--json")
    assert done.code == 0, done.err
    calls = [call for phase in done.json["phases"] for call in phase["calls"]]
    assert all(call["measured_seconds"] >= 0 for call in calls)


def test_equations() -> None:
    done = invoke("equations", "--trials", 2, "--json")
    assert done.code == 0, done.err
    rows = done.json["equations"]
    assert {"1.1", "2.21", "2.30", "5.3"} <= {row["number"] for row in rows}
    assert all(row["residual"] <= 1e-12 and row["trials"] == 2 for row in rows)
    assert sum(line.startswith("2.21 ") for line in done.out.splitlines()) == 1


def test_one_equation_at_work() -> None:
    done = invoke("equations", "2.21", "--json")
    assert done.code == 0
    assert [row["number"] for row in done.json["equations"]] == ["2.21"]
    assert "(2.21)" in done.out
    assert invoke("equations", "9.99").code == 2


def test_an_equation_that_does_not_hold_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from vecgrad.reference import equations as paper

    monkeypatch.setattr(paper, "TOLERANCE", 0.0)
    done = invoke("equations", "2.21", "--json")
    assert done.code == 1
    assert done.json["broken"] == ["2.21"]
    assert "error: 2.21" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = invoke(command, "--help")
    assert done.code == 0
    assert "Example" in done.out
    assert f"vecgrad {command}" in done.out.split("Example")[1]
    assert "--json" in done.out


def test_help_names_every_command_model_and_exit_code() -> None:
    done = invoke("--help")
    assert all(command in done.out for command in COMMANDS)
    assert "130 interrupted" in done.out
    assert all(name in invoke("train", "--help").out for name in MODELS)
    assert all(name in invoke("summary", "--help").out for name in MODELS)
    assert vg.__version__ in invoke("--version").out
    assert invoke("fly").code == 2


def test_help_is_quick_for_it_imports_nothing_heavy() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(vg.__file__).parents[1])}
    code = "import sys, vecgrad.cli; print([m for m in ('numpy', 'rich', 'PIL', 'sklearn', 'llvmlite') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"
