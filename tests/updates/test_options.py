"""What every rule can have around it: clipping, groups, lookahead, an average; against PyTorch and against plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.updates import SGD, Adam, AdamW, RMSprop, Update

Array = np.ndarray[Any, np.dtype[Any]]
STEPS = 11


def gradient(w: Array, step: int) -> Array:
    return np.sin(3 * w + step) + 0.5 * w


def run(rule: Update, w: Array, factors: Mapping[str, Array] | None = None) -> Iterator[dict[str, Array]]:
    """Parameters "w" and all arrays after each step; slow parameters and the average begin as the parameters."""
    state = {name: w if name in ("slow", "average") else np.zeros_like(w) for name in rule.arrays()}
    for step in range(1, STEPS + 1):
        scalars: dict[str, Any] = {
            "learning_rate": rule.learning_rate,
            **rule.numbers(step),
            **(factors or {}),
        }
        new, kept = rule.advance(
            EagerEmitter(scalars, w.dtype), EagerValue(w, False), EagerValue(gradient(w, step), False),
            {name: EagerValue(array, False) for name, array in state.items()},
        )  # fmt: skip
        w, state = new.array, {name: value.array for name, value in kept.items()}
        assert list(state) == list(rule.arrays())
        yield {"w": w, **state}


def start(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(50)


@pytest.mark.parametrize("norm", [0.0, 0.7, 1e3])
def test_clipping_is_pytorchs(norm: float) -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    parts = [torch.tensor(half, requires_grad=True) for half in np.split(start(), 2)]
    peer = torch.optim.SGD(parts, lr=0.1, momentum=0.9)
    for step, found in enumerate(run(SGD(0.1, momentum=0.9, clip_norm=norm), start()), 1):
        for part in parts:
            part.grad = torch.tensor(gradient(part.detach().numpy(), step))
        torch.nn.utils.clip_grad_norm_(parts, norm)
        peer.step()
        np.testing.assert_allclose(
            found["w"], np.concatenate([p.detach().numpy() for p in parts]), rtol=1e-10
        )


def test_groups_are_pytorchs_parameter_groups() -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    rule = AdamW(0.05, weight_decay=0.2, groups=(("*.bias", 4.0, 0.25), ("*", 1.0, 1.0)))
    weight, bias = (torch.tensor(half, requires_grad=True) for half in np.split(start(), 2))
    peer = torch.optim.AdamW([
        {"params": [weight], "lr": 0.05, "weight_decay": 0.2}, {"params": [bias], "lr": 0.2, "weight_decay": 0.05},
    ])  # fmt: skip
    pairs = [rule.factors(name, (25,)) for name in ("0.weight", "0.bias")]
    factors = {
        f"group.{what}": np.repeat([pair[i] for pair in pairs], 25)
        for i, what in enumerate(("rate", "decay"))
    }
    for step, found in enumerate(run(rule, start(), factors), 1):
        for part in (weight, bias):
            part.grad = torch.tensor(gradient(part.detach().numpy(), step))
        peer.step()
        both = np.concatenate([weight.detach().numpy(), bias.detach().numpy()])
        np.testing.assert_allclose(found["w"], both, rtol=1e-10)


@pytest.mark.parametrize(
    "rule", [SGD(0.1, weight_decay=0.5), RMSprop(0.1, weight_decay=0.5), Adam(0.1, weight_decay=0.5)]
)
def test_what_does_not_decay_moves_as_without_decay(rule: Update) -> None:
    from dataclasses import replace

    mask = np.repeat([1.0, 0.0], 25)
    some = [
        found["w"]
        for found in run(
            replace(rule, decay="weights"), start(), {"group.decay": mask, "group.rate": np.ones(50)}
        )
    ]
    every = [found["w"] for found in run(rule, start())]
    none = [found["w"] for found in run(replace(rule, weight_decay=0.0), start())]  # type: ignore[call-arg]
    for one, all_, no in zip(some, every, none, strict=True):
        np.testing.assert_array_equal(one, np.where(mask > 0, all_, no))
    assert not np.array_equal(every[0], none[0])


def test_factors_of_parameters() -> None:
    rule = SGD(decay="weights", groups=(("2.*", 3.0, 0.5), ("*.bias", 2.0, 1.0)))
    assert rule.factors("0.weight", (3, 3, 1, 8)) == (1, 1)
    assert rule.factors("1.weight", (8,)) == (1, 0)
    assert rule.factors("1.bias", (8,)) == (2, 1)
    assert rule.factors("2.bias", (8,)) == (3, 0.5)
    assert SGD().factors("1.bias", (8,)) == (1, 1)
    assert not SGD().grouped
    assert AdamW().grouped


def test_the_average_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = torch.nn.Linear(50, 1, bias=False, dtype=torch.float64)
    model.weight.data = torch.tensor(start()[None])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    for found in run(SGD(0.1, momentum=0.9, average=0.8), start()):
        model.weight.data = torch.tensor(found["w"][None])
        average.update_parameters(model)
        np.testing.assert_allclose(found["average"], average.module.weight.detach().numpy()[0], rtol=1e-12)


def test_lookahead_is_its_algorithm() -> None:
    """Zhang et al., algorithm 1, around plain gradient descent."""
    rate, share, k = 0.1, 0.4, 3
    slow = fast = start()
    for step, found in enumerate(run(SGD(rate, lookahead=k, lookahead_rate=share), start()), 1):
        fast = fast - rate * gradient(fast, step)
        if step % k == 0:
            slow = slow + share * (fast - slow)
            fast = slow
        np.testing.assert_allclose(found["w"], fast, rtol=1e-12)
        np.testing.assert_allclose(found["slow"], slow, rtol=1e-12)


def test_the_average_is_of_what_lookahead_leaves() -> None:
    found = list(run(SGD(0.1, lookahead=1, lookahead_rate=0.5, average=0.5), start()))
    assert list(found[0]) == ["w", "slow", "average"]
    np.testing.assert_array_equal(found[0]["average"], found[0]["w"])
    np.testing.assert_allclose(found[1]["average"], (found[0]["w"] + found[1]["w"]) / 2, rtol=1e-12)


def test_a_rule_says_what_is_not_as_usual() -> None:
    assert str(SGD(0.05, momentum=0.9)) == "SGD(learning_rate=0.05, momentum=0.9)"
    assert str(AdamW(average=0.99)) == "AdamW(learning_rate=0.001, average=0.99)"
