"""Image files through the command line: sizes, archives, lists, broken files; evaluate finds the same test images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.images import pack, png

SHORT = ("--epochs", 1, "--backend", "reference", "--json")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dark and light images of two sizes, one of them broken."""
    monkeypatch.setenv("VECGRAD_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(3)
    members = {
        f"{name}/{number}.png": png(rng.integers(low, low + 100, (8 + number % 2, 8), dtype=np.uint8))
        for name, low in (("dark", 0), ("light", 150))
        for number in range(20)
    }
    return pack(tmp_path / "light.tar.gz", members | {"dark/9.png": b"x"}, "w:gz")


def test_train_and_evaluate_from_an_archive(call, archive: Path, tmp_path: Path) -> None:
    mixed = call("train", archive, "--skip-broken", *SHORT, cwd=tmp_path)
    assert mixed.returncode == 1
    assert "images of 2 sizes: " in mixed.stderr
    broken = call("train", archive, "--size", 8, *SHORT, cwd=tmp_path)
    assert broken.returncode == 1
    assert "light.tar.gz: dark/9.png: not an image" in broken.stderr
    done = call("train", archive, "--size", "8x8", "--skip-broken", "--out", "run", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "images of 8×8×1, 2 classes; 1 broken image skipped" in done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    again = call("evaluate", "run", "--backend", "reference", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["accuracy"] == told["test_accuracy"]


def test_sizes_that_are_none_and_lists_of_numbers_are_refused(call, archive: Path, tmp_path: Path) -> None:
    assert call("train", archive, "--size=8x8x8", *SHORT, cwd=tmp_path).returncode == 2
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(np.full((8, 8), 60 * number, np.uint8)))
    (tmp_path / "list.csv").write_text("path,target\n" + "".join(f"{i}.png,{i / 2}\n" for i in range(4)))
    done = call("train", tmp_path / "list.csv", *SHORT, cwd=tmp_path)
    assert done.returncode == 1
    assert "list.csv: its labels are numbers; the command line trains classifiers only" in done.stderr


def test_mistakes_are_listed_by_the_names_of_their_files(call, archive: Path, tmp_path: Path) -> None:
    asked = ("--size", 8, "--skip-broken", "--out", "run", "--epochs", 3, "--backend", "reference")
    assert call("train", archive, *asked, cwd=tmp_path).returncode == 0
    members = {f"{name}/{number}.png": png(np.full((8, 8), grey, np.uint8)) for number in range(3)
               for name, grey in (("dark", 20), ("light", 230))}  # fmt: skip
    pack(tmp_path / "new.tar", members | {"dark/1.png": png(np.full((8, 8), 250, np.uint8))})
    done = call("evaluate", "run", "new.tar", "--backend", "reference", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (mistake,) = json.loads(done.stdout.splitlines()[-1])["mistakes"]
    assert (mistake["file"], mistake["index"], mistake["truth"]) == ("dark/1.png", 1, "dark")
    assert any(line.split()[0] == "dark/1.png" for line in done.stdout.splitlines() if line.strip())


def test_moved_images_are_divided_as_they_were(call, archive: Path, tmp_path: Path) -> None:
    """Else the training images would be among those that the accuracy is of."""
    asked = ("--size", 8, "--skip-broken", "--out", "run", "--epochs", 1, "--backend", "reference", "--json")
    trained = call("train", archive, *asked, cwd=tmp_path)
    told = json.loads(trained.stdout.splitlines()[-1])
    moved = tmp_path / "elsewhere.tar.gz"
    moved.write_bytes(archive.read_bytes())
    done = call("evaluate", "run", moved, "--backend", "reference", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["accuracy"] == told["test_accuracy"]
    known = call("evaluate", "run", "--backend", "reference", "--json", cwd=tmp_path)
    assert found["images"] == json.loads(known.stdout.splitlines()[-1])["images"]


def test_options_for_image_files_are_refused_for_arrays(
    call, tiny: Path, tiny_run: Path, tmp_path: Path
) -> None:
    for option, said in ((("--size", 4), "leave size (--size) out"), (("--skip-broken",), "leave it out")):
        done = call("train", tiny, *option, *SHORT, cwd=tmp_path)
        assert done.returncode == 1
        assert "halves.npz: its images are arrays of (height, width, channels) = (8, 8, 1)" in done.stderr
        assert said in done.stderr
    np.savez(tmp_path / "small.npz", X=np.zeros((4, 6, 6), np.uint8), y=[0, 1, 0, 1])
    done = call("evaluate", tiny_run, tmp_path / "small.npz", "--backend", "reference", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "small.npz: its images are arrays of (height, width, channels) = (6, 6, 1); the run's" in done.stderr
    )
    assert call("evaluate", tiny_run, tiny, "--backend", "reference", cwd=tmp_path).returncode == 0


def test_a_run_on_the_digits_knows_them_beside_a_folder_of_that_name(
    call, digits_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()
    done = call("train", *SHORT, cwd=tmp_path)
    assert done.returncode == 1
    assert "write ./digits for the former, sklearn:digits for the latter" in done.stderr
    for source in ((), ("sklearn:digits",)):
        assert call("evaluate", digits_run, *source, "--backend", "reference", cwd=tmp_path).returncode == 0
    assert call("evaluate", digits_run, "digits", "--backend", "reference", cwd=tmp_path).returncode == 1
