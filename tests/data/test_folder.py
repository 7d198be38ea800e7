"""Folders of image files: classes from the names of sub-folders, parts from train, val and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vecgrad import data
from vecgrad.spec.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
RNG = np.random.default_rng(6)


def save(path: Path, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_classes_and_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["dog/b.png", "cat/2.png", "cat/10.PNG", "dog/deep/er/a.png", "emu/x.png"]
    images = {name: save(tmp_path / name) for name in names}
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    dataset = data.open(tmp_path)
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.train_labels.tolist() == [0, 0, 1, 1, 2]
    expected = [
        images[name] for name in ("cat/10.PNG", "cat/2.png", "dog/b.png", "dog/deep/er/a.png", "emu/x.png")
    ]
    assert np.array_equal(dataset.train_images[..., 0], expected)
    assert dataset.input_shape == (6, 5, 1)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev"])
def test_parts_are_found_by_name(tmp_path: Path, validation: str) -> None:
    for part, n in (("train", 3), (validation, 2), ("test", 1)):
        for name in ("a", "b"):
            for index in range(n):
                save(tmp_path / part / name / f"{index}.png", (4, 4, 3))
    dataset = data.open(tmp_path)
    assert str(dataset).endswith(": 6 training, 4 validation, 2 test images of 4×4×3, 2 classes")


def test_one_colour_file_makes_all_colour_and_options_override(tmp_path: Path) -> None:
    grey = save(tmp_path / "a" / "x.png")
    save(tmp_path / "b" / "x.png", (6, 5, 3))
    dataset = data.open(tmp_path)
    assert dataset.input_shape == (6, 5, 3)
    assert np.array_equal(dataset.train_images[0], grey[..., None].repeat(3, -1))
    assert data.open(tmp_path, channels=1).input_shape == (6, 5, 1)
    assert data.open(tmp_path, size=(3, 7)).input_shape == (3, 7, 3)


def test_sixteen_bit_files_are_brought_to_eight(tmp_path: Path) -> None:
    for name, value in (("a", 65535), ("b", 25700)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((3, 3), value, np.uint16)).save(tmp_path / name / "x.png")
    images = data.open(tmp_path).train_images
    assert images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [255, 100]


def test_mixed_sizes_are_refused_until_one_is_given(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png", (6, 5))
    save(tmp_path / "b" / "y.png", (5, 6))
    save(tmp_path / "b" / "z.png", (5, 6))
    expected = r"images of 2 sizes: 5×6 \(2, as .*y\.png\), 6×5 \(1, as .*x\.png\); pass size=.*--size"
    with pytest.raises(DataError, match=expected):
        data.open(tmp_path)
    assert data.open(tmp_path, size=(4, 4)).input_shape == (4, 4, 1)


def test_the_test_part_is_brought_to_the_size_of_training(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "train" / name / "x.png", (6, 5))
        save(tmp_path / "test" / name / "x.png", (12, 10))
    dataset = data.open(tmp_path)
    assert dataset.test_images is not None
    assert dataset.test_images.shape == (2, 6, 5, 1)


def test_one_class_an_empty_class_and_a_foreign_class_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "train" / "a" / "x.png")
    with pytest.raises(DataError, match=r"train: a folder that holds a/; expected two sub-folders"):
        data.open(tmp_path)
    (tmp_path / "train" / "b").mkdir()
    with pytest.raises(DataError, match=r"b: an empty folder; expected image files \(\.bmp"):
        data.open(tmp_path)
    save(tmp_path / "train" / "b" / "x.png")
    save(tmp_path / "test" / "c" / "x.png")
    with pytest.raises(DataError, match=r"c: there is no such class in training; expected a, b"):
        data.open(tmp_path)
    for path in (tmp_path / "test" / "c" / "x.png",):
        path.unlink()
    (tmp_path / "test" / "c").rmdir()
    with pytest.raises(DataError, match="test: an empty folder"):
        data.open(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png")
    save(tmp_path / "b" / "y.png")
    (tmp_path / "b" / "y.png").write_bytes((tmp_path / "b" / "y.png").read_bytes()[:45])
    with pytest.raises(DataError, match=r"b.y\.png: (damaged|not an image)"):
        data.open(tmp_path)
