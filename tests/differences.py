"""Backward passes against central differences of the forward pass, in float64, one number for each entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.spec.emitter import weighing

Array = np.ndarray[Any, np.dtype[Any]]
STEP = 1e-5
"""With fourth-order differences the truncation is about 1e-20 and the rounding about 1e-11 of the values."""


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Values in (-2, 2), none closer than 1e-3 to another or to zero: no kink and no tie within a step."""
    count = int(np.prod(shape))
    values = (rng.permutation(count) + 0.5 + 0.2 * rng.random(count)) / max(count, 1) * 4 - 2
    values[np.abs(values) < 1e-3] += 2e-3
    return values.reshape(shape)


def differences(f: Callable[[Array], float], at: Array) -> Array:
    """df/d(entry) for each entry."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        here = at[place]
        values = []
        for multiple in (-2, -1, 1, 2):
            at[place] = here + multiple * STEP
            values.append(f(at))
        at[place] = here
        found[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)
    return found


def _emitter(scalars: Mapping[str, float] | None = None) -> EagerEmitter:
    return EagerEmitter(scalars or {}, np.float64)


def _once(arrays: Mapping[str, Array]) -> dict[str, EagerValue]:
    return {name: EagerValue(array, False) for name, array in arrays.items()}


def agree(found: Array, expected: Array, what: str) -> None:
    """Within 1e-8 of the larger of the two, or of 1."""
    assert found.shape == expected.shape, f"{what}: {found.shape} against {expected.shape}"
    scale = max(float(np.abs(expected).max(initial=0)), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * scale, err_msg=what)


def check_layer(layer: Layer, shape: tuple[int, ...], images: int = 2, seed: int = 0) -> None:
    """The layer's ∂z/∂x and ∂z/∂parameters for z = ⟨dy, y⟩ with a random dy."""
    rng = np.random.default_rng(seed)
    x = spread(rng, (images, *shape))
    p = {name: spread(rng, parameter.shape) for name, parameter in layer.parameters(shape).items()}
    dy = rng.standard_normal((images, *layer.infer(shape)))

    def z(_: Array) -> float:
        y, _ = layer.forward(_emitter(), EagerValue(x, True), _once(p))
        return float(np.vdot(y.array, dy))

    e = _emitter()
    y, saved = layer.forward(e, EagerValue(x, True), _once(p))
    assert y.array.shape == dy.shape
    dx, gradients = layer.backward(e, saved, EagerValue(dy, True), _once(p))
    assert set(gradients) == set(p)
    agree(dx.array, differences(z, x), "∂z/∂x")
    for name, array in p.items():
        agree(gradients[name].array, differences(z, array), f"∂z/∂{name}")


def loss_value(loss: Loss, x: Array, t: Array, w: Array) -> float:
    """z of predictions x, targets t (as large as x) and weights w."""
    e = _emitter(weighing(float(w.sum()), int(np.count_nonzero(w))))
    z, _ = loss.forward(e, EagerValue(x, True), EagerValue(t, True), EagerValue(w, True))
    assert z.array.shape == (1,)
    assert not z.batched
    return float(z.array[0])


def loss_gradient(loss: Loss, x: Array, t: Array, w: Array) -> Array:
    """∂z/∂x."""
    e = _emitter(weighing(float(w.sum()), int(np.count_nonzero(w))))
    _, saved = loss.forward(e, EagerValue(x, True), EagerValue(t, True), EagerValue(w, True))
    found: Array = loss.backward(e, saved).array
    return found


def check_loss(loss: Loss, x: Array, t: Array, w: Array) -> None:
    """The loss's ∂z/∂x."""
    expected = differences(lambda moved: loss_value(loss, moved, t, w), x)
    agree(loss_gradient(loss, x, t, w), expected, "∂z/∂x")
