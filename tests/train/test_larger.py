"""Sets that memory does not hold: the same bits as in memory, a few batches alive at a time, damage named."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vecgrad as vg
from vecgrad import data
from vecgrad.data import LazyImages, Preparation
from vecgrad.data import _memory as memory
from vecgrad.layers import Dense, Flatten, Rescale
from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError, DataError, ShapeError
from vecgrad.train import EpochEnd, events, fit, report

Made = Callable[..., Program]
Pixels = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def pixels(halves: Pixels) -> Pixels:
    return np.rint(halves[0] * 100).astype(np.uint8), halves[1]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for any copy of images."""
    monkeypatch.setattr(memory, "memory_for_images", lambda: 0)


class Store:
    """Reads images as a lazy data set does, and knows how many that it has read are still alive."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.alive, self.most, self.read = images, 0, 0, 0
        self._lock = threading.Lock()

    def __call__(self, places: np.ndarray) -> np.ndarray:
        found = self.images[places]
        with self._lock:
            self.read += len(places)
            self.alive += len(places)
            self.most = max(self.most, self.alive)
        weakref.finalize(found, self._gone, len(places))
        return found

    def _gone(self, count: int) -> None:
        with self._lock:
            self.alive -= count

    def lazy(self) -> LazyImages:
        return LazyImages(self, np.arange(len(self.images)), self.images.shape[1:], self.images.dtype)


def weights(program: Program) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in program.parameters.items()}


@pytest.mark.parametrize("augment", [None, "flip,pad-crop:1"])
def test_a_few_batches_are_alive_whatever_the_number_of_images(made: Made, augment: str | None) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (1200, 4, 4, 1)).astype(np.uint8), rng.integers(0, 2, 1200)
    store, test = Store(x), Store(x[:600])
    whole, few = made(), made()
    for program, images, unseen in ((whole, x, x[:600]), (few, store.lazy(), test.lazy())):
        preparation = Preparation.of(x)
        dataset = data.Dataset(
            "set", images, y, ("a", "b"), preparation, validation_images=unseen, validation_labels=y[:600]
        )
        history = fit(program, dataset, epochs=2, augment=augment)
        assert Preparation.from_json(program.data["preparation"]) == preparation
        assert program.data["class_names"] == ["a", "b"]
        found = program.evaluate(unseen, y[:600])
        assert (history.validation_loss[-1], history.validation_accuracy[-1]) == (found.loss, found.accuracy)
    assert weights(whole) == weights(few)
    # Two epochs, and in each a sample of 400 for the accuracy; a batch of augmented images looks at 1024 once more.
    assert store.read in (2 * 1200 + 2 * 400, 2 * 1200 + 2 * 400 + 1024 + 1)
    assert store.alive == test.alive == 0
    # Batches of 8: three ahead, one in use, one about to be dropped; what augmentations look at comes before.
    assert max(store.most if augment is None else 0, test.most) <= 5 * 8


def test_lazy_images_are_what_arrays_are(made: Made, halves: Pixels) -> None:
    x, y = halves
    whole, lazy = made(), made()
    one = fit(whole, x, y, epochs=2, validation=0.2)
    two = fit(lazy, Store(x).lazy(), y, epochs=2, validation=0.2)
    assert weights(whole) == weights(lazy)
    assert [e.loss for e in one.epochs] == [e.loss for e in two.epochs]
    assert one.validation_loss == two.validation_loss
    unread = Store(x).lazy()
    for say in (whole.forward, whole.predict_proba, lambda x: whole.forward(x, tta="flip-shift")):
        assert np.array_equal(say(unread), say(x))
    assert whole.evaluate(unread, y) == whole.evaluate(x, y)
    assert whole.step(unread.take(np.arange(4)), y[:4]) == lazy.step(x[:4], y[:4])
    assert str(report(whole, unread, y)) == str(report(whole, x, y))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, ">i2", np.float32])
def test_mapped_files_train_as_arrays_do(
    made: Made, pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    x, y = pixels[0].astype(dtype), pixels[1]
    for name, array in (("x_train", x), ("y_train", y), ("x_test", x[:8]), ("y_test", y[:8])):
        np.save(tmp_path / f"{name}.npy", array)
    mapped, here = data.open(tmp_path), data.open(((x, y), (x[:8], y[:8])))
    one, two = made(), made()
    fit(one, here, epochs=2, validation=0.2)
    monkeypatch.setattr(memory, "memory_for_images", lambda: 0)
    fit(two, mapped, epochs=2, validation=0.2)
    assert weights(one) == weights(two)
    assert one.evaluate(*here.part("test")) == two.evaluate(*mapped.part("test"))
    with pytest.raises(ArgumentError, match="has no validation images"):
        mapped.part("validation")


def test_a_mapped_set_beyond_the_limit_of_memory_trains(tmp_path: Path) -> None:
    """32 MB of pixels, 128 MB as float32, and 40 MB that the process may grow by (pages of files left out)."""
    told = Path("/proc/self/status")
    if not told.exists() or "RssAnon" not in told.read_text():
        pytest.skip("the system does not tell what memory belongs to the process alone")

    def resident() -> int:
        line = next(line for line in told.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    n, side = 2048, 128
    x = np.lib.format.open_memmap(tmp_path / "x_train.npy", "w+", np.uint8, (n, side, side, 1))
    x[...] = np.random.default_rng(0).integers(0, 256, (1, side, side, 1))
    x[::2] //= 2
    np.save(tmp_path / "y_train.npy", np.arange(n) % 2)
    del x
    dataset = data.open(tmp_path, validation=0.25)
    model = [Flatten(), Dense(2)]
    program = vg.compile(
        model, (side, side, 1), "cross_entropy", vg.SGD(1e-5), batch_size=32, backend="reference"
    )
    program.step(np.zeros((32, side, side, 1), np.float32), np.arange(32) % 2)
    before, most = resident(), 0
    for event in events(program, dataset, epochs=1):
        most = max(most, resident())
        if isinstance(event, EpochEnd):
            assert event.record.validation_accuracy is not None
    assert most - before < 40 << 20


def test_integers_that_a_model_rescales_are_converted_in_batches(
    pixels: Pixels, little: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> Program:
        model = [Rescale(1 / 255), Dense(2)]
        return vg.compile(model, (4, 4, 1), "cross_entropy", vg.SGD(0.1), batch_size=8, backend="reference")

    x, y = pixels
    program, twin, third = made(), made(), made()
    assert isinstance(program.check_images(x), LazyImages)
    fit(program, x, y, epochs=2, validation=0.2)
    fit(third, data.open((x, y)), epochs=2, validation=0.2)  # its preparation is not done as well
    assert "preparation" not in third.data
    monkeypatch.undo()
    assert isinstance(twin.check_images(x), np.ndarray)
    fit(twin, x, y, epochs=2, validation=0.2)
    assert weights(program) == weights(twin) == weights(third)


def test_raw_pixels_of_a_program_that_knows_its_preparation(made: Made, pixels: Pixels) -> None:
    x, y = pixels
    program = made()
    fit(program, data.open((x, y)), epochs=2)
    ready = Preparation.of(x).arrays(x)
    assert np.array_equal(program.forward(x), program.forward(ready))
    again, twin = made(), made()
    again.data = program.data
    fit(again, x, y, epochs=2, augment="flip,color-jitter:0.2:0.2")
    fit(twin, data.open((x, y)), epochs=2, augment="flip,color-jitter:0.2:0.2")
    assert weights(again) == weights(twin)
    # Floats have been prepared; and whole numbers mean nothing to a program that was trained on others.
    floats = made()
    fit(floats, data.open((x / 255.0, y)), epochs=1)
    with pytest.raises(DataError, match="images have dtype uint8"):
        floats.forward(x)


def test_a_program_s_own_preparation_stays(made: Made, pixels: Pixels) -> None:
    x, y = pixels
    program, twin = made(), made()
    program.data = {"preparation": Preparation.of(x[:10]).to_json(), "note": 1}
    fit(program, data.open((x, y)), epochs=1)
    fit(twin, Preparation.of(x[:10]).arrays(x), y, epochs=1)
    assert weights(program) == weights(twin)
    assert program.data["note"] == 1
    assert program.data["class_names"] == ["0", "1"]


def folder(place: Path, n: int = 8) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [place / name / f"{number}.png" for name in "ab" for number in range(n)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4)).astype(np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("augment", [None, "flip"])
def test_a_file_that_breaks_while_training_is_named(tmp_path: Path, made: Made, augment: str | None) -> None:
    paths = folder(tmp_path)
    dataset = data.open(tmp_path, keep=0)
    paths[5].write_bytes(paths[5].read_bytes()[:60])
    with pytest.raises(DataError, match=r"a.5\.png: damaged image"):
        fit(made(batch_size=4), dataset, epochs=1, augment=augment)
    with pytest.raises(DataError, match=r"a.5\.png: damaged image"):
        made().forward(dataset.part("train")[0])
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]
    again = data.open(tmp_path, keep=0, broken="skip")
    assert len(again.skipped) == 1
    assert fit(made(), again, epochs=1, augment=augment).settings["images"] == 15


def test_an_entry_that_is_not_finite_is_named(
    made: Made, halves: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = halves[0].copy(), halves[1]
    x[17, 2, 3, 0] = np.nan
    program = made()
    before = weights(program)
    with pytest.raises(DataError, match=r"among the images \d+ to \d+: .*nan"):
        fit(program, Store(x).lazy(), y, shuffle=False)
    assert program.steps == 2
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    program = made()
    monkeypatch.setattr(memory, "memory_for_images", lambda: 0)
    with pytest.raises(DataError, match=r"among the images 0 to 29: .*nan"):
        fit(program, np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    assert (program.steps, weights(program)) == (0, before)


def test_bad_input(made: Made, pixels: Pixels) -> None:
    x, y = pixels
    dataset = data.open((x, y))
    for X, labels, error, words in (
        (dataset, y, ArgumentError, "leave y out"),
        (x, None, ArgumentError, "y is missing"),
        (Store(x).lazy(), y, DataError, "images have dtype uint8.*Dataset"),
        (Store(x.astype(np.float32)[:, :3]).lazy(), y, ShapeError, "expected"),
        (Store(x.astype(np.float32)).lazy(), y[:-1], DataError, "29 labels"),
    ):
        with pytest.raises(error, match=words):
            fit(made(), X, labels)
    with pytest.raises(ArgumentError, match="has validation images already"):
        fit(made(), dataset.with_validation(0.2), validation=0.2)
    with pytest.raises(ArgumentError, match="leave Normalize out"):
        fit(made(), dataset, augment="normalize")
    with pytest.raises(ArgumentError, match=r"dataset\.part"):
        made().evaluate(dataset, y)
