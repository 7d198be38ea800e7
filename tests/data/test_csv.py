"""CSV files that list images: which column is which, and every line that cannot be used by its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.images import save

from vecgrad import data
from vecgrad.spec.errors import ArgumentError, DataError


def listed(folder: Path, text: str, name: str = "list.csv", files: int = 4) -> tuple[Path, np.ndarray]:
    """The list, and the images i/0.png, i/1.png … beside it."""
    images = np.stack([save(folder / "i" / f"{number}.png") for number in range(files)])
    path = folder / name
    path.write_bytes(text.encode())
    return path, images


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("path,label\ni/2.png,dog\ni/0.png,cat\ni/1.png,dog\n", "list.csv"),
        ("\ufefflabel;file_name\r\ndog;i/2.png\r\n\r\ncat;i/0.png\r\ndog;i/1.png", "list.csv"),
        ("path,label\ri/2.png,dog\ri/0.png,cat\ri/1.png,dog\r", "list.csv"),
        ("path,label\ri/2.png,dog\ri/0.png,cat\ri/1.png,dog", "no-suffix"),
        ('note\tImage\tCLASS\nx\t"i/2.png"\tdog\n\ti/0.png\tcat\n\ti/1.png\tdog\n', "no-suffix"),
    ],
)
def test_paths_and_classes_by_the_usual_names(tmp_path: Path, text: str, name: str) -> None:
    path, images = listed(tmp_path, text, name)
    dataset = data.open(path)
    assert str(dataset) == f"{name}: 3 training images of 6×5×1, 2 classes"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_labels.tolist() == [1, 0, 1]
    assert np.array_equal(dataset.train_images[..., 0], images[[2, 0, 1]])


def test_numbers_as_labels_count_by_size(tmp_path: Path) -> None:
    path, _ = listed(tmp_path, "path,label\ni/0.png,10\ni/1.png,9\ni/2.png,2\n")
    assert data.open(path).class_names == ("2", "9", "10")


def test_parts_by_the_column_split(tmp_path: Path) -> None:
    rows = "path,label,split\ni/0.png,a,test\ni/1.png,b,train\ni/2.png,a,Training\ni/3.png,b,val\n"
    path, images = listed(tmp_path, rows)
    dataset = data.open(path, validation=0.5)
    assert str(dataset).startswith("list.csv: 2 training, 1 validation, 1 test images")
    assert dataset.test_images is not None
    assert np.array_equal(dataset.test_images[0, ..., 0], images[0])
    assert dataset.train_labels.tolist() == [1, 0]


def test_numbers_to_predict(tmp_path: Path) -> None:
    path, _ = listed(
        tmp_path, "path,target_x,target_y\ni/0.png,1,-2.5\ni/1.png,0.5,3e3\ni/2.png,0,1\ni/3.png,0,2\n"
    )
    dataset = data.open(path, validation=0.25)
    assert str(dataset).endswith("3 training, 1 validation images of 6×5×1, 2 numbers each")
    assert (dataset.targets, dataset.classes, dataset.class_names) == ("numbers", 0, ())
    whole = data.open(path).train_labels
    assert whole.dtype == np.float32
    assert whole.tolist() == [[1, -2.5], [0.5, 3000], [0, 1], [0, 2]]
    one = data.open(path, columns={"targets": "target_y"})
    assert str(one).endswith("a number each")
    assert one.with_validation(0.25).validation_labels.shape == (1, 1)  # type: ignore[union-attr]


def test_columns_and_targets_as_the_caller_says(tmp_path: Path) -> None:
    path, images = listed(tmp_path, "photo,breed,age\ni/1.png,cat,3\ni/0.png,dog,5\n")
    dataset = data.open(path, columns={"path": "photo", "label": "breed"})
    assert np.array_equal(dataset.train_images[..., 0], images[[1, 0]])
    ages = data.open(path, columns={"path": "photo", "targets": ("age",)})
    assert ages.train_labels.tolist() == [[3], [5]]
    again = data.open(path, columns={"path": "photo", "label": "age"}, targets="numbers")
    assert again.train_labels.tolist() == [[3], [5]]
    classes = data.open(path, columns={"path": "photo", "targets": "age"}, targets="classes")
    assert classes.class_names == ("3", "5")
    with pytest.raises(
        ArgumentError, match="columns: expected the keys path, label, targets, split, got lable"
    ):
        data.open(path, columns={"lable": "breed"})
    with pytest.raises(DataError, match=r"has no column 'bread'; its columns are photo, breed, age"):
        data.open(path, columns={"path": "photo", "label": "bread"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,label\ni/0.png,a\n", r"list\.csv: its columns are photo, label; expected one of path, file"),
        ("path,breed\ni/0.png,a\n", r"list\.csv: its columns are path, breed; expected also one of label"),
        (
            "path,label\ni/0.png,a\ni/1.png\n",
            r"line 3: 1 columns, but the first line names 2 \(path, label\)",
        ),
        ("path,label\ni/0.png,a\n,b\n", "line 3: the column path is empty"),
        ("path,label\ni/0.png,a\ni/1.png,\n", "line 3: the column label is empty; expected the class of i/1"),
        (
            "path,label\ni/0.png,a\ni/7.png,b\ni/8.png,b\n",
            r"line 3: .*7\.png: there is no such file \(2 of 3 files are missing\); paths are relative",
        ),
        ("path,label\ni/0.png,a\ni,b\n", r"line 3: .*i: there is no such file"),
        ("path,label\ni/0.png,a\ni/1.png,a\n", "every training image has the label a"),
        ("path,label\n", "lists no training images"),
        ("path,label,split\ni/0.png,a,train\ni/1.png,b,tset\n", "line 3: split is 'tset'; expected one of"),
        (
            "path,label,split\ni/0.png,a,train\ni/1.png,b,train\ni/2.png,c,test\n",
            "line 4: no training image has the label c of this test image; expected a, b",
        ),
        ("path,target\ni/0.png,1\ni/1.png,nan\n", "line 3: target is 'nan'; expected a finite number"),
        ("path,target\ni/0.png,1\ni/1.png,1e40\n", "line 3: target is '1e40'; expected a finite number"),
        ("path,target\ni/0.png,1\ni/1.png,x\n", "line 3: target is 'x'; expected a finite number"),
        ('path,label\ni/0.png,"a"b\n', "cannot be read as CSV in UTF-8"),
        ("", "its columns are not named"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path, _ = listed(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        data.open(path)
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path, _ = listed(tmp_path, "")
    path.write_bytes("path,label\ni/0.png,Bär\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.csv: cannot be read as CSV in UTF-8"):
        data.open(path)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((4, 0)), "expected .n, k."),
        (np.zeros((4, 2, 2)), "expected .n, k."),
        (np.zeros(3), "3 rows for 4 images"),
        (np.array([0, 1, np.inf, 0]), r"labels\[2, 0\] is inf"),
        (np.array(list("abcd")), "dtype <U1"),
    ],
)
def test_numbers_of_arrays_are_checked(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.open((np.zeros((4, 2, 2)), y), targets="numbers")


def test_arrays_may_come_with_numbers() -> None:
    found = data.open((np.arange(16.0).reshape(4, 2, 2), [1, 2.5, 3, 4]), targets="numbers", test=0.25)
    assert found.train_labels.dtype == np.float32
    assert (found.train_labels.shape, found.test_labels.shape) == ((3, 1), (1, 1))  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [b"hello\rworld\nx", b"\0\r\0", bytes(range(256)) * 3, b"\r\r\n"])
def test_what_is_no_csv_gets_the_usual_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dat").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.dat: a file of .* bytes; expected one of"):
        data.open(tmp_path / "x.dat")
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.csv: its columns are"):
        data.open(tmp_path / "x.csv")
