"""The door: its table of readers, the splits, the digits, arrays, and what is refused on the way in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecgrad import data
from vecgrad.data import augment
from vecgrad.data._open import READERS
from vecgrad.spec.errors import ArgumentError, DataError

RNG = np.random.default_rng(2)
X = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
Y = np.arange(40) % 4


def test_arrays_come_out_as_they_went_in() -> None:
    dataset = data.open((X, Y))
    assert np.array_equal(dataset.train_images, X)
    assert dataset.train_images.dtype == np.uint8
    assert np.array_equal(dataset.train_labels, Y)
    assert dataset.test_images is dataset.test_labels is dataset.validation_images is None
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.input_shape == (6, 5, 3)
    assert dataset.preparation.scale == 255
    assert str(dataset) == "arrays: 40 training images of 6×5×3, 4 classes"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digits", {"data_format": "channels_last"}, "digits: .*data_format is for arrays .* or a .npz file"),
        ("digits", {"columns": {"path": "file"}}, "digits: .*columns is for a CSV file"),
        ((X, Y), {"columns": {"path": "file"}}, "^arrays: read as arrays .*columns is for a CSV file"),
    ],
)
def test_options_for_other_sources_are_refused(source: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        data.open(source, **options)


def test_arrays_may_bring_a_test_part() -> None:
    dataset = data.open(((X, Y), (X[:7], Y[:7])))
    assert dataset.test_images is not None
    assert np.array_equal(dataset.test_images, X[:7])
    own = data.open(((X, Y), (X[:7], Y[:7])), test=0.5).test_images
    assert own is not None
    assert len(own) == 7, "a source that brings test images keeps them"
    with pytest.raises(DataError, match=r"test images holds images of .*\(5, 6, 3\)"):
        data.open(((X, Y), (X.swapaxes(1, 2), Y)))
    with pytest.raises(DataError, match=r"test labels\[3\] is 4; expected an integer from 0 to 3"):
        data.open(((X, Y), (X[:4], [0, 1, 2, 4])))


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (X, 255),
        (X.astype(np.uint16), 65535),
        (X.astype(np.int32) // 16, 15),
        (X / np.float32(255), 1),
        (X / 510, 1),
        (X.astype(np.float64), 255),
        (X - 300.0, 1),
        (-(X.astype(np.int64)), 1),
    ],
)
def test_what_means_white_is_taken_from_the_arrays(images: np.ndarray, white: float) -> None:
    images[0, 0, 0, 0] = images.max() if images.dtype.kind == "i" else images[0, 0, 0, 0]
    assert data.open((images, Y)).preparation.scale == white
    assert data.open((images, Y), white=77).preparation.scale == 77


def test_held_out_parts_are_stratified_disjoint_and_independent() -> None:
    images = np.arange(200, dtype=np.float32).reshape(200, 1, 1)
    labels = np.arange(200) % 4
    both = data.open((images, labels), validation=0.25, test=0.2, seed=3)
    parts = [both.train_images, both.validation_images, both.test_images]
    assert [len(part) for part in parts if part is not None] == [120, 40, 40]
    values = np.concatenate([part.ravel() for part in parts if part is not None])
    assert sorted(values.tolist()) == list(range(200))
    for part, part_labels in (
        (both.train_images, both.train_labels),
        (both.validation_images, both.validation_labels),
        (both.test_images, both.test_labels),
    ):
        assert part is not None
        assert part_labels is not None
        assert (part.ravel().astype(int) % 4 == part_labels).all()
        assert len(set(np.bincount(part_labels).tolist())) == 1
    only_test = data.open((images, labels), test=0.2, seed=3)
    assert only_test.test_images is not None
    assert np.array_equal(only_test.test_images, both.test_images)  # type: ignore[arg-type]


def test_statistics_come_from_the_training_part_alone() -> None:
    dataset = data.open((X, Y), validation=0.5, seed=1)
    assert dataset.preparation.mean == pytest.approx(dataset.train_images.mean(axis=(0, 1, 2)) / 255)
    assert dataset.preparation.mean != pytest.approx(X.mean(axis=(0, 1, 2)) / 255, rel=1e-6)
    assert data.open((X, Y), normalise=False).preparation.mean == (0.0, 0.0, 0.0)


def test_with_validation_is_the_split_of_the_training_images() -> None:
    dataset = data.open((X, Y))
    later = dataset.with_validation(0.25, seed=9)
    now = data.open((X, Y), validation=0.25, seed=9)
    for name in ("train_images", "train_labels", "validation_images", "validation_labels"):
        assert np.array_equal(getattr(later, name), getattr(now, name))
    assert len(dataset.train_images) == 40
    with pytest.raises(ArgumentError, match="already"):
        later.with_validation(0.1)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ((X, Y, X), {}, "got 3 of them"),
        (((X, Y), (X,)), {}, "test part holds 1"),
        ((X[:0], Y[:0]), {}, "empty"),
        ((X, Y[:39]), {}, "39 labels for 40 images"),
        ((X, Y * 0), {}, "every training image has the label 0"),
        ((X, Y + 1), {}, r"no training image has the label 0; .*classes=5"),
        ((X, Y - 1), {}, r"labels\[0\] is -1"),
        ((X, Y), {"classes": 3}, r"labels\[3\] is 3"),
        ((X * np.float32("nan"), Y), {}, "image 0 holds nan"),
        ((X.astype(object), Y), {}, "dtype object"),
        ((X.transpose(0, 3, 1, 2), Y), {}, "data_format"),
        ((X, Y), {"validation": 0.001}, "cannot be split"),
        (3, {}, "data source of type int"),
        (X, {}, "data source of type ndarray"),
        (None, {}, r"expected one of: arrays .* folder"),
        ("mnist", {}, "mnist: no such file or folder, and nothing is ever downloaded"),
        ("a\0b", {}, "no such file"),
        ("n" * 5000, {}, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        data.open(source, **options)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_options_that_mean_nothing_are_refused() -> None:
    for options in (
        {"white": 0},
        {"white": -1.0},
        {"validation": 2.0},
        {"data_format": "NCHW"},
        {"invert": "no"},
        {"size": (0, 4)},
        {"size": 32},
        {"size": (1 << 20, 4)},
        {"broken": "ignore"},
        {"targets": "regression"},
        {"size": (True, 4)},
        {"size": (4.0, 4)},
        {"size": ("4", 4)},
        {"channels": "3"},
        {"channels": True},
        {"white": "a"},
        {"white": True},
        {"white": float("inf")},
        {"keep": "1G"},
        {"keep": 1e9},
        {"keep": -1},
        {"validation": "0.1"},
        {"test": None},
        {"seed": "x"},
        {"classes": "4"},
        {"classes": 0},
    ):
        with pytest.raises(ArgumentError, match=f"{next(iter(options))}.* got "):
            data.open((X, Y), **options)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    three, six, five = (np.int64(3), np.uint8(6), np.int32(5))
    numbers = {"size": (six, five), "channels": three, "keep": np.int64(1 << 30), "white": np.float32(255)}
    numbers |= {"seed": np.int64(7), "validation": np.float64(0.25), "classes": np.int16(4)}
    one = data.open((X, Y), **numbers)  # type: ignore[arg-type]
    two = data.open((X, Y), white=255, seed=7, validation=0.25)
    assert np.array_equal(one.train_images, two.train_images)
    assert one.preparation == two.preparation
    with pytest.raises(ArgumentError, match="must be a number between 0 and 1, got"):
        data.split(10, "0.1", 0)  # type: ignore[arg-type]
    assert np.array_equal(data.order(9, np.int64(3), np.int64(1)), data.order(9, 3, 1))
    record = data.Preparation((six, five), three, np.float32(255), mean=(np.float32(0.5),) * 3)  # type: ignore[arg-type]
    assert data.Preparation.from_json(json.loads(json.dumps(record.to_json()))) == record
    pipeline = augment.Pipeline.of(augment.PadCrop(np.int64(1)), X)  # type: ignore[arg-type]
    assert json.loads(json.dumps(augment.to_json(pipeline.steps)))


def test_more_classes_than_occur_and_other_formats_on_request() -> None:
    dataset = data.open(
        (X.transpose(0, 3, 1, 2), Y + 1), classes=9, data_format="channels_first", invert=True
    )
    assert dataset.classes == 9
    assert np.array_equal(dataset.train_images, X)
    assert dataset.preparation.invert is True


def test_a_path_that_nobody_reads_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an empty folder; expected one of"):
        data.open(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"a folder that holds notes\.txt; expected one of"):
        data.open(tmp_path)
    with pytest.raises(DataError, match=r"notes\.txt: a file of 5 bytes; expected one of"):
        data.open(str(tmp_path / "notes.txt"))


def test_the_table_of_readers_has_one_row_for_each_name() -> None:
    assert [reader.name for reader in READERS] == [
        *("arrays", "digits", "npz", "npy", "idx", "cifar", "tar", "csv", "folder")
    ]
    for odd in (None, 3, X, b"digits", {"digits"}, "digits ", Path("digits")):
        assert not any(reader.recognises(odd) for reader in READERS)


def test_digits_are_split_once_and_for_all() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    digits = data.open("digits", seed=99)
    assert str(digits) == "digits: 1,437 training, 360 test images of 8×8×1, 10 classes"
    assert digits.test_images is not None
    assert digits.test_labels is not None
    assert digits.test_images.dtype == np.uint8
    assert digits.preparation.scale == 16
    assert digits.preparation.background == 0
    assert np.bincount(digits.test_labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    whole = sklearn.load_digits()
    rows = {row.tobytes(): i for i, row in enumerate(whole.images.astype(np.uint8))}
    assert len(rows) == 1797, "no two scans are equal, so each tells its number"
    test = [rows[image.tobytes()] for image in digits.test_images]
    train = [rows[image.tobytes()] for image in digits.train_images]
    assert sorted(train + test) == list(range(1797))
    assert whole.target[test].tolist() == digits.test_labels.tolist()
    assert whole.target[train].tolist() == digits.train_labels.tolist()
    # Published figures stand on exactly these images.
    assert test[:12] == [7, 16, 27, 45, 49, 56, 61, 62, 68, 69, 73, 74]
    again = data.open("digits", test=0.1)
    assert np.array_equal(again.test_images, digits.test_images)


def test_importing_the_room_loads_neither_pillow_nor_scikit_learn() -> None:
    code = "import sys, vecgrad.data; print([m for m in ('PIL', 'sklearn', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def array_sources(folder: Path) -> list[Any]:
    """Sources of 6×5×3, as arrays and in a file, and a single file of CIFAR-10."""
    np.savez(folder / "a.npz", x=X, y=Y)
    records = np.zeros((20, 3073), np.uint8)
    records[:, 0] = np.arange(20) % 10
    records.tofile(folder / "batch.bin")
    return [(X, Y), folder / "a.npz", folder / "batch.bin"]


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    for source in array_sources(tmp_path):
        shape = data.open(source).input_shape
        # What they have may be asked for.
        assert data.open(source, size=shape[:2], channels=3).input_shape == shape
        for options, message in (
            ({"size": (4, 4)}, r"asked for was size = \(4, 4\): .*leave size \(--size\) out"),
            ({"channels": 1}, "asked for was channels = 1: "),
            ({"broken": "skip"}, r'broken="skip" \(--skip-broken\) is for image files'),
        ):
            with pytest.raises(ArgumentError, match=message) as caught:
                data.open(source, **options)  # type: ignore[arg-type]
            assert f"arrays of (height, width, channels) = {shape}" in str(caught.value)


@pytest.mark.parametrize("name", ["a.tar", "a.csv", "a.npz", "data_batch_1.bin", "a"])
def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=rf"{name}: cannot be read: Permission denied"):
        data.open(tmp_path / name)


def test_a_folder_called_digits_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("x_train", "y_train"):
        (tmp_path / "digits").mkdir(exist_ok=True)
        np.save(tmp_path / "digits" / f"{name}.npy", X if name == "x_train" else Y)
    with pytest.raises(DataError, match=r"write \./digits for the former, sklearn:digits for the latter"):
        data.open("digits")
    assert len(data.open("./digits").train_images) == len(data.open(Path("digits")).train_images) == 40
    assert str(data.open("sklearn:digits")).startswith("digits: 1,437 training")
