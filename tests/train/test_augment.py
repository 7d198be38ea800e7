"""Training with augmentations: the batches are those of the pipeline; stopping, keeping, and what a run holds of it."""

from __future__ import annotations

import csv
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import runs
from vecgrad.data import Preparation, batches, split
from vecgrad.data.augment import CutMix, Flip, Mixup, Normalize, PadCrop, Pipeline, from_json
from vecgrad.layers import Conv2D, Dense, Flatten, ReLU
from vecgrad.program import Program
from vecgrad.runtime import native_available
from vecgrad.spec.errors import ArgumentError, DataError, RunError, ShapeError, TrainingError
from vecgrad.train import EpochEnd, History, StepEnd, events, fit
from vecgrad.train._curve import _ticks, as_svg

Halves = tuple[np.ndarray, np.ndarray]
Made = Callable[..., Program]
STEPS = (Flip(vertical=True), PadCrop(1), Mixup(0.4), CutMix(probability=0.5))


def weights(program: Program) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in program.parameters.items()}


def test_every_step_sees_the_pipeline_s_batch(made: Made, halves: Halves) -> None:
    x, y = halves
    program, by_hand = made(seed=5), made(seed=5)
    history = fit(program, x, y, epochs=2, augment=STEPS)
    pipeline = Pipeline.of(STEPS, x, y, classes=2)
    for epoch in (0, 1):
        for chosen in batches(30, 8, seed=5, epoch=epoch):
            by_hand.step(*pipeline.batch(chosen, seed=5, epoch=epoch))
    assert weights(program) == weights(by_hand)
    assert from_json(history.settings["augment"]) == STEPS
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]


def test_a_second_fit_goes_on_with_new_draws(made: Made, halves: Halves) -> None:
    whole, parts, plain = made(), made(), made()
    fit(whole, *halves, epochs=3, augment="flip,pad-crop:1")
    fit(parts, *halves, epochs=2, augment="flip,pad-crop:1")
    fit(parts, *halves, epochs=1, augment="flip,pad-crop:1")
    fit(plain, *halves, epochs=3)
    assert weights(whole) == weights(parts)
    assert weights(whole) != weights(plain)


@pytest.mark.skipif(not native_available(), reason="needs llvmlite")
def test_the_same_bits_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 8, 8, 3), np.float32), rng.integers(0, 3, 60)
    found = []
    for threads in (1, 2):
        model = [Conv2D(4, 3), ReLU(), Flatten(), Dense(3)]
        program = vg.compile(model, (8, 8, 3), "cross_entropy", vg.SGD(0.1), batch_size=16, threads=threads)
        fit(program, x, y, epochs=2, augment="flip,pad-crop:2,affine:10,color-jitter:0.2:0.2:0.2:0.1,cutmix")
        found.append(weights(program))
    assert found[0] == found[1]


def test_raw_pixels_with_normalize(made: Made, halves: Halves) -> None:
    x, y = np.rint(halves[0] * 100).astype(np.uint8), halves[1]
    program, twin = made(), made()
    history = fit(program, x[:20], y[:20], epochs=3, augment=Normalize(), validation=(x[20:], y[20:]))
    preparation = Preparation.of(x[:20])
    assert Preparation.from_json(program.data["preparation"]) == preparation
    ready = preparation.arrays(x)
    same = fit(twin, ready[:20], y[:20], epochs=3, validation=(ready[20:], y[20:]))
    assert weights(program) == weights(twin)
    assert history.validation_loss == same.validation_loss
    assert history.accuracy == same.accuracy
    with pytest.raises(DataError, match="uint8"):
        fit(made(), x, y, augment=Flip())


def test_images_of_weight_zero_are_never_mixed_in(made: Made, halves: Halves) -> None:
    x, y = halves
    w = np.ones(30)
    w[8:16] = 0
    other = x.copy()
    other[8:16] = 7  # what they hold changes nothing
    found = []
    for images in (x, other):
        program = made()
        fit(program, images, y, epochs=2, sample_weight=w, augment=Mixup(1.0))
        found.append(weights(program))
    assert found[0] == found[1]


def test_a_listener_that_leaves_takes_the_thread_along(made: Made, halves: Halves) -> None:
    for event in events(made(), *halves, epochs=2, augment="flip"):
        if isinstance(event, StepEnd):
            break
    del event
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name and thread.is_alive()]


