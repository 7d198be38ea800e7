"""Images that are read batch by batch: the same as those in memory, and never all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.images import pixels, save

from vecgrad import data
from vecgrad.data import LazyImages, Prefetch, batches
from vecgrad.data import _decoding as decoding
from vecgrad.spec.errors import ArgumentError, DataError

STORE = pixels(10, 3, 2, 1)


def lazy(places: Any = range(10)) -> LazyImages:
    return LazyImages(STORE.__getitem__, np.array(places, np.int64), (3, 2, 1), np.uint8)


@pytest.mark.parametrize(
    "key",
    [0, -1, np.int64(3), slice(2, 9, 3), slice(0, 0), np.array([4, 4, 0]), np.arange(10) % 2 == 0, [1, 2]],
)
def test_brackets_mean_what_they_mean_of_an_array(key: Any) -> None:
    places = np.array([3, 1, 4, 1, 5, 9, 2, 6, 0, 7])
    assert np.array_equal(lazy(places)[key], STORE[places][key])


def test_a_choice_reads_nothing_and_choices_add_up() -> None:
    read: list[list[int]] = []

    def reading(places: np.ndarray) -> np.ndarray:
        read.append(places.tolist())
        return STORE[places]

    images = LazyImages(reading, np.arange(10), (3, 2, 1), np.uint8)
    twice = images.take(np.array([8, 6, 4])).take(np.array([2, 0]))
    assert (read, twice.shape, len(twice), twice.ndim, twice.nbytes) == ([], (2, 3, 2, 1), 2, 4, 12)
    assert np.array_equal(np.asarray(twice), STORE[[4, 8]])
    assert read == [[4, 8]]
    assert np.asarray(twice, np.float64).dtype == np.float64


def tree(folder: Path, n: int = 9) -> None:
    for name in ("train/a", "train/b", "val/a", "test/b"):
        for number in range(n):
            save(folder / name / f"{number}.png", 6, 5, 3)


@pytest.mark.parametrize("keep", [0, 5 * 90, 20 * 90])
def test_what_memory_holds_changes_nothing(tmp_path: Path, keep: int) -> None:
    tree(tmp_path)
    whole, part = data.open(tmp_path), data.open(tmp_path, keep=keep)
    assert isinstance(whole.train_images, np.ndarray)
    assert isinstance(part.test_images, LazyImages)
    assert isinstance(part.train_images, LazyImages) == (keep < 18 * 90)
    assert part.preparation == whole.preparation
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(part, f"{name}_images")[:], getattr(whole, f"{name}_images"))
        assert np.array_equal(getattr(part, f"{name}_labels"), getattr(whole, f"{name}_labels"))
    assert part.test_digest() == whole.test_digest()
    assert str(part) == str(whole)


def test_a_split_of_lazy_images_is_the_split_of_the_array(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(8):
            save(tmp_path / name / f"{number}.png")
    whole, part = (data.open(tmp_path, validation=0.25, test=0.25, seed=4, keep=keep) for keep in (None, 100))
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(part, f"{name}_images")[:], getattr(whole, f"{name}_images"))
    later = data.open(tmp_path, keep=0).with_validation(0.25, seed=4)
    assert isinstance(later.validation_images, LazyImages)
    assert len(later.validation_images) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_decode_the_same_batches_in_order(tmp_path: Path, workers: int) -> None:
    tree(tmp_path)
    dataset = data.open(tmp_path, keep=300)
    whole = np.asarray(dataset.train_images)
    order = list(batches(18, 4, seed=1, epoch=2))
    with Prefetch(
        dataset.train_images, dataset.train_labels, order, depth=4, workers=workers,
        prepare=dataset.preparation.arrays,
    ) as loader:  # fmt: skip
        found = list(loader)
    assert len(found) == len(order)
    for (images, labels), chosen in zip(found, order, strict=True):
        assert np.array_equal(images, dataset.preparation.arrays(whole[chosen]))
        assert np.array_equal(labels, dataset.train_labels[chosen])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="workers must be from 1 to depth"):
        Prefetch(whole, None, order, depth=2, workers=3)


def test_a_file_that_breaks_after_the_door_is_named(tmp_path: Path) -> None:
    tree(tmp_path)
    images = data.open(tmp_path, keep=0).train_images
    path = tmp_path / "train" / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"a.1\.png: damaged image"):
        images[[0, 1]]
    save(path, 7, 7, 3)
    with pytest.raises(DataError, match=r"a.1\.png: has changed since"):
        images[[1]]
    path.unlink()
    with pytest.raises(DataError, match=r"a.1\.png: cannot be read: No such file"):
        images[[1]]


def test_threads_decode_what_one_thread_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, 40)
    one = data.open(tmp_path)
    monkeypatch.setattr(decoding, "_WORTH_A_THREAD", 0)
    monkeypatch.setattr(decoding, "_processors", lambda: 4)
    monkeypatch.setattr(decoding, "_RUN", 7)
    several = data.open(tmp_path)
    assert np.array_equal(one.train_images, several.train_images)
    for name in ("train/b/30.png", "train/b/9.png", "train/a/5.png"):
        (tmp_path / name).write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"a.5\.png: not an image"):
        data.open(tmp_path)
    skipped = data.open(tmp_path, broken="skip").skipped
    assert [text.split("train/")[1][:6] for text in skipped] == ["a/5.pn", "b/30.p", "b/9.pn"]


def arrays(folder: Path, images: np.ndarray) -> np.ndarray:
    np.save(folder / "x_train.npy", images)
    np.save(folder / "y_train.npy", np.arange(len(images)) % 2)
    return images


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, ">i2"])
def test_npy_files_stay_on_the_disk(tmp_path: Path, dtype: Any) -> None:
    images = arrays(tmp_path, pixels(12, 4, 3).astype(dtype))
    dataset = data.open(tmp_path, validation=0.25)
    assert isinstance(dataset.train_images, LazyImages)
    kept = data.open((images, np.arange(12) % 2), validation=0.25)
    assert np.array_equal(dataset.train_images[:], kept.train_images)
    assert dataset.preparation == kept.preparation
    assert isinstance(data.open(tmp_path).train_images, np.memmap)


def test_mapped_arrays_in_other_orders_stay_mapped(tmp_path: Path) -> None:
    images = arrays(tmp_path, pixels(6, 3, 4, 5))
    dataset = data.open(tmp_path, data_format="channels_first")
    assert isinstance(dataset.train_images, np.memmap)
    assert np.array_equal(dataset.train_images, np.moveaxis(images, 1, -1))


def test_a_large_npz_is_mapped_where_it_is_not_packed(tmp_path: Path) -> None:
    images = pixels(6, 4, 3)
    np.savez(tmp_path / "a.npz", X=np.asfortranarray(images), y=np.arange(6) % 2)
    np.savez_compressed(tmp_path / "b.npz", X=images, y=np.arange(6) % 2)
    for name, keep, mapped in (("a", 10, True), ("a", None, False), ("b", 10, False)):
        found = data.open(tmp_path / f"{name}.npz", keep=keep).train_images
        assert isinstance(found, np.memmap) == mapped
        assert np.array_equal(found[..., 0], images)


def test_npy_files_that_lie_are_refused(tmp_path: Path) -> None:
    images = arrays(tmp_path, pixels(6, 4, 3).astype(np.float32))
    path = tmp_path / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"x_train\.npy: cannot be read as an array"):
        data.open(tmp_path)
    images[4, 1, 2] = np.nan
    arrays(tmp_path, images)
    with pytest.raises(DataError, match=r"image 4 holds nan at \(row, column, channel\) = \(1, 2, 0\)"):
        data.open(tmp_path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x_train\.npy: cannot be read as an array: .*[Oo]bjects"):
        data.open(tmp_path)


def test_of_many_images_some_tell_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    from vecgrad.data import _preparation as preparation

    monkeypatch.setattr(preparation, "_MOST_COUNTED", 4)
    monkeypatch.setattr(preparation, "_CHUNK", 2)
    images = pixels(10, 3, 2, 1)
    found = preparation.Preparation.of(images)
    assert found.mean[0] == pytest.approx(images[::3].mean() / 255)
    assert found.std[0] == pytest.approx(images[::3].std() / 255)
    weights = np.arange(1.0, 11.0)
    weighted = preparation.Preparation.of(images, weights=weights).mean[0]
    assert weighted == pytest.approx(np.average(images[::3].mean((1, 2, 3)), weights=weights[::3]) / 255)
