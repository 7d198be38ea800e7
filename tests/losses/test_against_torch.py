"""Losses and their gradients beside PyTorch's, and what PyTorch has no loss for beside plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.differences import check_loss, loss_gradient, loss_value

import vecgrad as vg
from vecgrad.layers import Dense, Flatten, Sequential, Sigmoid
from vecgrad.losses import BinaryCrossEntropy, CrossEntropy, Huber, Loss
from vecgrad.reference import losses as reference
from vecgrad.spec.errors import ArgumentError, DataError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
N, CLASSES = 6, 4
WEIGHT = (0.5, 2.0, 0.0, 1.5)


def logits(seed: int = 0) -> Array:
    return 3 * np.random.default_rng(seed).standard_normal((N, CLASSES))


def classes(seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, CLASSES, N)


def soft(seed: int = 2) -> Array:
    t = np.random.default_rng(seed).random((N, CLASSES))
    return np.asarray(t / t.sum(1, keepdims=True))


def peer(function: Any, x: Array, t: Array, **more: Any) -> tuple[float, Array]:
    """PyTorch's loss and its gradient with respect to x."""
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    given = torch.tensor(x, requires_grad=True)
    made = {
        key: torch.tensor(np.asarray(value, float)) if isinstance(value, (tuple, np.ndarray)) else value
        for key, value in more.items()
    }
    loss = getattr(torch.nn, function)(**made)(given, torch.tensor(t))
    loss.backward()
    return float(loss.detach()), given.grad.numpy()


def ours(loss: Loss, x: Array, t: Array, w: Array | None = None) -> tuple[float, Array]:
    w = np.ones(len(x)) if w is None else w
    rows = loss.rows(t, w)
    return loss_value(loss, x, rows, w), loss_gradient(loss, x, rows, w)