def test_ctrl_c_between_augmented_steps(made: Made, halves: Halves) -> None:
    def stop(event: object) -> None:
        if isinstance(event, StepEnd) and (event.epoch, event.step) == (2, 3):
            raise KeyboardInterrupt

    program = made()
    history = fit(program, *halves, epochs=5, augment="flip", on_event=stop, validation=0.2, keep="best")
    assert history.interrupted
    assert len(history.epochs) == history.best_epoch == 1
    assert program.steps == 3
    assert history.last.steps == 6
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_ends_its_thread(made: Made, halves: Halves) -> None:
    program = made(loss="mse", optimizer=vg.SGD(1e30))
    with pytest.raises(TrainingError):
        fit(program, halves[0], np.eye(2)[halves[1]], epochs=50, augment="flip,mixup")
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]


def test_a_fraction_is_held_out(made: Made, halves: Halves) -> None:
    x, y = halves
    w = np.linspace(1, 2, 30)
    program, twin = made(seed=3), made(seed=3)
    history = fit(program, x, y, epochs=2, validation=0.25, sample_weight=w)
    kept, apart = split(y, 0.25, 3)
    same = fit(twin, x[kept], y[kept], epochs=2, validation=(x[apart], y[apart]), sample_weight=w[kept])
    assert weights(program) == weights(twin)
    assert history.validation_loss == same.validation_loss
    assert history.settings["validation_images"] == len(apart)


def test_patience_ends_the_training(made: Made, halves: Halves) -> None:
    x, y = halves
    data = (x[:20], y[:20])
    turned = (x[20:], 1 - y[20:])  # learning makes it worse: the first epoch is the best
    program, first, fourth = made(), made(), made()
    history = fit(program, *data, epochs=50, validation=turned, patience=3, keep="best")
    assert (len(history.epochs), history.stopped_early, history.best_epoch) == (4, True, 1)
    assert history.to_json()["settings"]["stopped_early"] is True
    fit(first, *data, epochs=1)
    fit(fourth, *data, epochs=4)
    assert weights(program) == weights(first)
    assert {name: array.tolist() for name, array in history.last.parameters.items()} == weights(fourth)
    assert history.last.steps == fourth.steps
    last = made()
    assert fit(last, *data, epochs=50, validation=turned, patience=3).best_epoch is None
    assert weights(last) == weights(fourth)


def test_a_run_holds_the_best_the_last_and_the_curve(made: Made, halves: Halves, tmp_path: Path) -> None:
    x, y = halves
    program = made()
    history = fit(
        program,
        x[:20],
        y[:20],
        epochs=5,
        validation=(x[20:], 1 - y[20:]),
        keep="best",
        augment="flip:false:true",
    )
    for _ in range(2):  # the second replaces the first
        program.save(tmp_path / "run", history=history)
    best, last = (vg.load(tmp_path / name, backend="reference") for name in ("run", "run/last"))
    assert (best.steps, last.steps) == (3, 15)
    assert weights(best) == weights(program)
    assert {name: array.tolist() for name, array in history.last.parameters.items()} == weights(last)
    assert runs.read(tmp_path / "run").training["augment"][0]["class"] == "Flip"
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [float(row["validation_loss"]) for row in rows] == history.validation_loss
    drawn = ElementTree.parse(tmp_path / "run" / "curve.svg").getroot()
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [5, 5, 5, 5]
    (tmp_path / "run" / "last" / "mine.txt").write_text("kept")
    with pytest.raises(RunError, match=r"mine\.txt"):
        program.save(tmp_path / "run", history=history)
    assert (tmp_path / "run" / "last" / "mine.txt").exists()


def test_the_curve_rises_where_numbers_do(made: Made, halves: Halves) -> None:
    history = fit(made(), *halves, epochs=3)
    drawn = ElementTree.fromstring(history.pages()["curve.svg"])
    line = drawn.find("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    across, down = zip(*points, strict=True)
    assert list(across) == sorted(across)
    assert np.argsort(down).tolist() == np.argsort(history.loss)[::-1].tolist()
    assert as_svg(history.epochs[:1]).count("<circle") == 2
    assert History(()).pages() == {}


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.31, 0.87), (2.0, 2.0), (0.0, 0.0), (1e-9, 3e-9), (-5, 900)]
)
def test_ticks_are_few_and_around_the_numbers(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": "first"}, "keep must be"),
        ({"keep": "best"}, 'keep="best" goes by'),
        ({"patience": 2}, "patience goes by"),
        ({"patience": 0, "validation": 0.5}, "patience must be"),
        ({"validation": 1.5}, "between 0 and 1"),
        ({"augment": "flop"}, "no augmentation 'flop'"),
        ({"augment": PadCrop(4)}, "reflected by at most 3"),
    ],
)
def test_bad_options(made: Made, halves: Halves, options: dict, words: str) -> None:
    program = made()
    with pytest.raises(ArgumentError, match=words):
        fit(program, *halves, **options)
    assert program.steps == 0


