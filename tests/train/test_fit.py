"""The loop: what it does to the program, what it tells, how it ends."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.data import batches
from vecgrad.losses import CrossEntropy
from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError, DataError, ShapeError, TrainingError
from vecgrad.train import Cosine, EpochEnd, EpochStart, Event, StepEnd, Warmup, events, fit

Halves = tuple[np.ndarray, np.ndarray]
Made = Callable[..., Program]


def weights(program: Program) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in program.parameters.items()}


def test_it_learns(made: Made, halves: Halves) -> None:
    program = made()
    history = fit(program, *halves, epochs=8)
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert history.accuracy[-1] == 1.0
    assert program.evaluate(*halves).accuracy == 1.0
    assert program.steps == 8 * 4


def test_the_accuracy_of_training_images_need_not_be_measured(made: Made, halves: Halves) -> None:
    program, other = made(), made()
    history = fit(program, *halves, epochs=2, training_accuracy=False)
    assert history.accuracy == [None, None]
    assert history.loss == fit(other, *halves, epochs=2).loss
    assert weights(program) == weights(other)


def test_it_makes_exactly_the_steps_of_its_batches(made: Made, halves: Halves) -> None:
    program, by_hand = made(seed=5), made(seed=5)
    history = fit(program, *halves, epochs=2)
    losses = [
        [by_hand.step(halves[0][i], halves[1][i]) for i in batches(30, 8, seed=5, epoch=epoch)]
        for epoch in (0, 1)
    ]
    assert weights(program) == weights(by_hand)
    sizes = np.array([8, 8, 8, 6])
    assert history.loss == pytest.approx([float(np.dot(sizes, each) / 30) for each in losses], rel=1e-12)


def test_the_seed_decides_and_nothing_else(made: Made, halves: Halves) -> None:
    one, same, other = made(seed=1), made(seed=1), made(seed=2)
    for program in (one, same, other):
        fit(program, *halves, epochs=2)
    assert weights(one) == weights(same)
    assert weights(one) != weights(other)


def test_a_second_fit_goes_on_with_new_orders(made: Made, halves: Halves) -> None:
    whole, parts = made(), made()
    fit(whole, *halves, epochs=4)
    first, second = fit(parts, *halves, epochs=3), fit(parts, *halves, epochs=1)
    assert weights(whole) == weights(parts)
    assert [e.epoch for e in first.epochs + second.epochs] == [1, 2, 3, 4]


def test_unshuffled_keeps_the_order(made: Made, halves: Halves) -> None:
    program, by_hand = made(), made()
    fit(program, *halves, epochs=1, shuffle=False)
    for start in range(0, 30, 8):
        by_hand.step(halves[0][start : start + 8], halves[1][start : start + 8])
    assert weights(program) == weights(by_hand)


def test_the_schedule_multiplies_the_rate_from_step_to_step(made: Made, halves: Halves) -> None:
    program, rates = made(), []

    def listen(event: Event) -> None:
        if isinstance(event, StepEnd):
            rates.append(event.learning_rate)

    history = fit(program, *halves, epochs=2, schedule="cosine", on_event=listen)
    assert rates == [0.2 * Cosine().factor(i / 8) for i in range(8)]
    assert history.epochs[-1].learning_rate == rates[-1]
    assert history.settings["schedule"] == {"class": "Cosine", "warmup": 0.0, "final": 0.0}


def test_weights_count_as_repetitions_do(made: Made, halves: Halves) -> None:
    x, y = halves[0][:8], halves[1][:8]
    weighted, twice = made(batch_size=16), made(batch_size=16)
    fit(weighted, x, y, epochs=1, sample_weight=np.full(8, 2.0), shuffle=False)
    fit(twice, np.repeat(x, 2, axis=0), np.repeat(y, 2), epochs=1, shuffle=False)
    for name, array in twice.parameters.items():
        np.testing.assert_allclose(weighted.parameters[name], array, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_an_epoch_weighs_classes_as_the_loss_does(
    made: Made, halves: Halves, weighted: bool
) -> None:
    """A batch without a rare class counts for little."""
    (x, y), program = halves, made(loss=CrossEntropy(class_weight=(0.1, 3.0)), optimizer=vg.SGD(0.0))
    order = np.argsort(y)
    w = np.linspace(0.5, 2, len(y)) if weighted else None
    for labels in (y[order], np.eye(2)[y[order]]):
        history = fit(program, x[order], labels, epochs=1, shuffle=False, sample_weight=w)
        assert history.loss[0] == pytest.approx(program.evaluate(x[order], labels, w).loss, rel=1e-5)


def test_images_of_weight_zero_are_as_if_absent(made: Made, halves: Halves) -> None:
    x, y = halves
    w = np.ones(30)
    w[8:16] = 0  # a whole batch
    w[0] = 0
    weighted, without = made(), made()
    history = fit(weighted, x, y, epochs=1, sample_weight=w, shuffle=False)
    for part in (slice(1, 8), slice(16, 24), slice(24, 30)):
        without.step(x[part], y[part])
    assert weighted.steps == 3
    for name, array in without.parameters.items():
        np.testing.assert_allclose(weighted.parameters[name], array, rtol=1e-5)
    assert np.isfinite(history.loss[0])


def test_validation_is_measured_and_never_trained_on(made: Made, halves: Halves) -> None:
    x, y = halves
    plain, watched = made(), made()
    fit(plain, x[:20], y[:20], epochs=2)
    history = fit(watched, x[:20], y[:20], epochs=2, validation=(x[20:], y[20:]))
    assert weights(plain) == weights(watched)
    final = watched.evaluate(x[20:], y[20:])
    assert (history.validation_loss[-1], history.validation_accuracy[-1]) == (final.loss, final.accuracy)


def test_the_best_epoch_comes_back(made: Made, halves: Halves) -> None:
    x, y = halves
    # Labels of the validation images turned round: the first epoch is the best, as learning makes it worse.
    program, first = made(), made()
    history = fit(program, x[:20], y[:20], epochs=5, validation=(x[20:], 1 - y[20:]), keep="best")
    assert history.best_epoch == 1
    fit(first, x[:20], y[:20], epochs=1)
    assert weights(program) == weights(first)
    assert program.steps == first.steps
    assert len(history.epochs) == 5


def test_the_best_epoch_comes_back_with_its_average(made: Made, halves: Halves) -> None:
    x, y = halves
    rule = vg.SGD(0.2, momentum=0.5, average=0.9)
    program, first = made(optimizer=rule), made(optimizer=rule)
    history = fit(program, x[:20], y[:20], epochs=5, validation=(x[20:], 1 - y[20:]), keep="best")
    assert history.best_epoch == 1
    fit(first, x[:20], y[:20], epochs=1)
    assert program.average is not None
    assert first.average is not None
    assert history.last is not None
    for name, array in first.average.items():
        np.testing.assert_array_equal(program.average[name], array)
        assert not np.array_equal(history.last.state["average"][name], array)
    # It was measured with the average, and is so again.
    assert program.evaluate(x[20:], 1 - y[20:]).loss == history.validation_loss[0]
    program.averaged = False
    assert program.evaluate(x[20:], 1 - y[20:]).loss != history.validation_loss[0]


def test_the_best_epoch_needs_validation_images(made: Made, halves: Halves) -> None:
    with pytest.raises(ArgumentError, match="validation="):
        fit(made(), *halves, keep="best")


def test_targets_that_are_values(halves: Halves) -> None:
    x, _ = halves
    program = vg.compile(
        vg.layers.Dense(1), (4, 4, 1), "mse", vg.SGD(0.02), batch_size=8, backend="reference"
    )
    history = fit(program, x, x.mean(axis=(1, 2, 3)), epochs=20)
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert history.accuracy[-1] is None


def test_one_hot_targets_train_as_class_numbers_do(made: Made, halves: Halves) -> None:
    numbers, rows = made(), made()
    fit(numbers, *halves, epochs=1)
    fit(rows, halves[0], np.eye(2)[halves[1]], epochs=1)
    assert weights(numbers) == weights(rows)


def test_what_is_told(made: Made, halves: Halves) -> None:
    heard: list[Event] = []
    history = fit(made(), *halves, epochs=2, on_event=heard.append)
    assert [type(event) for event in heard] == 2 * [EpochStart, *4 * [StepEnd], EpochEnd]
    assert [event.images for event in heard if isinstance(event, StepEnd)] == 2 * [8, 8, 8, 6]
    assert heard[0] == EpochStart(1, 2, 4)
    assert [event.record for event in heard if isinstance(event, EpochEnd)] == list(history.epochs)
    told = json.loads(json.dumps(history.to_json(), allow_nan=False))
    assert [epoch["loss"] for epoch in told["epochs"]] == history.loss
    assert told["settings"]["images"] == 30


def test_verbose_prints_a_line_an_epoch(
    made: Made, halves: Halves, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vecgrad"):
        fit(made(), *halves, epochs=2)
        assert capsys.readouterr().out == ""
        assert len(caplog.records) == 2
        fit(made(), *halves, epochs=2, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1", "epoch 2"]


def test_whoever_stops_listening_stops_the_training(made: Made, halves: Halves) -> None:
    program = made()
    for event in events(program, *halves, epochs=100):
        if isinstance(event, StepEnd) and event.step == 3:
            break
    assert program.steps == 3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"X": np.zeros((30, 4, 3, 1), np.float32)}, ShapeError, "expected"),
        ({"X": np.zeros((30, 4, 4, 1), np.uint8)}, DataError, "Rescale"),
        ({"X": np.full((30, 4, 4, 1), np.nan, np.float32)}, DataError, "nan"),
        ({"X": np.zeros((0, 4, 4, 1), np.float32), "y": np.zeros(0, int)}, DataError, "no training images"),
        ({"y": np.zeros(29, int)}, DataError, "29 labels"),
        ({"y": np.full(30, 2)}, DataError, "expected an integer from 0 to 1"),
        ({"y": np.zeros(30)}, DataError, "integers"),
        ({"y": np.zeros((30, 3))}, ShapeError, "targets"),
        ({"epochs": 0}, ArgumentError, "epochs"),
        ({"epochs": 1.5}, ArgumentError, "epochs"),
        ({"schedule": "lineal"}, ArgumentError, "'cosine'"),
        ({"sample_weight": np.ones(3)}, ShapeError, "sample_weight"),
        ({"sample_weight": -np.ones(30)}, DataError, "negative"),
        ({"validation": np.zeros(3)}, ArgumentError, "validation must be"),
        ({"validation": (np.zeros((1, 4, 4, 1), np.float32), [5])}, DataError, "from 0 to 1"),
    ],
)
def test_bad_input_is_named_before_anything_changes(
    made: Made, halves: Halves, change: dict, error: type[Exception], words: str
) -> None:
    program = made()
    before = weights(program)
    with pytest.raises(error, match=words):
        fit(program, **({"X": halves[0], "y": halves[1]} | change))
    with pytest.raises(error, match=words):
        events(program, **({"X": halves[0], "y": halves[1]} | change))  # before the first event is asked for
    assert (weights(program), program.steps) == (before, 0)


def test_a_program_that_cannot_be_trained(made: Made, halves: Halves) -> None:
    with pytest.raises(ArgumentError, match="optimizer"):
        fit(made(optimizer=None), *halves)


def test_a_loss_that_is_no_number_ends_the_training(made: Made, halves: Halves) -> None:
    program = made(optimizer=vg.SGD(1e38))
    with (
        pytest.raises(TrainingError, match=r"epoch 1, step \d+; lower the learning rate"),
        np.errstate(all="ignore"),
    ):
        fit(program, *halves, epochs=3)


def test_an_error_in_the_middle_leaves_the_best_epoch_and_the_history(
    made: Made, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), program = halves, made()
    after_first = {}

    def remember(event: Event) -> None:
        if isinstance(event, EpochEnd) and event.record.epoch == 1:
            after_first.update(program.parameters)

    step = Program.step
    monkeypatch.setattr(
        Program, "step", lambda self, *given: step(self, *given) if self.steps < 9 else math.nan
    )
    options = {"epochs": 5, "validation": (x[20:], 1 - y[20:]), "keep": "best", "on_event": remember}
    with pytest.raises(TrainingError) as caught:
        fit(program, x[:20], y[:20], **options)  # type: ignore[arg-type]
    history = caught.value.history
    assert (len(history.epochs), history.best_epoch, history.interrupted, history.last) == (3, 1, True, None)
    assert program.steps == 3
    for name, array in program.parameters.items():
        np.testing.assert_array_equal(array, after_first[name])


def test_a_warm_up_shorter_than_a_step_is_none(made: Made, halves: Halves) -> None:
    """Or the only step of the training would have a learning rate of zero."""
    (x, y), program = halves, made()
    for warm in (Cosine(warmup=0.3), Warmup(Cosine(), share=0.3)):
        for epochs, idle in ((1, False), (3, False), (4, True)):
            rates = fit(program, x[:8], y[:8], epochs=epochs, schedule=warm).epochs
            assert (rates[0].learning_rate == 0) == idle
            assert idle or rates[0].learning_rate == 0.2


def test_ctrl_c_between_steps_ends_the_training_with_its_history(made: Made, halves: Halves) -> None:
    program, straight = made(), made()

    def press(event: Event) -> None:
        if isinstance(event, StepEnd) and event.epoch == 2 and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    history = fit(program, *halves, epochs=50, on_event=press)
    assert history.interrupted
    assert len(history.epochs) == 1
    assert program.steps == 6
    assert history.to_json()["settings"]["interrupted"] is True
    for step, chosen in enumerate([*batches(30, 8, 0, 0), *batches(30, 8, 0, 1)]):
        if step < 6:
            straight.step(halves[0][chosen], halves[1][chosen])
    assert weights(program) == weights(straight)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_within_a_step_waits_for_its_end(
    made: Made, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, calls = made(), []
    original = program._backend.step

    def step(*args: object) -> float:
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)  # weights changed, steps not yet counted: the worst moment
        calls.append(1)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(program._backend, "step", step)
    history = fit(program, *halves, epochs=5)
    assert history.interrupted
    assert (len(calls), program.steps) == (3, 3)


def test_training_in_another_thread_leaves_signals_alone(made: Made, halves: Halves) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(fit(made(), *halves, epochs=1)))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_an_ignored_ctrl_c_stays_ignored(made: Made, halves: Halves) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = fit(made(), *halves, epochs=2, on_event=lambda event: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted
