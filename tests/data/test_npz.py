"""NumPy archives: the names found in the wild, no pickle, no table of the archive believed."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from vecgrad import data
from vecgrad.spec.errors import DataError

RNG = np.random.default_rng(4)
X = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
Y = np.arange(12) % 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("x_train", "y_train"), ("x_test", "y_test")),
        (("train_images", "train_labels"), ("test_images", "test_labels")),
        (("X", "y"), None),
        (("x", "y"), None),
        (("images", "labels"), None),
    ],
)
def test_the_usual_names_are_found(tmp_path: Path, save: Any, train: tuple[str, str], test: Any) -> None:
    arrays = dict(zip(train, (X, Y), strict=True))
    if test:
        arrays |= dict(zip(test, (X[:5], Y[:5]), strict=True))
    save(tmp_path / "a.npz", **arrays)
    dataset = data.open(tmp_path / "a.npz")
    assert dataset.name == "a.npz"
    assert np.array_equal(dataset.train_images[..., 0], X)
    assert dataset.train_labels.tolist() == Y.tolist()
    assert (dataset.test_images is None) == (test is None)
    if dataset.test_images is not None:
        assert np.array_equal(dataset.test_images[..., 0], X[:5])


def test_a_validation_part_and_columns_of_labels_are_read(tmp_path: Path) -> None:
    arrays = {f"{part}_images": X[..., None].repeat(3, -1) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": Y[:, None].astype(np.uint8) for part in ("train", "val", "test")}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    dataset = data.open(str(tmp_path / "a.npz"))
    assert dataset.validation_labels is not None
    assert dataset.validation_labels.tolist() == Y.tolist()
    assert dataset.input_shape == (5, 4, 3)


def test_fortran_order_and_floats_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(X / 255), y=Y)
    assert np.array_equal(data.open(tmp_path / "a.npz").train_images[..., 0], X / 255)


def test_pickle_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X.astype(object), y=Y)
    with pytest.raises(DataError, match=r"a\.npz: x\.npy: .*dtype is object, which only pickle could read"):
        data.open(tmp_path / "a.npz")


def test_other_contents_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pictures=X, y=Y)
    with pytest.raises(DataError, match=r"holds pictures, y; expected one of the pairs x_train and y_train"):
        data.open(tmp_path / "a.npz")


def member(shape: tuple[int, ...], content: bytes, dtype: str = "|u1") -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue() + content


def archive(path: Path, images: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    labels = io.BytesIO()
    np.save(labels, Y)
    with zipfile.ZipFile(path, "w", method) as out:
        out.writestr("x.npy", images)
        out.writestr("y.npy", labels.getvalue())
    return path


@pytest.mark.parametrize(
    "images",
    [
        member((12, 5, 5), X.tobytes()),
        member((12, 5, 3), X.tobytes()),
        member((10**9, 10**9, 10**9), X.tobytes()),
        member((-12, 5, 4), X.tobytes()),
        member((12, 5, 4), b""),
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '|u1'",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00{}              ",
        b"\x93NUMPY\x01\x00\x20\x00__import__('os').system('exit 1')",
        b"not an array",
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_lying_array_is_refused(tmp_path: Path, images: bytes, method: int) -> None:
    with pytest.raises(DataError, match=r"a\.npz: x\.npy: cannot be read as an array"):
        data.open(archive(tmp_path / "a.npz", images, method))


def test_an_archive_that_lies_about_sizes_takes_no_memory(tmp_path: Path) -> None:
    """Header and directory of the archive agree on 3 GB; the packed bytes could never hold them."""
    shape = (3, 1024, 1024, 1024)
    path = archive(tmp_path / "a.npz", member(shape, b"\0" * 7777), zipfile.ZIP_DEFLATED)
    true = len(member(shape, b"\0" * 7777))
    false = (true - 7777 + 3 * 2**30).to_bytes(4, "little")
    content = path.read_bytes()
    path.write_bytes(content.replace(true.to_bytes(4, "little"), false))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.npz: x\.npy: .* packed in"):
        data.open(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_no_damage_ends_in_anything_but_a_data_error(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y)
    whole = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            data.open(tmp_path / "a.npz")
        except DataError:
            refused += 1
    assert refused > len(whole) // 2
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.npz").write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"a\.npz: damaged"):
            data.open(tmp_path / "a.npz")
