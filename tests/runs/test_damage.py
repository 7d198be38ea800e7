"""A run that is not as it was saved is refused, with one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

import vecgrad as vg
from vecgrad import runs
from vecgrad.runs._format import config_digest, digest
from vecgrad.spec.errors import RunError

FILES = ("config.json", "model.safetensors", "state.safetensors", "history.jsonl", "metrics.json")


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(RunError) as caught:
        vg.load(folder, backend="reference")
    text = str(caught.value)
    assert "\n" not in text
    for word in (folder.name, *words):
        assert word in text, text


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change ``config.json`` and give it the digest that fits."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    for name in FILES[1:]:
        if isinstance(config.get("files"), dict) and name in config["files"]:
            content = (folder / name).read_bytes()
            config["files"][name] = {"bytes": len(content), "sha256": digest(content)}
    config["sha256"] = config_digest(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(run: Path, name: str) -> None:
    (run / name).unlink()
    refused(run, name, "missing")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short(run: Path, name: str) -> None:
    path = run / name
    if not path.stat().st_size:
        path.write_text("{}")
        refused(run, name, "changed")
        return
    path.write_bytes(path.read_bytes()[:-2])
    refused(run, name)


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
def test_one_bit_of_the_weights_changed(run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[-1] ^= 1
    (run / name).write_bytes(content)
    refused(run, name, "changed", "SHA-256")


def test_a_number_of_the_config_changed(run: Path) -> None:
    path = run / "config.json"
    path.write_text(path.read_text().replace('"momentum": 0.9', '"momentum": 0.8'))
    refused(run, "config.json", "changed", "SHA-256")


def test_the_config_may_be_laid_out_anew(run: Path) -> None:
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert vg.load(run, backend="reference").steps == 2


def test_a_newer_format_says_upgrade(run: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["format"]["version"] = 2
        config["something"] = "new"

    forge(run, change)
    refused(run, "config.json", "format 2", "upgrade")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"format": 3}', b'{"x": NaN}', b"[" * 100_000]
)
def test_a_config_that_is_none(run: Path, content: bytes) -> None:
    (run / "config.json").write_bytes(content)
    refused(run, "config.json")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("input_shape", [6, 5, 0], "input_shape"),
        ("input_shape", [1, 1, 1], "layer 1, MaxPool2D"),
        ("output_shape", [4], "output_shape"),
        ("batch_size", 0, "batch_size"),
        ("batch_size", True, "batch_size"),
        ("dtype", "float16", "dtype"),
        ("dtype", "float64", "float32"),
        ("seed", -1, "seed"),
        ("steps", 1.5, "steps"),
        ("model", {"class": "Dense", "units": 3}, "output_shape|model"),
        ("model", {"class": "Nothing"}, "Nothing"),
        ("optimizer", {"class": "CrossEntropy"}, "optimizer"),
        ("loss", {"class": "Hinge"}, "Hinge"),
        ("files", {}, "files"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_forged_config_is_still_checked(run: Path, key: str, value: object, word: str) -> None:
    forge(run, lambda config: config.update({key: value}))
    with pytest.raises(RunError, match=word):
        vg.load(run, backend="reference")


def test_a_field_taken_out(run: Path) -> None:
    forge(run, lambda config: config.pop("seed"))
    refused(run, "config.json", "seed", "missing")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda arrays: arrays.pop("3.bias"), "3.bias is missing"),
        (
            lambda arrays: arrays.update({"9.weight": np.zeros(3, np.float32)}),
            "9.weight is not of this model",
        ),
        (lambda arrays: arrays.update({"3.bias": np.zeros(4, np.float32)}), "3.bias is float32 (4,)"),
        (lambda arrays: arrays.update({"3.bias": np.zeros(3)}), "3.bias is float64"),
    ],
)
def test_weights_that_do_not_fit_the_model(run: Path, change: Callable[[dict], None], word: str) -> None:
    path = run / "model.safetensors"
    arrays = load(path.read_bytes())
    change(arrays)
    path.write_bytes(save(arrays))
    forge(run, lambda config: None)
    refused(run, "model.safetensors", word)


def test_a_file_that_is_no_safetensors_in_spite_of_its_hash(run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"\x10" + 40 * b"\0")
    forge(run, lambda config: None)
    refused(run, "model.safetensors", "safetensors")


@pytest.mark.parametrize("line", [b"[]\n", b"{\n", b"3\n"])
def test_a_history_that_is_none(run: Path, line: bytes) -> None:
    (run / "history.jsonl").write_bytes(line)
    forge(run, lambda config: None)
    refused(run, "history.jsonl")


def test_no_folder_a_file_an_empty_folder(run: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such run")
    refused(run / "config.json", "is a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "config.json", "missing")


def test_a_folder_where_a_file_should_be(run: Path) -> None:
    shutil.rmtree(run / "metrics.json", ignore_errors=True)
    (run / "metrics.json").unlink()
    (run / "metrics.json").mkdir()
    refused(run, "metrics.json")


def test_a_preparation_that_does_not_fit(run: Path) -> None:
    forge(run, lambda config: config.update(data={"preparation": {"size": [1, 1]}, "class_names": ["a"]}))
    found = runs.read(run)
    with pytest.raises(RunError, match=r"config\.json"):
        _ = found.preparation
    with pytest.raises(RunError, match="class_names must be 3 names"):
        _ = found.class_names