def test_augmentations_need_images(halves: Halves) -> None:
    flat = vg.compile(Dense(2), (16,), "cross_entropy", vg.SGD(0.1), batch_size=8, backend="reference")
    with pytest.raises(ArgumentError, match="needs a network for images"):
        fit(flat, halves[0].reshape(30, 16), halves[1], augment="flip")


def test_it_learns_what_augmentation_teaches() -> None:
    """Bars trained at one place and tested at others, which crops have shown it."""
    x, y = np.zeros((40, 9, 9, 1), np.float32), np.arange(40) % 2
    x[y == 0, 4, 2:7] = 1
    x[y == 1, 2:7, 4] = 1
    x += np.random.default_rng(0).random(x.shape, np.float32) * 0.1
    moved = np.roll(x, (2, -2), axis=(1, 2))
    scores = []
    for augment in (None, "pad-crop:3:zero"):
        model = [Conv2D(8, 3), ReLU(), Flatten(), Dense(2)]
        program = vg.compile(model, (9, 9, 1), "cross_entropy", vg.SGD(0.05, momentum=0.9), batch_size=10,
                             seed=1, backend="reference")  # fmt: skip
        fit(program, x, y, epochs=25, augment=augment)
        scores.append(program.evaluate(moved, y).loss)
    assert scores[1] < 0.5 * scores[0]
    assert scores[1] < 0.2


def test_tta_averages_what_the_network_says() -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.random((21, 6, 5, 2), np.float32), rng.integers(0, 3, 21), rng.random(21)
    model = [Conv2D(3, 3), ReLU(), Flatten(), Dense(3)]
    given = {"batch_size": 8, "backend": "reference", "dtype": "float64"}
    program = vg.compile(model, (6, 5, 2), "cross_entropy", **given)
    x = x.astype(np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    moved = [padded[:, :6, :5], padded[:, 2:, 2:]]
    flip = (program.forward(x) + program.forward(x[:, :, ::-1])) / 2
    shift = sum(program.forward(m) + program.forward(m[:, :, ::-1]) for m in moved) / 4
    np.testing.assert_allclose(program.forward(x, tta="flip"), flip, rtol=1e-12)
    mean = (flip + shift) / 2
    np.testing.assert_allclose(program.forward(x, tta="flip-shift"), mean, rtol=1e-12)
    softmax = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(program.predict_proba(x, tta="flip-shift"), softmax, rtol=1e-12)
    found = program.evaluate(x, y, w, tta="flip-shift")
    assert found.loss == pytest.approx(np.average(-np.log(softmax[np.arange(21), y]), weights=w), rel=1e-9)
    assert found.accuracy == pytest.approx(np.average(softmax.argmax(axis=1) == y, weights=w), rel=1e-9)
    assert found.images == 21
    mirrored = program.evaluate(x[:, :, ::-1], y, tta="flip")
    assert mirrored.loss == pytest.approx(program.evaluate(x, y, tta="flip").loss, rel=1e-12)
    with pytest.raises(ArgumentError, match="tta must be one of"):
        program.forward(x, tta="turn")
    with pytest.raises(ShapeError, match="at least one image"):
        program.evaluate(x[:0], y[:0], tta="flip")
    assert program.forward(x[:0], tta="flip").shape == (0, 3)
    flat = vg.compile(Dense(2), (4,), "cross_entropy", backend="reference")
    with pytest.raises(ArgumentError, match="tta needs a network for images"):
        flat.forward(np.zeros((1, 4), np.float32), tta="flip")


def test_tta_measures_by_the_loss_as_it_is() -> None:
    """Smoothed labels, weights of classes; and probabilities of another loss than cross entropy."""
    x, y = np.random.default_rng(0).random((9, 4, 4, 1)), np.arange(9) % 2
    x = x + x[:, :, ::-1]  # which looks the same in the mirror
    given = {"batch_size": 9, "backend": "reference", "dtype": "float64"}
    loss = vg.losses.CrossEntropy(label_smoothing=0.2, class_weight=(1.0, 3.0))
    program = vg.compile([Flatten(), Dense(2)], (4, 4, 1), loss, **given)
    assert program.evaluate(x, y, tta="flip").loss == pytest.approx(program.evaluate(x, y).loss, rel=1e-12)
    yes = vg.compile([Flatten(), Dense(1)], (4, 4, 1), "binary_cross_entropy", **given)
    np.testing.assert_allclose(yes.predict_proba(x, tta="flip"), yes.predict_proba(x), rtol=1e-12)


def test_an_epoch_is_told_as_before(made: Made, halves: Halves) -> None:
    ends = [
        event for event in events(made(), *halves, epochs=2, augment="flip") if isinstance(event, EpochEnd)
    ]
    assert [event.record.epoch for event in ends] == [1, 2]
    assert all(event.record.images == 30 and event.record.images_per_second > 0 for event in ends)
