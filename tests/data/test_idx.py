"""IDX files: every spelling of their names, and no header believed further than its file goes."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vecgrad import data
from vecgrad.data._idx import read_idx
from vecgrad.spec.errors import DataError

RNG = np.random.default_rng(3)


def idx(array: np.ndarray, code: int = 8, shape: tuple[int, ...] | None = None) -> bytes:
    shape = array.shape if shape is None else shape
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def mnist_like(folder: Path, separator: str = "-", suffix: str = "") -> dict[str, np.ndarray]:
    arrays = {}
    for prefix, n in (("train", 30), ("t10k", 20)):
        for kind, array in (
            ("images-idx3", RNG.integers(0, 256, (n, 7, 5), dtype=np.uint8)),
            ("labels-idx1", (np.arange(n) % 10).astype(np.uint8)),
        ):
            arrays[f"{prefix}-{kind}"] = array
            write(folder / f"{prefix}-{kind.replace('-', separator)}-ubyte{suffix}", idx(array))
    return arrays


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_every_spelling_of_the_names_is_found(tmp_path: Path, separator: str, suffix: str) -> None:
    arrays = mnist_like(tmp_path, separator, suffix)
    dataset = data.open(tmp_path)
    assert dataset.test_images is not None
    assert dataset.test_labels is not None
    assert np.array_equal(dataset.train_images[..., 0], arrays["train-images-idx3"])
    assert np.array_equal(dataset.train_labels, arrays["train-labels-idx1"])
    assert np.array_equal(dataset.test_images[..., 0], arrays["t10k-images-idx3"])
    assert np.array_equal(dataset.test_labels, arrays["t10k-labels-idx1"])
    assert dataset.preparation.scale == 255
    assert dataset.classes == 10
    assert dataset.name == tmp_path.name


def test_spellings_may_be_mixed_and_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    mnist_like(tmp_path)
    plain = tmp_path / "train-images-idx3-ubyte"
    plain.rename(tmp_path / "train-images.idx3-ubyte.gz")
    packed = tmp_path / "t10k-labels-idx1-ubyte"
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    assert len(data.open(str(tmp_path)).train_images) == 30


@pytest.mark.parametrize(
    "missing", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
)
def test_a_missing_file_is_named_with_what_is_there(tmp_path: Path, missing: str) -> None:
    mnist_like(tmp_path)
    (tmp_path / f"{missing}-ubyte").unlink()
    with pytest.raises(DataError, match=r"a folder that holds .*; expected also one of") as caught:
        data.open(tmp_path)
    looked_for = str(caught.value).split("one of ")[1].split(", ")
    stem, kind = missing.rsplit("-", 1)
    assert looked_for == [f"{stem}{s}{kind}-ubyte{gz}" for s in "-." for gz in ("", ".gz")]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with the bytes \(none\)"),
        (b"\x89PNG\r\n\x1a\n0000", "89 50 4e 47"),
        (idx(np.zeros((2, 2, 2), np.uint8), code=0x0D), r"0x0d \(float32\); only 0x08"),
        (idx(np.zeros((2, 2, 2), np.uint8), code=0x77), r"0x77 \(unknown\)"),
        (idx(np.zeros(8, np.uint8)), "array of 1 dimensions; images have 3"),
        (idx(np.zeros((2, 2, 2), np.uint8))[:10], "ends inside its header"),
        (idx(np.zeros((0, 2, 2), np.uint8)), "0 × 2 × 2: there is nothing in it"),
        (idx(np.zeros((2, 2, 2), np.uint8))[:-1], "takes 24 bytes, but there are 23: the file is cut short"),
        (idx(np.zeros((2, 2, 2), np.uint8)) + b"x", "but there are (more than 24|25): the file is too long"),
        (idx(np.zeros(8, np.uint8), shape=(2**32 - 1,) * 3), "4,294,967,295 × 4,294,967,295 × 4,294,967,295"),
        (idx(np.zeros(8, np.uint8), shape=(1, 100, 300)), "100 × 300"),
    ],
)
def test_a_lying_file_is_refused(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    path = write(tmp_path / f"train-images-idx3-ubyte{suffix}", content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 3)
    assert path.name in str(caught.value)


def test_a_header_never_makes_memory_be_taken(tmp_path: Path) -> None:
    # The gzip file is large enough for its promise of 1 GB to be possible, and then breaks it.
    noise = RNG.integers(0, 256, 2_000_000, dtype=np.uint8)
    path = write(tmp_path / "x.gz", idx(noise, shape=(1000, 1000, 1000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="cut short"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.gz", idx(RNG.integers(0, 256, 4_000_000, dtype=np.uint8), shape=(1, 60_000, 60_000))
    )
    with pytest.raises(DataError, match=r"promises 3,600,000,000 bytes; unpack it with gunzip"):
        read_idx(path, 3)


def test_what_follows_the_promised_bytes_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gz", idx(np.zeros(50_000_000, np.uint8), shape=(1, 10, 10)))
    tracemalloc.start()
    with pytest.raises(DataError, match="but there are more than 116"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(idx(RNG.integers(0, 256, (5, 9, 9), dtype=np.uint8)))
    path = tmp_path / "x.gz"
    checksum = len(whole) - 8
    for damaged in (
        whole[:-1],
        whole[: len(whole) // 2],
        whole[:12],
        whole[:checksum] + bytes([whole[checksum] ^ 1]) + whole[checksum + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.gz: damaged gzip file"):
            read_idx(path, 3)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x2C]) + whole[at + 1 :])
        with contextlib.suppress(DataError):
            read_idx(path, 3)


def test_images_and_labels_must_belong_together(tmp_path: Path) -> None:
    mnist_like(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", idx(np.zeros(21, np.uint8)))
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte: 21 labels for the 20 images of t10k-images"
    ):
        data.open(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", idx(np.zeros((20, 2, 2), np.uint8)))
    with pytest.raises(DataError, match="labels have 1: are two files swapped"):
        data.open(tmp_path)


def test_the_arrays_can_be_written_to(tmp_path: Path) -> None:
    # A read-only array here would only fail later, in somebody's augmentation.
    for name in ("x", "x.gz"):
        assert read_idx(write(tmp_path / name, idx(np.ones((2, 3, 4), np.uint8))), 3).flags.writeable


def test_mnist_itself(mnist: Path) -> None:
    dataset = data.open(mnist)
    assert str(dataset) == "mnist: 60,000 training, 10,000 test images of 28×28×1, 10 classes"
    assert np.bincount(dataset.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert dataset.preparation.mean == pytest.approx((0.13066,), abs=1e-5)
    assert dataset.preparation.std == pytest.approx((0.30811,), abs=1e-5)
    assert dataset.preparation.background == 0
