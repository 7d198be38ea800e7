"""CIFAR's binary files: planes become channels, and every byte must be accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vecgrad import data
from vecgrad.spec.errors import DataError

RNG = np.random.default_rng(5)


def write(path: Path, labels: np.ndarray) -> np.ndarray:
    """A file of records with these label bytes (n, 1 or 2); the planes (n, 3, 32, 32) that it holds."""
    planes = RNG.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    records = np.concatenate([labels.astype(np.uint8), planes.reshape(len(labels), -1)], axis=1)
    path.write_bytes(records.tobytes())
    return planes


def cifar10(folder: Path) -> list[np.ndarray]:
    labels = (np.arange(20) % 10)[:, None]
    return [
        write(folder / name, labels)
        for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
    ]


def test_cifar_10_is_read(tmp_path: Path) -> None:
    planes = cifar10(tmp_path)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    dataset = data.open(tmp_path)
    assert dataset.class_names == tuple(names)
    assert dataset.train_images.shape == (100, 32, 32, 3)
    assert np.array_equal(dataset.train_images, np.concatenate(planes[:5]).transpose(0, 2, 3, 1))
    assert dataset.test_images is not None
    assert np.array_equal(dataset.test_images, planes[5].transpose(0, 2, 3, 1))
    assert dataset.train_labels[:12].tolist() == [*range(10), 0, 1]
    assert dataset.preparation.scale == 255


def test_cifar_100_uses_the_fine_labels(tmp_path: Path) -> None:
    labels = np.stack([np.arange(150) % 20, np.arange(150) % 100], axis=1)
    for name in ("train.bin", "test.bin"):
        write(tmp_path / name, labels)
    dataset = data.open(tmp_path)
    assert dataset.classes == 100
    assert dataset.class_names[99] == "99"
    assert np.array_equal(dataset.train_labels, labels[:, 1])


def test_one_file_or_the_folder_around_the_folder_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    planes = cifar10(folder)
    around = data.open(tmp_path)
    assert (around.name, len(around.train_images)) == ("cifar-10-batches-bin", 100)
    # A file of another name is known by its size and its labels.
    for path in (folder / "test_batch.bin", (folder / "data_batch_1.bin").rename(tmp_path / "some.images")):
        one = data.open(path)
        of = planes[5 if path.parent == folder else 0]
        assert np.array_equal(one.train_images, of.transpose(0, 2, 3, 1))
        assert one.test_images is None
    (tmp_path / "some.images").write_bytes(b"\x0a" * 3073)
    with pytest.raises(DataError, match=r"some\.images: a file of 3,073 bytes; expected one of"):
        data.open(tmp_path / "some.images")


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_the_pickled_version_is_refused_by_name(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).mkdir(exist_ok=True)
    for name in ("data_batch_1", "batches.meta"):
        (tmp_path / inner / name).write_bytes(b"\x80")
    with pytest.raises(DataError, match="holds CIFAR for Python programs, which is pickle and never read"):
        data.open(tmp_path)


def test_truncated_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    cifar10(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    for damaged in (whole[:-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"data_batch_3\.bin: .* bytes; expected a multiple of 3,073"):
            data.open(tmp_path)
    path.write_bytes(whole[: 3073 * 4] + b"\x0b" + whole[3073 * 4 + 1 :])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: image 4 has the label 11; expected 0 to 9"):
        data.open(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"expected also data_batch_3\.bin"):
        data.open(tmp_path)
