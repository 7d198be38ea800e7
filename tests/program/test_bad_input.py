"""Bad input is refused by name before anything changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.program.host import same_bits

import vecgrad as vg
from vecgrad.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, Layer, ReLU, Rescale, Sequential
from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError, DataError, ShapeError
from vecgrad.train import Steps

BACKENDS = pytest.mark.parametrize("backend", ["native", "reference"])
MODEL = [Conv2D(4, 3), ReLU(), Flatten(), Dense(3)]
SHAPE = (6, 5, 2)
X = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
Y = np.array([0, 1, 2, 1])
W = np.ones(4)


def classifier(backend: str = "native", **more: Any) -> Program:
    settings: dict[str, Any] = {
        "loss": "cross_entropy",
        "optimizer": vg.SGD(0.1, momentum=0.9),
        "batch_size": 4,
    }
    return vg.compile(MODEL, SHAPE, backend=backend, **(settings | more))


def changed(array: Any, place: Any, value: Any) -> Any:
    array = array.copy()
    array[place] = value
    return array


BAD: dict[str, tuple[Callable[[], tuple[Any, ...]], type[Exception], list[str]]] = {
    "one image without its axis": (lambda: (X[0], Y[:1]), ShapeError, ["(6, 5, 2)", "(n, 6, 5, 2)", "x[np.newaxis]"]),
    "another size": (lambda: (X[:, :5], Y), ShapeError, ["(4, 5, 5, 2)", "(n, 6, 5, 2)"]),
    "channels first": (lambda: (X.transpose(0, 3, 1, 2), Y), ShapeError, ["channels first", "transpose(0, 2, 3, 1)"]),
    "no images": (lambda: (X[:0], Y[:0]), ShapeError, ["0 images", "1 to 4"]),
    "too many images": (lambda: (np.repeat(X, 2, 0), np.repeat(Y, 2)), ShapeError, ["8 images", "batch_size"]),
    "bytes without Rescale": (lambda: (X.astype(np.uint8), Y), DataError, ["uint8", "Rescale(1 / 255)"]),
    "integers": (lambda: (X.astype(np.int64), Y), DataError, ["int64"]),
    "text": (lambda: (X.astype(str), Y), DataError, ["numbers"]),
    "objects": (lambda: (X.astype(object), Y), DataError, ["object"]),
    "booleans": (lambda: (X > 0, Y), DataError, ["bool"]),
    "complex numbers": (lambda: (X.astype(complex), Y), DataError, ["complex"]),
    "NaN": (lambda: (changed(X, (2, 1, 0, 1), np.nan), Y), DataError, ["(2, 1, 0, 1)", "nan", "1 of 4"]),
    "infinity": (lambda: (changed(X, (0, 0, 0, 0), -np.inf), Y), DataError, ["(0, 0, 0, 0)", "-inf"]),
    "infinities that cancel": (
        lambda: (changed(changed(X, (1, 0, 0, 0), np.inf), (3, 0, 0, 0), -np.inf), Y), DataError, ["2 of 4"],
    ),
    "beyond the type": (lambda: (changed(X.astype(np.float64), (3, 5, 4, 1), 1e300), Y), DataError, ["(3, 5, 4, 1)"]),
    "fewer labels": (lambda: (X, Y[:3]), ShapeError, ["3 labels for 4 images"]),
    "label too large": (lambda: (X, changed(Y, 3, 3)), DataError, ["label 3 of image 3", "0 … 2"]),
    "label below zero": (lambda: (X, changed(Y, 1, -1)), DataError, ["label -1 of image 1"]),
    "labels that are fractions": (lambda: (X, Y + 0.5), DataError, ["integers 0 … 2", "float64"]),
    "labels in words": (lambda: (X, np.array(list("abca"))), DataError, ["integers"]),
    "rows of another width": (lambda: (X, np.ones((4, 4))), ShapeError, ["(4, 4)", "(4, 3)", "(4,)"]),
    "rows with NaN": (lambda: (X, changed(np.ones((4, 3)), (1, 2), np.nan)), DataError, ["targets", "(1, 2)"]),
    "a negative weight": (lambda: (X, Y, changed(W, 2, -1)), DataError, ["image 2", "negative"]),
    "no weight at all": (lambda: (X, Y, 0 * W), DataError, ["no image would count"]),
    "a weight that is NaN": (lambda: (X, Y, changed(W, 0, np.nan)), DataError, ["sample_weight", "nan"]),
    "fewer weights": (lambda: (X, Y, W[:2]), ShapeError, ["(2,)", "(4,)"]),
    "weights in words": (lambda: (X, Y, np.array(list("abcd"))), DataError, ["sample_weight"]),
    "a rate below zero": (lambda: (X, Y, None, -0.1), ArgumentError, ["learning_rate", "-0.1"]),
    "a rate that is NaN": (lambda: (X, Y, None, float("nan")), ArgumentError, ["learning_rate"]),
    "an infinite rate": (lambda: (X, Y, None, float("inf")), ArgumentError, ["learning_rate"]),
    "a rate in words": (lambda: (X, Y, None, "fast"), ArgumentError, ["learning_rate", "'fast'"]),
}  # fmt: skip


@BACKENDS
def test_a_refused_step_changes_nothing(backend: str) -> None:
    program = classifier(backend)
    program.step(X, Y)
    before, state, steps = program.parameters, program.state, program.steps
    for name, (make, kind, words) in BAD.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(kind) as caught:
                program.step(*make())
        text = str(caught.value)
        for word in words:
            assert word in text, f"{name}: {text!r} does not say {word!r}"
        assert "\n" not in text
    same_bits(program.parameters, before)
    same_bits(program.state["velocity"], state["velocity"])
    assert program.steps == steps
    assert np.isfinite(program.step(X, Y))


def test_gradients_trace_and_evaluate_look_as_closely() -> None:
    program = classifier()
    for name in ("NaN", "label too large", "a negative weight", "another size"):
        make, kind, _ = BAD[name]
        for method in (program.gradients, program.trace, program.evaluate):
            with pytest.raises(kind):
                method(*make())
    for name in ("NaN", "channels first", "bytes without Rescale"):
        make, kind, _ = BAD[name]
        for method in (program.forward, program.predict_proba, program.check_images):
            with pytest.raises(kind):
                method(make()[0])
    with pytest.raises(ShapeError, match="at least one image"):
        program.evaluate(X[:0], Y[:0])


@BACKENDS
def test_what_is_welcome(backend: str) -> None:
    program = classifier(backend, dtype="float32")
    expected = program.gradients(X, Y)
    one_hot = np.eye(3)[Y]
    double = X.astype(np.float64)
    shifted = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
    assert not shifted.flags.aligned
    for x, y in (
        (X.tolist(), Y.tolist()),
        (np.asfortranarray(X), Y.astype(np.uint8)),
        (X[::-1][::-1], one_hot),
        (double, one_hot.astype(bool)),
        (X.astype(">f4"), Y.astype(">i2")),
        (shifted, Y),
    ):
        same_bits(program.gradients(x, y), expected)
    same_bits(program.gradients(X, Y, [1, 1, 1, 1]), expected)
    assert program.forward(X.astype(np.float16)).dtype == np.float32
    taken = program.check_images(shifted)
    assert taken.flags.aligned
    assert taken.flags.c_contiguous


def test_grey_images_need_no_channel_axis() -> None:
    program = vg.compile([Conv2D(2, 3), Flatten(), Dense(2)], (5, 4), loss="mse")
    x = np.random.default_rng(1).standard_normal((3, 5, 4))
    np.testing.assert_array_equal(program.forward(x), program.forward(x[..., None]))
    with pytest.raises(ShapeError, match=r"x\[np\.newaxis\]") as caught:
        program.forward(np.zeros((5, 4, 1)))
    assert "(5, 4, 1)" in str(caught.value)
    with pytest.raises(ShapeError, match="channels first"):
        program.forward(np.zeros((3, 1, 5, 4)))


@pytest.mark.parametrize(
    "model",
    [
        [Rescale(1 / 255), Flatten(), Dense(2)],
        [Sequential([Sequential([Rescale(1 / 255)]), Flatten()]), Dense(2)],
    ],
)
def test_a_model_that_rescales_takes_bytes(model: list[Layer]) -> None:
    program = vg.compile(model, (3, 3, 1), loss="cross_entropy", optimizer="sgd")
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3, 1) * 14
    np.testing.assert_array_equal(program.forward(pixels), program.forward(pixels.astype(np.float32)))
    program.step(pixels, np.array([0, 1]))


def test_values_as_targets() -> None:
    program = vg.compile([Flatten(), Dense(1)], (2, 2, 1), loss="mse", batch_size=4)
    x = np.ones((3, 2, 2, 1))
    column = program.gradients(x, np.array([[1.0], [2.0], [3.0]]))
    same_bits(program.gradients(x, [1, 2, 3]), column)
    with pytest.raises(ShapeError, match="targets"):
        program.gradients(x, np.ones((3, 2)))
    wide = vg.compile([Flatten(), Dense(3)], (2, 2, 1), loss="mse", batch_size=4)
    with pytest.raises(ShapeError, match="expected \\(3, 3\\)"):
        wide.gradients(x, np.array([0, 1, 2]))


@BACKENDS
class TestParameters:
    def test_they_are_snapshots(self, backend: str) -> None:
        program = classifier(backend)
        taken = program.parameters
        taken["0.weight"][...] = 7
        assert not (program.parameters["0.weight"] == 7).any()
        before = program.parameters
        program.step(X, Y)
        assert not np.array_equal(before["0.weight"], program.parameters["0.weight"])

    def test_what_was_loaded_counts_at_once(self, backend: str) -> None:
        program = classifier(backend)
        program.step(X, Y)
        program.forward(X)
        other = classifier(backend, seed=9)
        program.load_parameters(other.parameters)
        same_bits(program.parameters, other.parameters)
        np.testing.assert_array_equal(program.forward(X), other.forward(X))
        same_bits(program.gradients(X, Y), other.gradients(X, Y))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda p: p.pop("3.bias"), ["missing: 3.bias"]),
            (lambda p: p.update({"4.weight": np.ones(3)}), ["not of this model: 4.weight"]),
            (lambda p: p.update({"0.bias": np.ones(5)}), ["0.bias", "(5,)", "(4,)"]),
            (lambda p: p.update({"3.weight": p["3.weight"].T}), ["3.weight", "(3, 48)", "(48, 3)"]),
            (lambda p: p.update({"0.bias": np.array(list("abcd"))}), ["0.bias", "floating-point"]),
            (lambda p: p.update({"0.bias": np.ones(4, complex)}), ["0.bias", "complex"]),
        ],
    )
    def test_loading_is_strict_and_all_or_nothing(
        self, backend: str, change: Callable[[dict[str, Any]], object], words: list[str]
    ) -> None:
        program = classifier(backend)
        before = program.parameters
        given = {name: a + 1 for name, a in before.items()}
        change(given)
        with pytest.raises(ShapeError) as caught:
            program.load_parameters(given)
        for word in words:
            assert word in str(caught.value)
        same_bits(program.parameters, before)

    def test_state_is_as_strict(self, backend: str) -> None:
        program = classifier(backend)
        program.step(X, Y)
        state = program.state
        with pytest.raises(ShapeError, match="velocity"):
            program.load_state({}, 1)
        with pytest.raises(ShapeError, match=r"0\.bias"):
            program.load_state({"velocity": {**state["velocity"], "0.bias": np.ones(7)}}, 1)
        same_bits(program.state["velocity"], state["velocity"])

    def test_given_parameters_are_checked_too(self, backend: str) -> None:
        with pytest.raises(ShapeError, match="missing"):
            classifier(backend, parameters={})


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"input_shape": (6, 5, 0)}, ShapeError, ["input_shape", "(6, 5, 0)"]),
        ({"input_shape": (1, 6, 5, 2)}, ShapeError, ["input_shape"]),
        ({"input_shape": (6.0, 5, 2)}, ShapeError, ["positive integers"]),
        ({"input_shape": (2, 5, 2)}, ShapeError, ["layer 0", "Conv2D(4, 3)"]),
        ({"loss": "hinge"}, ArgumentError, ["'cross_entropy', 'mse'", "'hinge'"]),
        ({"optimizer": "lion"}, ArgumentError, ["'sgd', 'adam'", "'lion'"]),
        ({"optimizer": vg.SGD}, ArgumentError, ["optimizer"]),
        ({"loss": None}, ArgumentError, ["an optimizer needs a loss"]),
        ({"batch_size": 0}, ArgumentError, ["batch_size"]),
        ({"batch_size": 2.0}, ArgumentError, ["batch_size"]),
        ({"threads": 0}, ArgumentError, ["threads"]),
        ({"threads": True}, ArgumentError, ["threads"]),
        ({"seed": -1}, ArgumentError, ["seed"]),
        ({"seed": 2**64}, ArgumentError, ["seed"]),
        ({"dtype": "float16"}, ArgumentError, ["dtype", "float16"]),
        ({"backend": "gpu"}, ArgumentError, ["backend", "'gpu'"]),
    ],
)
def test_compile_refuses_what_means_nothing(
    arguments: dict[str, Any], kind: type[Exception], words: list[str]
) -> None:
    settings: dict[str, Any] = {"input_shape": SHAPE, "loss": "mse", "optimizer": "sgd"}
    with pytest.raises(kind) as caught:
        vg.compile(MODEL, **(settings | arguments))
    for word in words:
        assert word in str(caught.value)


def test_methods_say_what_the_program_lacks() -> None:
    forward_only = vg.compile(MODEL, SHAPE)
    for method in (forward_only.step, forward_only.gradients, forward_only.trace, forward_only.evaluate):
        with pytest.raises(ArgumentError, match="without a loss"):
            method(X, Y)
    with pytest.raises(ArgumentError, match="cross_entropy"):
        forward_only.predict_proba(X)
    no_rule = vg.compile(MODEL, SHAPE, loss="cross_entropy")
    with pytest.raises(ArgumentError, match="without an optimizer"):
        no_rule.step(X, Y)
    assert np.isfinite(no_rule.evaluate(X, Y).loss)


@BACKENDS
@pytest.mark.parametrize("scale", [1e37, 1e-39, 3e-45])
def test_only_the_ratios_of_weights_count(backend: str, scale: float) -> None:
    """Whatever a single float32 holds: not even the sum of large ones, or one over it, need be one."""
    plain, scaled = classifier(backend), classifier(backend)
    w = np.full(4, scale, np.float32)
    for _ in range(2):
        assert scaled.step(X, Y, w) == pytest.approx(plain.step(X, Y), rel=1e-6)
    assert scaled.evaluate(X, Y, w).loss == pytest.approx(plain.evaluate(X, Y).loss, rel=1e-6)
    for name, array in plain.parameters.items():
        np.testing.assert_allclose(scaled.parameters[name], array, rtol=1e-5, atol=1e-7)


@BACKENDS
def test_gradients_need_as_many_images_as_the_step(backend: str) -> None:
    layers = [Dense(4), BatchNorm(), ReLU(), Dense(3)]
    program = vg.compile(layers, (6,), "cross_entropy", "sgd", 4, backend=backend)
    x, y = np.ones((1, 6), np.float32), np.array([0])
    for ask in (program.step, program.gradients, program.trace):
        with pytest.raises(ShapeError, match="at least 2 images, got 1"):
            ask(x, y)
    assert np.isfinite(program.evaluate(x, y).loss)


def test_parameters_beyond_the_type_are_refused() -> None:
    program = classifier("reference")
    large = {name: array.astype(np.float64) + 1e39 for name, array in program.parameters.items()}
    before = program.parameters
    with pytest.raises(DataError, match=r"0.weight holds numbers too large for float32"):
        program.load_parameters(large)
    for name, array in program.parameters.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dense(3, initial="identity"), "initial"),
        (lambda: vg.SGD(0.1, lookahead=2, lookahead_rate=0.0), "above 0"),
        (lambda: Steps(at=0.5), "milestones"),
    ],
)
def test_arguments_that_mean_nothing(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
    assert Steps(at=[0.5]) == Steps(at=(0.5,))  # type: ignore[arg-type]


@BACKENDS
def test_a_dropout_of_nearly_everything(backend: str) -> None:
    program = vg.compile([Dropout(1 - 1e-12), *MODEL], SHAPE, "cross_entropy", "sgd", 4, backend=backend)
    assert np.isfinite(program.step(X, Y))
