"""What a program answers: traces, evaluation, weights, and many callers at once."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.networks import NETWORKS, Network
from tests.program.host import everything, gradients, same_bits, threads

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential, Tanh
from vecgrad.losses import CrossEntropy
from vecgrad.spec.errors import ArgumentError

BACKENDS = pytest.mark.parametrize("backend", ["native", "reference"])
NET = Network(
    Sequential([
        Sequential([Conv2D(5, 3, name="mix"), ReLU()], name="stem"), MaxPool2D(2), Flatten(), Tanh(), Dense(4, name="head"),
    ]),
    (7, 6, 2), batch=8, loss="cross_entropy",
)  # fmt: skip
RNG = np.random.default_rng(3)
X = RNG.standard_normal((20, *NET.shape)).astype(np.float32)
Y = RNG.integers(0, 4, 20)


def program(backend: str = "native", **more: Any) -> vg.Program:
    return vg.compile(NET.model, NET.shape, "cross_entropy", vg.SGD(0.1), NET.batch, backend=backend, **more)


@BACKENDS
class TestTrace:
    def test_every_layer_by_its_path(self, backend: str) -> None:
        record = program(backend).trace(X[:3], Y[:3])
        assert {name: layer.x.shape for name, layer in record.items()} == {
            "stem": (3, 7, 6, 2), "stem.mix": (3, 7, 6, 2), "stem.1": (3, 5, 4, 5), "1": (3, 5, 4, 5), "2": (3, 2, 2, 5),
            "3": (3, 20), "head": (3, 20), "output": (3, 4),
        }  # fmt: skip
        for layer in record.values():
            assert layer.dx.shape == layer.x.shape
            assert layer.x.dtype == layer.dx.dtype == np.float32

    def test_it_tells_one_story(self, backend: str) -> None:
        made = program(backend)
        record = made.trace(X[:3], Y[:3])
        np.testing.assert_array_equal(record["stem"].x, X[:3])
        np.testing.assert_array_equal(record["1"].x, np.maximum(record["stem.1"].x, 0))
        np.testing.assert_array_equal(record["stem.1"].dx, np.where(record["1"].x > 0, record["1"].dx, 0))
        np.testing.assert_array_equal(record["3"].x, record["2"].x.reshape(3, 20))
        np.testing.assert_array_equal(record["2"].dx, record["3"].dx.reshape(record["2"].dx.shape))
        np.testing.assert_array_equal(record["output"].x, made.forward(X[:3]))
        found = made.gradients(X[:3], Y[:3], inputs=True)
        np.testing.assert_allclose(record["stem"].dx, found["x"], rtol=1e-6, atol=1e-9)
        p = made.predict_proba(X[:3])
        np.testing.assert_allclose(record["output"].dx, (p - np.eye(4)[Y[:3]]) / 3, atol=1e-7)

    def test_its_arrays_are_copies(self, backend: str) -> None:
        made = program(backend)
        x = X[:3].copy()
        record = made.trace(x, Y[:3])
        for layer in record.values():
            layer.x[...] = np.nan
            layer.dx[...] = np.nan
        np.testing.assert_array_equal(x, X[:3])
        same_bits({"y": made.forward(x)}, {"y": program(backend).forward(x)})

    def test_a_single_layer_has_an_output(self, backend: str) -> None:
        single = vg.compile(Dense(3), (4,), "mse", backend=backend)
        assert list(single.trace(np.ones((2, 4)), np.ones((2, 3)))) == ["output"]

    def test_a_layer_named_output_is_not_mixed_up_with_it(self, backend: str) -> None:
        made = vg.compile([ReLU(), Dense(3, name="output")], (4,), "mse", backend=backend)
        with pytest.raises(ArgumentError, match="output"):
            made.trace(np.ones((2, 4)), np.ones((2, 3)))


@BACKENDS
class TestEvaluate:
    def test_means_over_any_number_of_images(self, backend: str) -> None:
        made = program(backend)
        found = made.evaluate(X, Y)
        p = made.predict_proba(X)
        assert found.images == 20
        assert found.loss == pytest.approx(-np.log(p[np.arange(20), Y]).mean(), rel=1e-5)
        assert found.accuracy == pytest.approx((p.argmax(1) == Y).mean())

    def test_weights(self, backend: str) -> None:
        made = program(backend)
        w = np.arange(20.0)
        twice = np.repeat(np.arange(20), np.arange(20))
        weighted, repeated = made.evaluate(X, Y, w), made.evaluate(X[twice], Y[twice])
        assert weighted.loss == pytest.approx(repeated.loss, rel=1e-5)
        assert weighted.accuracy == pytest.approx(repeated.accuracy)

    def test_values_have_no_accuracy(self, backend: str) -> None:
        made = vg.compile(NET.model, NET.shape, "mse", batch_size=8, backend=backend)
        t = RNG.standard_normal((20, 4)).astype(np.float32)
        found = made.evaluate(X, t)
        assert found.accuracy is None
        assert found.loss == pytest.approx(((made.forward(X) - t) ** 2).mean(), rel=1e-5)


@BACKENDS
def test_weight_two_is_the_image_twice_and_zero_is_its_absence(backend: str) -> None:
    made = vg.compile(NET.model, NET.shape, CrossEntropy(), batch_size=8, dtype="float64", backend=backend)
    rows = [0, 1, 1, 3, 4]
    weighted = made.gradients(X[:5], Y[:5], [1, 2, 0, 1, 1])
    for name, expected in made.gradients(X[rows], Y[rows]).items():
        np.testing.assert_allclose(weighted[name], expected, rtol=1e-11, atol=1e-14)


def test_gradients_change_nothing_and_repeat_themselves() -> None:
    made = program()
    before = made.parameters
    first = gradients(made, X[:8], Y[:8])
    made.gradients(X[8:11], Y[8:11])
    made.forward(X)
    same_bits(gradients(made, X[:8], Y[:8]), first)
    same_bits(made.parameters, before)
    assert made.steps == 0


@BACKENDS
def test_every_answer_after_a_step_is_the_new_parameters(backend: str) -> None:
    """Each kind of answer keeps packed weights of its own, all of which a step makes stale."""
    made = program(backend)
    everything(made, X[:8], Y[:8])
    made.step(X[:8], Y[:8])
    fresh = program(backend, parameters=made.parameters)
    same_bits(everything(made, X[:8], Y[:8]), everything(fresh, X[:8], Y[:8]))
    assert made.step(X[:8], Y[:8]) == fresh.step(X[:8], Y[:8])


def test_a_step_descends_along_the_gradient() -> None:
    made = program()
    before, found = made.parameters, made.gradients(X[:8], Y[:8])
    loss = made.step(X[:8], Y[:8])
    assert loss == pytest.approx(
        vg.compile(NET.model, NET.shape, "cross_entropy").evaluate(X[:8], Y[:8]).loss, rel=1e-6
    )
    for name, array in made.parameters.items():
        np.testing.assert_allclose(array, before[name] - np.float32(0.1) * found[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [1, 3])
def test_eight_callers_each_get_their_answer(count: int) -> None:
    made = program()
    sets = [RNG.standard_normal((1 + 3 * i, *NET.shape)).astype(np.float32) for i in range(8)]
    labels = [RNG.integers(0, 4, len(x)) for x in sets]
    expected = [
        (made.forward(x), made.predict_proba(x), gradients(made, x[:8], y[:8]))
        for x, y in zip(sets, labels, strict=True)
    ]
    ready = threading.Barrier(8)

    def call(i: int) -> None:
        ready.wait()
        for _ in range(12):
            np.testing.assert_array_equal(made.forward(sets[i]), expected[i][0])
            np.testing.assert_array_equal(made.predict_proba(sets[i]), expected[i][1])
            same_bits(gradients(made, sets[i][:8], labels[i][:8]), expected[i][2])

    with threads(count), ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(call, i) for i in range(8)]:
            future.result()


def test_an_answer_never_mixes_two_sets_of_weights() -> None:
    """While others train, each answer belongs to the parameters of one moment, for any number of images."""
    made = vg.compile([Dense(1, bias=False)], (1,), "mse", vg.SGD(0.5), 2, parameters={"0.weight": [[1.0]]})
    x = np.ones((64, 1), np.float32)
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            made.step(x[:2], np.zeros((2, 1)))
            made.load_parameters({"0.weight": [[1.0]]})

    with ThreadPoolExecutor(2) as pool:
        trainers = [pool.submit(train) for _ in range(2)]
        answers = [made.forward(x) for _ in range(200)]
        stop.set()
        for trainer in trainers:
            trainer.result()
    assert all((answer == answer[0]).all() for answer in answers)


def test_without_llvmlite_a_program_says_so_and_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    import vecgrad.runtime

    network = NETWORKS["odd maps, one channel"]
    monkeypatch.setattr(vecgrad.runtime, "native_available", lambda: False)
    with pytest.warns(UserWarning, match="llvmlite"):
        made = vg.compile(network.model, network.shape, "mse", batch_size=4)
    assert made.backend == "reference"
    x, t = network.images(4), network.targets(4)
    monkeypatch.undo()
    native = vg.compile(network.model, network.shape, "mse", batch_size=4)
    assert native.backend == "native"
    for name, expected in everything(made, x, t).items():
        np.testing.assert_allclose(everything(native, x, t)[name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_goes_on_by_itself() -> None:
    made = vg.compile(NET.model, NET.shape, "cross_entropy", vg.SGD(0.1), NET.batch, threads=2)
    made.step(X[:8], Y[:8])
    expected = made.forward(X)
    child = os.fork()
    if not child:
        # Nothing of pytest may run in here: only the exit code comes back.
        signal.alarm(30)
        try:
            right = np.array_equal(made.forward(X), expected)
            made.step(X[:8], Y[:8])
            os._exit(0 if right and not np.array_equal(made.forward(X), expected) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(made.forward(X), expected, err_msg="the child's step reached the parent")
