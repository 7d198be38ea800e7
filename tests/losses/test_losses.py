"""Losses: values against plain formulas, gradients against differences, what weights mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.differences import check_loss, loss_gradient, loss_value

import vecgrad as vg
from vecgrad.layers import Dense, Flatten, Sequential, Sigmoid, Softmax
from vecgrad.losses import LOSSES, BinaryCrossEntropy, CrossEntropy, Huber, Loss, MeanSquaredError, by_name
from vecgrad.spec.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
SEEDS = st.integers(0, 2**32 - 1)


def case(seed: int, images: int, classes: int) -> tuple[Array, Array, Array]:
    """Logits, targets (each row sums to 1) and positive weights."""
    rng = np.random.default_rng(seed)
    t = rng.random((images, classes))
    return 3 * rng.standard_normal((images, classes)), t / t.sum(1, keepdims=True), rng.random(images) + 0.1


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(2, 6))
def test_cross_entropy_is_its_formula(seed: int, images: int, classes: int) -> None:
    x, t, w = case(seed, images, classes)
    each = np.log(np.exp(x).sum(1)) * t.sum(1) - (t * x).sum(1)
    np.testing.assert_allclose(loss_value(CrossEntropy(), x, t, w), (w * each).sum() / w.sum(), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(2, 6))
def test_mean_squared_error_is_its_formula(seed: int, images: int, width: int) -> None:
    x, t, w = case(seed, images, width)
    expected = (w[:, None] * (x - t) ** 2).sum() / (w.sum() * width)
    np.testing.assert_allclose(loss_value(MeanSquaredError(), x, t, w), expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(2, 6),
    st.sampled_from(
        [
            CrossEntropy(),
            MeanSquaredError(),
            BinaryCrossEntropy(),
            BinaryCrossEntropy(2.5),
            Huber(),
            Huber(0.3),
        ]
    ),
)
def test_gradients(seed: int, images: int, width: int, loss: Loss) -> None:
    check_loss(loss, *case(seed, images, width))


def test_rows_need_not_sum_to_one() -> None:
    x, t, w = case(0, 3, 4)
    check_loss(CrossEntropy(), x, 2.5 * t, w)
    check_loss(CrossEntropy(), x, 0 * t, w)


def test_mean_squared_error_of_maps() -> None:
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((2, 3, 3, 2)), rng.standard_normal((2, 3, 3, 2))
    assert loss_value(MeanSquaredError(), x, t, np.ones(2)) == pytest.approx(((x - t) ** 2).mean(), rel=1e-12)
    check_loss(MeanSquaredError(), x, t, np.array([1.0, 3.0]))


def test_cross_entropy_of_huge_logits_does_not_overflow() -> None:
    x, t = np.array([[1000.0, -1000.0, 999.0]]), np.array([[0.0, 1.0, 0.0]])
    value = loss_value(CrossEntropy(), x, t, np.ones(1))
    assert value == pytest.approx(2000 + np.log1p(np.exp(-1)), rel=1e-12)
    gradient = loss_gradient(CrossEntropy(), x, t, np.ones(1))
    assert np.isfinite(gradient).all()
    assert gradient.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(), MeanSquaredError(), BinaryCrossEntropy(2.5), Huber(0.3)],
    ids=lambda loss: type(loss).__name__,
)
class TestWeights:
    def test_weight_two_is_the_image_twice(self, loss: Loss) -> None:
        x, t, _ = case(2, 3, 4)
        twice = [0, 1, 1, 2]
        w = np.array([1.0, 2.0, 1.0])
        assert loss_value(loss, x, t, w) == pytest.approx(
            loss_value(loss, x[twice], t[twice], np.ones(4)), rel=1e-13
        )
        doubled = loss_gradient(loss, x[twice], t[twice], np.ones(4))
        np.testing.assert_allclose(
            loss_gradient(loss, x, t, w), [doubled[0], doubled[1] + doubled[2], doubled[3]], atol=1e-14
        )

    def test_weight_zero_is_the_image_absent(self, loss: Loss) -> None:
        x, t, _ = case(3, 3, 4)
        w = np.array([1.0, 0.0, 1.0])
        assert loss_value(loss, x, t, w) == pytest.approx(
            loss_value(loss, x[::2], t[::2], np.ones(2)), rel=1e-13
        )
        gradient = loss_gradient(loss, x, t, w)
        assert not gradient[1].any()
        np.testing.assert_allclose(gradient[::2], loss_gradient(loss, x[::2], t[::2], np.ones(2)), atol=1e-14)

    def test_only_ratios_count(self, loss: Loss) -> None:
        x, t, w = case(4, 3, 4)
        assert loss_value(loss, x, t, w) == pytest.approx(loss_value(loss, x, t, 7 * w), rel=1e-12)


def test_probabilities_sum_to_one_and_order_as_logits() -> None:
    rng = np.random.default_rng(0)
    program = vg.compile([Dense(5)], (3,), loss="cross_entropy", backend="reference", dtype="float64")
    x = rng.standard_normal((6, 3))
    p, logits = program.predict_proba(x), program.forward(x)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-14)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [Flatten(), Dense(3), Softmax()],
        [Flatten(), Sequential([Dense(3), Softmax()])],
        Sequential([Flatten(), Sequential([Dense(3), Sequential([Softmax(name="probabilities")])])]),
    ],
)
def test_a_final_softmax_is_refused_with_a_hint(layers: Any) -> None:
    with pytest.raises(ArgumentError, match="remove the final Softmax; predict_proba"):
        vg.compile(layers, (2, 2, 1), loss="cross_entropy", backend="reference")


def test_softmax_elsewhere_is_welcome() -> None:
    vg.compile(
        [Flatten(), Dense(3), Softmax(), Dense(2)], (2, 2, 1), loss="cross_entropy", backend="reference"
    )
    vg.compile([Flatten(), Dense(3), Softmax()], (2, 2, 1), loss="mse", backend="reference")


@pytest.mark.parametrize(("layers", "shape"), [([Sigmoid()], (2, 2, 3)), ([Dense(1)], (4,))])
def test_cross_entropy_needs_one_logit_per_class(layers: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="one logit per class"):
        vg.compile(layers, shape, loss="cross_entropy", backend="reference")


def test_losses_by_name() -> None:
    assert by_name("mse", LOSSES) == MeanSquaredError()
    own = CrossEntropy()
    assert by_name(own, LOSSES) is own
    for wrong in ("hinge", None, CrossEntropy):
        with pytest.raises(ArgumentError, match="'cross_entropy', 'mse', 'binary_cross_entropy', 'huber'"):
            by_name(wrong, LOSSES)
