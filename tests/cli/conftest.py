"""The commands, within this process and as a program of their own, and runs that they trained."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import vecgrad
from vecgrad.cli import main
from vecgrad.runtime import native_available

# Without llvmlite the commands are tested all the same, through NumPy.
BACKEND = "native" if native_available() else "reference"

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]


@pytest.fixture(scope="session")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """``call("train", "--epochs", 1, cwd=…)``: a command within this process, in an empty folder or ``cwd``."""

    def run(*arguments: object, cwd: Path | None = None) -> Done:
        words = [str(argument) for argument in arguments]
        with contextlib.chdir(cwd or tmp_path_factory.mktemp("cwd")):
            done = CliRunner().invoke(main, words, prog_name="vecgrad")
        return Done(words, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """``spawn("train", …, stdout=…)``: a command as a process of its own; options as ``Popen`` takes them."""

    def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
        code = "from vecgrad.cli import main; main(prog_name='vecgrad')"
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        environment = {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(Path(vecgrad.__file__).parents[1])}
        environment = dict(options.pop("env", os.environ)) | environment  # type: ignore[call-overload]
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=environment, **(given | options))  # type: ignore[call-overload]

    return start


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .npz file: 40 images of 8×8 in two classes that a glance tells apart, 8 test images."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 100, (48, 8, 8), np.uint8), np.arange(48) % 2
    x[y == 1, :4] += 150
    x[y == 0, 4:] += 150
    path = tmp_path_factory.mktemp("tiny") / "halves.npz"
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


@pytest.fixture(scope="session")
def tiny_run(call: Call, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the tiny data through NumPy."""
    out = tmp_path_factory.mktemp("tiny-run") / "run"
    done = call("train", tiny, "--epochs", 4, "--batch-size", 10, "--out", out, "--backend", "reference")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def digits_run(call: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the digits, shortly."""
    out = tmp_path_factory.mktemp("digits") / "run"
    done = call("train", "--epochs", 2 if BACKEND == "native" else 1, "--out", out, "--backend", BACKEND)
    assert done.returncode == 0, done.stderr
    return out