def same(found: tuple[float, Array], expected: tuple[float, Array]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_class_numbers_are_pytorchs(smoothing: float, weight: tuple[float, ...] | None) -> None:
    t = classes()
    more = {} if weight is None else {"weight": weight}
    expected = peer("CrossEntropyLoss", logits(), t, label_smoothing=smoothing, **more)
    same(ours(CrossEntropy(smoothing, weight), logits(), np.eye(CLASSES)[t]), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_soft_targets_are_pytorchs(smoothing: float) -> None:
    expected = peer("CrossEntropyLoss", logits(), soft(), label_smoothing=smoothing)
    same(ours(CrossEntropy(smoothing), logits(), soft()), expected)


def test_weighted_soft_targets_differ_from_pytorchs_in_the_divisor_alone() -> None:
    value, slope = peer("CrossEntropyLoss", logits(), soft(), weight=WEIGHT)
    ratio = N / float((soft() * WEIGHT).sum())
    same(ours(CrossEntropy(class_weight=WEIGHT), logits(), soft()), (ratio * value, ratio * slope))


def test_a_class_of_weight_two_is_each_of_its_images_twice() -> None:
    t, x = np.eye(CLASSES)[classes()], logits()
    twice = np.repeat(np.arange(N), np.where(classes() == 1, 2, 1))
    assert len(twice) > N
    weighted = ours(CrossEntropy(0.0, (1.0, 2.0, 1.0, 1.0)), x, t)
    assert weighted[0] == pytest.approx(ours(CrossEntropy(), x[twice], t[twice])[0], rel=1e-12)


def test_sample_and_class_weights_multiply() -> None:
    t, x, w = np.eye(CLASSES)[classes()], logits(), np.random.default_rng(3).random(N)
    found = ours(CrossEntropy(class_weight=WEIGHT), x, t, w)
    same(found, ours(CrossEntropy(), x, t, w * np.array(WEIGHT)[classes()]))


def test_a_batch_that_weighs_nothing_has_no_loss() -> None:
    value, slope = ours(
        CrossEntropy(class_weight=(0.0, 1.0, 1.0, 1.0)), logits(), np.eye(CLASSES)[np.zeros(N, int)]
    )
    assert value == 0
    assert not slope.any()


def test_rows_are_those_of_the_reference() -> None:
    t, w = soft(), np.ones(N)
    np.testing.assert_allclose(CrossEntropy(0.2).rows(t, w), reference.smoothed(t, 0.2), rtol=1e-14)
    expected = reference.class_weighted(t, np.array(WEIGHT), 0.2)
    np.testing.assert_allclose(CrossEntropy(0.2, WEIGHT).rows(t, w), expected, rtol=1e-14)
    assert CrossEntropy().rows(t, w) is t
    assert [loss.as_given for loss in (CrossEntropy(), CrossEntropy(0.1), CrossEntropy(0, WEIGHT))] == [
        True,
        False,
        False,
    ]
    assert [loss.as_given for loss in (Huber(), BinaryCrossEntropy(2), BinaryCrossEntropy(WEIGHT))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("pos_weight", [None, 2.5, (0.5, 2.0, 0.0, 1.5)])
def test_binary_cross_entropy_is_pytorchs(pos_weight: Any) -> None:
    t = np.random.default_rng(4).random((N, CLASSES))
    t[0], t[1] = 0, 1
    more = {} if pos_weight is None else {"pos_weight": np.asarray(pos_weight)}
    loss = BinaryCrossEntropy(pos_weight)
    same(ours(loss, logits(), t), peer("BCEWithLogitsLoss", logits(), t, **more))
    w = np.arange(1.0, N + 1)
    check_loss(loss, logits(), loss.rows(t, w), w)
    plain = 1.0 if pos_weight is None else np.asarray(pos_weight)
    assert ours(loss, logits(), t)[0] == pytest.approx(
        reference.binary_cross_entropy(logits(), t, plain), rel=1e-12
    )
    np.testing.assert_allclose(
        ours(loss, logits(), t)[1], reference.binary_cross_entropy_dx(logits(), t, plain), rtol=1e-9
    )


def test_binary_cross_entropy_of_maps_with_a_weight_for_each_channel() -> None:
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((2, 3, 2, CLASSES)), rng.random((2, 3, 2, CLASSES))
    loss = BinaryCrossEntropy(WEIGHT)
    same(ours(loss, x, t), peer("BCEWithLogitsLoss", x, t, pos_weight=np.asarray(WEIGHT)))


def test_binary_cross_entropy_of_huge_logits_does_not_overflow() -> None:
    x, t = np.array([[1e4, -1e4, 1e4]]), np.array([[0.0, 1.0, 1.0]])
    with np.errstate(over="raise"):
        value, slope = ours(BinaryCrossEntropy(), x, t)
    assert value == pytest.approx(2e4 / 3)
    np.testing.assert_allclose(slope, [[1 / 3, -1 / 3, 0]])


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_is_pytorchs(delta: float) -> None:
    t = np.random.default_rng(6).standard_normal((N, CLASSES))
    same(ours(Huber(delta), logits(), t), peer("HuberLoss", logits(), t, delta=delta))
    assert ours(Huber(delta), logits(), t)[0] == pytest.approx(reference.huber(logits(), t, delta), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: CrossEntropy(label_smoothing=1.5), ArgumentError, "label_smoothing"),
        (lambda: CrossEntropy(label_smoothing=-0.1), ArgumentError, "label_smoothing"),
        (lambda: CrossEntropy(class_weight=(1.0, -1.0)), ArgumentError, "class_weight"),
        (lambda: CrossEntropy(class_weight=(0.0, 0.0)), ArgumentError, "zero for every class"),
        (lambda: CrossEntropy(class_weight={0: 1.0}), ArgumentError, "a number per class"),  # type: ignore[arg-type]
        (lambda: BinaryCrossEntropy(float("inf")), ArgumentError, "pos_weight"),
        (lambda: Huber(0.0), ArgumentError, "delta"),
        (lambda: Huber("1"), ArgumentError, "delta"),  # type: ignore[arg-type]
    ],
)
def test_what_means_nothing_is_refused(make: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        make()


def program(loss: Any, **more: Any) -> Any:
    settings: dict[str, Any] = {"backend": "reference", "optimizer": vg.SGD(0.1), "batch_size": N}
    return vg.compile([Flatten(), Dense(CLASSES)], (2, 2, 1), loss=loss, **(settings | more))


def test_weights_as_many_as_there_are_outputs() -> None:
    for loss in (CrossEntropy(class_weight=(1.0, 2.0)), BinaryCrossEntropy((1.0, 2.0))):
        with pytest.raises(ShapeError, match="2 numbers"):
            program(loss)


def test_binary_targets_lie_between_no_and_yes() -> None:
    made = program("binary_cross_entropy")
    x = np.zeros((N, 2, 2, 1), np.float32)
    with pytest.raises(DataError, match=r"between 0 \(no\) and 1 \(yes\), got -1"):
        made.step(x, -np.ones((N, CLASSES)))
    made.step(x, np.ones((N, CLASSES), bool))
    assert made.evaluate(x, np.ones((N, CLASSES))).accuracy is None
    np.testing.assert_allclose(made.predict_proba(x), 1 / (1 + np.exp(-made.forward(x))), rtol=1e-6)


def test_a_final_sigmoid_is_refused_with_a_hint() -> None:
    with pytest.raises(ArgumentError, match="remove the final Sigmoid"):
        vg.compile(
            [Flatten(), Dense(3), Sigmoid()], (2, 2, 1), loss="binary_cross_entropy", backend="reference"
        )


LOSSES = {
    "smoothed": CrossEntropy(0.1),
    "weighted": CrossEntropy(0.1, WEIGHT),
    "binary": BinaryCrossEntropy(2.0),
    "binary, apart": BinaryCrossEntropy(WEIGHT),
    "huber": Huber(0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_is_the_reference(name: str) -> None:
    """Several steps, with and without weights of images, and an evaluation of more images than a batch."""
    loss, results = LOSSES[name], []
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3 * N, 2, 2, 1)), rng.random(N)
    y = rng.integers(0, CLASSES, 3 * N) if loss.targets == "classes" else rng.random((3 * N, CLASSES))
    for backend in ("native", "reference"):
        made = program(loss, backend=backend, dtype="float64", seed=1)
        steps = [
            made.step(x[i * N : (i + 1) * N], y[i * N : (i + 1) * N], w if i else None) for i in (0, 1, 2, 0)
        ]
        checked = made.evaluate(x, y)
        results.append([*steps, checked.loss, *made.parameters["1.weight"].ravel()])
    np.testing.assert_allclose(*results, rtol=1e-11)


@pytest.mark.parametrize("name", ["smoothed", "weighted"])
def test_training_follows_pytorchs(name: str) -> None:
    """Class numbers as int64, step after step: whatever way in a program has for them, the loss is the same."""
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    loss = LOSSES[name]
    assert isinstance(loss, CrossEntropy)
    made = program(loss, backend="native", dtype="float64")
    weight, bias = (torch.tensor(made.parameters[f"1.{k}"], requires_grad=True) for k in ("weight", "bias"))
    optimizer = torch.optim.SGD([weight, bias], lr=0.1)
    factors = None if loss.class_weight is None else torch.tensor(loss.class_weight, dtype=torch.float64)
    criterion = torch.nn.CrossEntropyLoss(factors, label_smoothing=loss.label_smoothing)
    for step in range(4):
        rng = np.random.default_rng(step)
        x, y = rng.standard_normal((N, 2, 2, 1)), rng.integers(0, CLASSES, N)
        found = made.step(x, y)
        optimizer.zero_grad()
        expected = criterion(torch.tensor(x.reshape(N, 4)) @ weight + bias, torch.tensor(y))
        expected.backward()
        optimizer.step()
        assert found == pytest.approx(float(expected.detach()), rel=1e-11)
    np.testing.assert_allclose(made.parameters["1.weight"], weight.detach().numpy(), rtol=1e-10)


def test_the_accuracy_is_of_the_labels_whatever_the_weights() -> None:
    x, y = np.eye(CLASSES).reshape(CLASSES, 2, 2, 1), np.arange(CLASSES)
    made = program(CrossEntropy(1.0, WEIGHT))
    made.load_parameters({"1.weight": np.eye(CLASSES), "1.bias": np.zeros(CLASSES)})
    assert made.evaluate(x, y).accuracy == 1


def test_models_with_these_losses_pass_their_check() -> None:
    layers = Sequential([Flatten(), Dense(CLASSES)])
    for loss in LOSSES.values():
        assert vg.check.model(layers, (2, 2, 1), loss).passed


def test_losses_are_kept_by_runs(tmp_path: Any) -> None:
    for name, loss in LOSSES.items():
        assert vg.load(program(loss).save(tmp_path / name), backend="reference").loss == loss
