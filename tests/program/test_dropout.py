"""Dropout in whole programs: one mask for all that compute it, none in a prediction, and the same after a pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.program.host import MACHINES, same_bits, threads

import vecgrad as vg
from vecgrad import check
from vecgrad.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    SpatialDropout2D,
)

SHAPE = (7, 6, 3)
# Rates of one half keep integers integers: the scale is 2.
NET = [
    Conv2D(20, 3), ReLU(), Dropout(0.5), Conv2D(6, 2), MaxPool2D(2), SpatialDropout2D(0.5), Flatten(), Dropout(0.5), Dense(4),
]  # fmt: skip


def integers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def program(net: list[Layer] = NET, **more: Any) -> Any:
    settings = {"loss": "mse", "optimizer": vg.SGD(2.0**-10), "batch_size": 8, "seed": 2**35 + 1}
    made = vg.compile(net, SHAPE, **(settings | more))
    made.load_parameters({name: integers(i, *a.shape) for i, (name, a) in enumerate(made.parameters.items())})
    return made


X, T = integers(50, 8, *SHAPE), integers(51, 8, 4)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
def test_the_same_bits_as_the_reference(machine: Any) -> None:
    reference, native = program(backend="reference"), program(machine=machine)
    for steps in (0, 1, 2**32 - 1):
        for one in (reference, native):
            one.load_state({}, steps)
        for n in (8, 5, 1):
            expected = reference.gradients(
                X[:n], T[:n], np.full(n, 8.0 / n) if n in (8, 1) else [1, 1, 1, 1, 4], inputs=True
            )
            for count in (1, 2, 3):
                with threads(count):
                    found = native.gradients(
                        X[:n], T[:n], np.full(n, 8.0 / n) if n in (8, 1) else [1, 1, 1, 1, 4], inputs=True
                    )
                same_bits(found, expected, f"{n} images, {count} threads, step {steps}")


def test_a_prediction_leaves_nothing_out() -> None:
    without = [layer for layer in NET if not isinstance(layer, Dropout)]
    for backend in ("native", "reference"):
        one, other = program(backend=backend), program(without, backend=backend)
        np.testing.assert_array_equal(one.forward(X), other.forward(X))
        assert one.evaluate(X, T).loss == other.evaluate(X, T).loss
        for a, b in zip(
            one.gradients(X, T, training=False).values(), other.gradients(X, T).values(), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_gradients_are_those_of_the_step_that_is_due(backend: str) -> None:
    one = program(backend=backend)
    before, gradients = one.parameters, one.gradients(X, T)
    one.step(X, T)
    for name, after in one.parameters.items():
        np.testing.assert_array_equal(after, before[name] - np.float32(2.0**-10) * gradients[name])
    later = one.gradients(X, T)
    assert any((later[name] != gradients[name]).any() for name in later)


def test_training_goes_on_with_the_same_masks(tmp_path: Path) -> None:
    straight, stopped = program(), program()
    for one in (straight, stopped):
        one.step(X, T)
        one.step(X, T)
    loaded = vg.load(stopped.save(tmp_path / "run"))
    assert [straight.step(X, T) for _ in range(3)] == [loaded.step(X, T) for _ in range(3)]


def test_masks_that_differ() -> None:
    """Two layers, two images, two steps: never the same choice; a whole channel or none."""
    net = [
        Dropout(0.5, name="a"),
        Dropout(0.5, name="b"),
        SpatialDropout2D(0.5, name="c"),
        Flatten(),
        Dense(4),
    ]
    one = vg.compile(net, (9, 8, 16), "mse", batch_size=2)
    x = np.ones((2, 9, 8, 16), np.float32)
    trace = one.trace(x, np.zeros((2, 4), np.float32))
    first, second = trace["b"].x, trace["c"].x
    assert set(np.unique(first)) == {0, 2}
    assert 0.4 < (first[0] != first[1]).mean() < 0.6
    both = (second[first > 0] > 0).mean()
    assert 0.4 < both < 0.6
    spatial = trace["3"].x
    kept = (spatial > 0).any((1, 2))
    assert ((spatial > 0) == ((second > 0) & kept[:, None, None, :])).all()
    assert 0 < kept.mean() < 1


def test_gradient_checks_hold_the_mask_fixed() -> None:
    assert check.layer(Dropout(0.3), (4, 3, 5)).passed
    assert check.layer(SpatialDropout2D(0.3), (4, 3, 5)).passed
    assert check.model([Conv2D(4, 3, bias=False), BatchNorm(), Dropout(0.5), Dense(3)], (5, 5, 2)).passed
    assert check.layer(BatchNorm(), (3, 2, 4), images=3).passed
    assert check.layer(BatchNorm(), (3, 2, 4), images=3, training=False).passed


def test_a_check_sees_another_mask_on_the_way_back() -> None:
    class Wrong(Dropout):
        def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
            return self._masked(e, dy, e.keep(dy, dy.shape, self.rate)), {}

    with pytest.raises(check.GradientError):
        check.layer(Wrong(0.5), (4, 3, 5))


def test_a_mask_takes_a_byte_for_each_entry() -> None:
    def arena(net: list[Layer]) -> int:
        return int(program(net).explain().plan.arena)

    plain, masked = (arena([Conv2D(64, 3), *more, Dense(4)]) for more in ([ReLU()], [ReLU(), Dropout(0.5)]))
    # 8 images of 5 × 4 pixels and 64 channels, and the activations twice at most: before and behind the mask.
    assert masked - plain <= 8 * 5 * 4 * 64 * (1 + 4)
