"""Whatever interrupts a save, there is a whole run: the old one or the new one."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import runs
from vecgrad.program import Program
from vecgrad.runs import _write
from vecgrad.spec.errors import RunError


def bias(folder: Path) -> np.ndarray:
    return vg.load(folder, backend="reference").parameters["3.bias"]


def changed(program: Program, value: float) -> Program:
    parameters = program.parameters
    parameters["3.bias"][:] = value
    program.load_parameters(parameters)
    return program


def test_a_run_is_replaced_and_nothing_else_is_left(program: Program, run: Path) -> None:
    changed(program, 7.0).save(run)
    assert (bias(run) == 7).all()
    assert os.listdir(run.parent) == [run.name]


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_a_disk_that_fills_up_leaves_the_old_run(
    program: Program, run: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    old, count = bias(run), 0
    original = _write._write_file

    def failing(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == fails_at:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        original(path, data)

    monkeypatch.setattr(_write, "_write_file", failing)
    with pytest.raises(RunError, match="No space left on device"):
        changed(program, 7.0).save(run)
    assert np.array_equal(bias(run), old)
    assert os.listdir(run.parent) == [run.name]


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_failing_rename_leaves_the_old_run(
    program: Program, run: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, error: BaseException
) -> None:
    old, count = bias(run), 0
    original = Path.rename

    def failing(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == fails_at:
            raise error
        return original(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((RunError, KeyboardInterrupt)):
        changed(program, 7.0).save(run)
    assert np.array_equal(bias(run), old)
    assert os.listdir(run.parent) == [run.name]


def test_killed_between_the_two_renames_the_old_run_is_read_and_then_replaced(
    program: Program, run: Path
) -> None:
    old = bias(run)
    run.rename(_write.previous(run))  # as a process leaves it that is killed there
    assert np.array_equal(bias(run), old)
    changed(program, 7.0).save(run)
    assert (bias(run) == 7).all()
    assert os.listdir(run.parent) == [run.name]


def test_readers_beside_a_writer_never_see_half_a_run(program: Program, run: Path) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = runs.read(run)
                assert len(set(found.parameters["3.bias"])) == 1
                assert found.metrics["bias"] == found.parameters["3.bias"][0]
            except BaseException as error:
                failures.append(error)
                return

    changed(program, 0.0).save(run, metrics={"bias": 0.0})
    reader = threading.Thread(target=read)
    reader.start()
    for value in range(40):
        changed(program, value).save(run, metrics={"bias": float(value)})
    done.set()
    reader.join()
    assert not failures


def test_other_folders_and_files_are_never_replaced(program: Program, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds no run"):
        program.save(mine)
    (mine / "config.json").write_text("{}")
    with pytest.raises(RunError, match="holds no run"):
        program.save(mine)
    with pytest.raises(RunError, match="is a file"):
        program.save(mine / "thesis.txt")
    with pytest.raises(RunError, match="cannot be written"):
        program.save(mine / "thesis.txt" / "run")
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert sorted(os.listdir(tmp_path)) == ["mine"]


def test_a_run_with_a_stranger_s_file_in_it_is_not_replaced(program: Program, run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"notes\.txt"):
        program.save(run)
    assert (run / "notes.txt").read_text() == "mine"
    assert vg.load(run, backend="reference").steps == 2


def test_an_empty_folder_becomes_the_run(program: Program, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert vg.load(program.save(tmp_path / "run"), backend="reference").steps == 2


def test_the_way_to_the_folder_is_made(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.save("a/b/run") == tmp_path / "a" / "b" / "run"


def test_check_place_writes_nothing(tmp_path: Path) -> None:
    runs.check_place(tmp_path / "a" / "b")
    assert not os.listdir(tmp_path)


def refuse(*_: object, **__: object) -> str:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_an_empty_folder_that_cannot_be_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is renamed to its place: before the training, not after it, is the time to say that it cannot be."""
    (tmp_path / "run").mkdir()
    runs.check_place(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", refuse)
        with pytest.raises(RunError, match=r"no folder that may be written to .*Permission denied"):
            runs.check_place(tmp_path / "run")
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "run")
    with pytest.raises(RunError, match=r"mounted.*run/run"):
        runs.check_place(tmp_path / "run")


def test_a_run_whose_place_became_read_only_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.check_place(run)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(RunError, match="cannot be written"):
        runs.check_place(run)


def test_names_that_are_no_utf8_come_back(program: Program, tmp_path: Path) -> None:
    """As the names of files and folders may be: Python has their bytes as lone surrogates."""
    names = [os.fsdecode(b"caf\xe9"), "tè"]
    found = runs.read(program.save(tmp_path / "run", data={"class_names": names}))
    assert found.data["class_names"] == names
