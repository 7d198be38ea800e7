"""Activations, losses and update rules against plain formulas, differences and, where present, torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.reference import activations, losses, updates
from vecgrad.reference.calculus import gradient
from vecgrad.spec.errors import ShapeError

PAIRS = [
    (activations.relu, activations.relu_dx),
    (activations.sigmoid, activations.sigmoid_dx),
    (activations.tanh, activations.tanh_dx),
]


@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_slopes_by_complex_steps_and_by_differences(forward, backward):
    x = np.array([-9.0, -1.5, -0.1, 0.2, 1.0, 12.0])
    dy = np.arange(1.0, 7)
    by_steps = gradient(lambda x: np.sum(dy * forward(x)), x)
    np.testing.assert_allclose(backward(dy, x), by_steps, rtol=1e-13, atol=1e-14)
    central = (forward(x + 1e-6) - forward(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(backward(dy, x), dy * central, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_dtypes_and_nan(forward, backward):
    x = np.array([np.nan, 1.0], np.float32)
    assert np.isnan(forward(x)[0])
    assert not np.isnan(forward(x)[1])
    assert forward(x).dtype == backward(x, x).dtype == np.float32
    small = np.array([2], np.uint8)
    assert forward(small).dtype == backward(small, small).dtype == np.float64


def test_relu_at_zero():
    x = np.array([-0.0, 0.0, 5e-324, -5e-324])
    np.testing.assert_array_equal(activations.relu(x), [0, 0, 5e-324, 0])
    np.testing.assert_array_equal(activations.relu_dx(np.full(4, 7.0), x), [0, 0, 7, 0])


def test_relu_stops_what_it_stops():
    dy = np.array([np.inf, np.nan, 3.0])
    np.testing.assert_array_equal(activations.relu_dx(dy, np.array([-1.0, -1.0, 1.0])), [0, 0, 3])


@given(st.floats(-800, 800))
def test_sigmoid_never_overflows(value):
    x = np.array([value])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, slope = activations.sigmoid(x), activations.sigmoid_dx(np.ones(1), x)
    assert 0 <= y.item() <= 1
    assert 0 <= slope.item() <= 0.25
    np.testing.assert_allclose(y + activations.sigmoid(-x), 1, rtol=1e-15)


def test_sigmoid_far_from_zero():
    np.testing.assert_allclose(activations.sigmoid(np.array([-40.0])), np.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(
        activations.sigmoid_dx(np.ones(1), np.array([40.0])), np.exp(-40.0), rtol=1e-15
    )


def test_mean_squared_error_exactly():
    x, t = np.array([[1, 2], [3, 5]], np.float32), np.array([[1, 0], [3, 1]], np.float32)
    assert losses.mean_squared_error(x, t) == 5
    np.testing.assert_array_equal(losses.mean_squared_error_dx(x, t), [[0, 1], [0, 2]])
    assert losses.mean_squared_error_dx(x, t).dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 3), (4, 2), (2, 3, 2)])
def test_mean_squared_error_by_complex_steps(shape):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal(shape), rng.standard_normal(shape)
    by_steps = gradient(lambda x: losses.mean_squared_error(x, t), x)
    np.testing.assert_allclose(losses.mean_squared_error_dx(x, t), by_steps, rtol=1e-13)


@pytest.mark.parametrize("sums_to_one", [True, False])
def test_cross_entropy_by_complex_steps(sums_to_one):
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((4, 5)), rng.random((4, 5))
    if sums_to_one:
        t /= t.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(
            losses.cross_entropy_dx(x, t), (losses.softmax(x) - t) / 4, rtol=1e-12, atol=1e-15
        )
    by_steps = gradient(lambda x: losses.cross_entropy(x, t), x)
    np.testing.assert_allclose(losses.cross_entropy_dx(x, t), by_steps, rtol=1e-12, atol=1e-14)


def test_cross_entropy_of_known_numbers():
    x = np.log(np.array([[1.0, 3.0], [2.0, 2.0]]))
    t = np.eye(2)
    np.testing.assert_allclose(losses.softmax(x), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    np.testing.assert_allclose(losses.cross_entropy(x, t), (np.log(4) + np.log(2)) / 2, rtol=1e-15)
    np.testing.assert_allclose(losses.cross_entropy_dx(x, t), [[-0.375, 0.375], [0.25, -0.25]], rtol=1e-15)


def test_cross_entropy_of_large_logits():
    x, t = np.array([[1e4, 0.0], [-1e4, 0.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert losses.cross_entropy(x, t) == 5e3
    np.testing.assert_array_equal(losses.cross_entropy_dx(x, t), [[0.5, -0.5], [0, 0]])


def test_losses_refuse_what_has_no_mean():
    for loss in (losses.mean_squared_error, losses.cross_entropy, losses.cross_entropy_dx):
        with pytest.raises(ShapeError, match="no entries"):
            loss(np.zeros((0, 3)), np.zeros((0, 3)))
        with pytest.raises(ShapeError, match="t has shape"):
            loss(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ShapeError, match="x has shape"):
        losses.cross_entropy(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))


def test_rules_exactly():
    w, g, v = np.array([8.0, -4.0]), np.array([2.0, 4.0]), np.array([4.0, -8.0])
    np.testing.assert_array_equal(updates.gradient_descent(w, g, 0.5), [7, -6])
    np.testing.assert_array_equal(updates.momentum(w, g, v, 0.5, 0.5), [[6, -4], [4, 0]])
    np.testing.assert_array_equal(updates.momentum(w, g, v, 0.5, 0.5, nesterov=True), [[6, -6], [4, 0]])
    np.testing.assert_array_equal(updates.with_decay(g, w, 0.5), [6, 2])
    np.testing.assert_array_equal(updates.decayed(w, 0.5, 0.25), [7, -3.5])
    first, m, second = updates.adam(w, g, 0 * w, 0 * w, 1, 0.5, (0.5, 0.75), 0.0)
    np.testing.assert_allclose(first, [7.5, -4.5], rtol=1e-15)
    np.testing.assert_array_equal([m, second], [[1, 2], [1, 4]])


def test_rules_leave_their_arguments_alone():
    w, g, v = (np.array([1.0, 2.0]) for _ in range(3))
    updates.momentum(w, g, v, 0.5, 0.5), updates.adam(w, g, v, v, 1, 0.1)
    for a in (w, g, v):
        np.testing.assert_array_equal(a, [1, 2])


@pytest.mark.parametrize("rule", ["momentum", "nesterov", "decay", "adam", "adamw"])
def test_conventions_are_torchs(rule):
    torch = pytest.importorskip("torch", reason="compares conventions with torch")
    rng = np.random.default_rng(2)
    start, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = {
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        "decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.2),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
    }[rule]([parameter])
    w, m, v = start, np.zeros(5), np.zeros(5)
    for step, g in enumerate(gradients, start=1):
        parameter.grad = torch.tensor(g)
        optimizer.step()
        if rule.startswith("adam"):
            w = updates.decayed(w, 0.1, 0.2) if rule == "adamw" else w
            w, m, v = updates.adam(w, g, m, v, step, 0.1)
        else:
            g = updates.with_decay(g, w, 0.2) if rule == "decay" else g
            w, v = updates.momentum(w, g, v, 0.1, 0.9, nesterov=rule == "nesterov")
    np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12)
