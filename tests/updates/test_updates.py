"""Update rules against independent NumPy code and against PyTorch's optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.spec.errors import ArgumentError
from vecgrad.updates import SGD, Adam, AdamW, RMSprop, Update

Array = np.ndarray[Any, np.dtype[Any]]
STEPS = 12

RULES: dict[str, Update] = {
    "plain": SGD(0.1),
    "decay": SGD(0.1, weight_decay=0.02),
    "momentum": SGD(0.05, momentum=0.9),
    "momentum and decay": SGD(0.05, momentum=0.5, weight_decay=0.1),
    "nesterov": SGD(0.05, momentum=0.9, nesterov=True),
    "nesterov and decay": SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": Adam(0.01),
    "adam and decay": Adam(0.01, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1),
    "adamw": AdamW(0.01, decay="all"),
    "adamw, strong": AdamW(0.1, beta1=0.5, weight_decay=0.5, decay="all"),
    "rmsprop": RMSprop(),
    "rmsprop, momentum, decay": RMSprop(0.02, smoothing=0.9, momentum=0.8, weight_decay=0.1),
    "rmsprop, centered": RMSprop(0.02, smoothing=0.5, epsilon=1e-3, centered=True, momentum=0.3),
}


def gradient(w: Array, step: int) -> Array:
    """Some smooth gradient that changes from step to step."""
    return np.sin(3 * w + step) + 0.5 * w


def run(rule: Update, w: Array, steps: int = STEPS) -> Iterator[Array]:
    """The parameters after each step."""
    state = {name: np.zeros_like(w) for name in rule.state()}
    for step in range(1, steps + 1):
        scalars = {"learning_rate": rule.learning_rate, **rule.scalars(step)}
        given = {name: EagerValue(array, False) for name, array in state.items()}
        new, kept = rule.apply(
            EagerEmitter(scalars, w.dtype), EagerValue(w, False), EagerValue(gradient(w, step), False), given
        )
        w, state = new.array, {name: value.array for name, value in kept.items()}
        assert set(state) == set(rule.state())
        yield w


def by_hand(rule: Update, w: Array) -> Iterator[Array]:
    """The same, entry by entry, from the rules' published algorithms."""
    first, second, third = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for step in range(1, STEPS + 1):
        g = gradient(w, step)
        if isinstance(rule, AdamW):
            w = w * (1 - rule.learning_rate * rule.weight_decay)
        else:
            g = g + rule.weight_decay * w  # type: ignore[attr-defined]
        if isinstance(rule, RMSprop):
            rho = rule.smoothing
            first, second = rho * first + (1 - rho) * g, rho * second + (1 - rho) * g**2
            spread = second - first**2 if rule.centered else second
            third = rule.momentum * third + g / (np.sqrt(spread) + rule.epsilon)
            w = w - rule.learning_rate * third
        elif isinstance(rule, Adam):
            first = first + (1 - rule.beta1) * (g - first)
            second = second + (1 - rule.beta2) * (g**2 - second)
            mean, square = first / (1 - rule.beta1**step), second / (1 - rule.beta2**step)
            w = w - rule.learning_rate * mean / (np.sqrt(square) + rule.epsilon)
        else:
            assert isinstance(rule, SGD)
            first = rule.momentum * first + g
            along = g + rule.momentum * first if rule.nesterov else first
            w = w - rule.learning_rate * along
        yield w


@pytest.mark.parametrize("name", RULES)
def test_against_numpy(name: str) -> None:
    w = np.random.default_rng(0).standard_normal(50)
    for found, expected in zip(run(RULES[name], w), by_hand(RULES[name], w), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_against_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    rule = RULES[name]
    w = np.random.default_rng(1).standard_normal(50)
    parameter = torch.tensor(w, requires_grad=True)
    if isinstance(rule, Adam):
        keys = {"betas": (rule.beta1, rule.beta2), "eps": rule.epsilon, "weight_decay": rule.weight_decay}
        kind = torch.optim.AdamW if isinstance(rule, AdamW) else torch.optim.Adam
        peer = kind([parameter], lr=rule.learning_rate, **keys)
    elif isinstance(rule, RMSprop):
        keys = {
            "alpha": rule.smoothing,
            "eps": rule.epsilon,
            "momentum": rule.momentum,
            "centered": rule.centered,
        }
        peer = torch.optim.RMSprop([parameter], lr=rule.learning_rate, weight_decay=rule.weight_decay, **keys)
    else:
        assert isinstance(rule, SGD)
        keys = {"momentum": rule.momentum, "nesterov": rule.nesterov, "weight_decay": rule.weight_decay}
        peer = torch.optim.SGD([parameter], lr=rule.learning_rate, **keys)
    for step, found in enumerate(run(rule, w), 1):
        parameter.grad = torch.tensor(gradient(parameter.detach().numpy(), step))
        peer.step()
        np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=1e-10)


def test_state_is_kept_only_where_it_is_needed() -> None:
    assert SGD().state() == ()
    assert SGD(momentum=0.1).state() == ("velocity",)
    assert Adam().state() == AdamW().state() == ("mean", "square")
    assert RMSprop().state() == ("square",)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: SGD(-0.1), "learning_rate"),
        (lambda: SGD(float("nan")), "learning_rate"),
        (lambda: SGD(float("inf")), "learning_rate"),
        (lambda: SGD("0.1"), "learning_rate"),  # type: ignore[arg-type]
        (lambda: SGD(True), "learning_rate"),
        (lambda: SGD(momentum=1.0), "momentum"),
        (lambda: SGD(momentum=-0.1), "momentum"),
        (lambda: SGD(nesterov=True), "momentum"),
        (lambda: SGD(weight_decay=-1), "weight_decay"),
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: Adam(beta2=-0.5), "beta2"),
        (lambda: Adam(epsilon=-1e-8), "epsilon"),
        (lambda: RMSprop(smoothing=1.0), "smoothing"),
        (lambda: RMSprop(momentum=-1), "momentum"),
        (lambda: SGD(decay="biases"), "decay"),  # type: ignore[arg-type]
        (lambda: SGD(clip_norm=-1.0), "clip_norm"),
        (lambda: SGD(clip_norm=float("nan")), "clip_norm"),
        (lambda: SGD(lookahead=-1), "lookahead"),
        (lambda: SGD(lookahead=True), "lookahead"),
        (lambda: SGD(lookahead=5, lookahead_rate=1.5), "lookahead_rate"),
        (lambda: SGD(average=1.0), "average"),
        (lambda: SGD(groups=(("*.bias", 1.0),)), "groups"),  # type: ignore[arg-type]
        (lambda: SGD(groups=(("*.bias", -1.0, 0.0),)), "rate of group"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make: Callable[[], Update], word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        make()
