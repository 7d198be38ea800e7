"""Compiled update rules with their options: equal to the reference, the same bits everywhere, kept by runs and copies."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.program.host import FUSED, MACHINES, same_bits, threads

import vecgrad as vg
from vecgrad.layers import BatchNorm, Conv2D, Dense, Flatten, Sequential, Tanh
from vecgrad.plan.update import SUM_BLOCK
from vecgrad.program import Program
from vecgrad.program.flat import FlatLayout
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.kernel import FlatMapSpec
from vecgrad.spec.machine import Machine
from vecgrad.updates import SGD, Adam, AdamW, RMSprop, Update

Array = np.ndarray[Any, np.dtype[Any]]
# More parameters than one task sums, and no multiple of what one sums.
MODEL = Sequential(
    [Conv2D(5, 3, bias=False), BatchNorm(), Tanh(), Flatten(), Dense(40), Tanh(), Dense(30), Tanh(), Dense(3)]
)
SHAPE = (8, 7, 2)

RULES: dict[str, Update] = {
    "adamw": AdamW(0.01, weight_decay=0.3),
    "rmsprop": RMSprop(0.003, epsilon=1e-3, momentum=0.9, centered=True, weight_decay=0.1),
    "clipped": SGD(0.1, momentum=0.9, clip_norm=0.05),
    "hardly clipped": SGD(0.1, clip_norm=1e6),
    "groups": SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1, groups=(("*.bias", 4.0, 0.25), ("4.*", 0.5, 0.0))),
    "average": SGD(0.05, momentum=0.5, average=0.7),
    "lookahead": SGD(0.05, lookahead=2),
    "all of it": AdamW(
        0.01, epsilon=1e-2, clip_norm=0.1, lookahead=3, lookahead_rate=0.7, average=0.9, groups=(("*.bias", 2.0, 0.5),)
    ),
}  # fmt: skip


class Centralized(Update):
    """Gradient descent along the gradient less its mean over all entries: a sum, and a number made of it."""

    def apply(self, e: Any, w: Any, g: Any, s: Any) -> tuple[Any, dict[str, Any]]:
        rate = self.rate(e)
        total = e.reduce("sum", g, over="channels")
        mean = e.map(lambda t: t / w.shape[0], total)
        return e.map(lambda w, g, m: w - rate * (g - m), w, g, mean), {}


def data(n: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((n, *SHAPE)), rng.integers(0, 3, n)


def made(rule: Update, **more: Any) -> Program:
    settings: dict[str, Any] = {"batch_size": 12, "seed": 2}
    return vg.compile(MODEL, SHAPE, "cross_entropy", rule, **(settings | more))


def trained(program: Program, steps: int = 6) -> dict[str, Array]:
    """All that training leaves, after steps of several learning rates and sizes."""
    x, y = data()
    losses = [
        program.step(x[i % 4 :], y[i % 4 :], learning_rate=program.optimizer.learning_rate * (1 - i / 10))
        for i in range(steps)
    ]  # type: ignore[union-attr]
    state = {f"{key} of {name}": a for key, arrays in program.state.items() for name, a in arrays.items()}
    return {"losses": np.array(losses), "output": program.forward(x), **program.parameters, **state}


@pytest.mark.parametrize("name", RULES)
def test_compiled_equals_the_reference(name: str) -> None:
    found, expected = (
        trained(made(RULES[name], dtype="float64", backend=b)) for b in ("native", "reference")
    )
    assert list(found) == list(expected)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", ["clipped", "all of it"])
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    runs = []
    for count in (1, 2, 3, 4):
        with threads(count):
            runs.append(trained(made(RULES[name])))
    for count, run in enumerate(runs[1:], 2):
        same_bits(run, runs[0], f"{count} threads")
    assert made(RULES[name]).layout.entries > SUM_BLOCK
    assert made(RULES[name]).layout.entries % SUM_BLOCK


@pytest.mark.skipif(len(FUSED) < 2, reason="this processor has one instruction set with a fused multiply-add")
@pytest.mark.parametrize("name", ["groups", "all of it"])
def test_the_same_bits_on_machines_with_fused_multiply_add(name: str) -> None:
    same_bits(*(trained(made(RULES[name], machine=machine)) for machine in FUSED))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
def test_a_clipped_step_is_exact_on_integers(machine: Machine) -> None:
    """Gradients of integers whose norm is one: the factor is that of NumPy, rounded like it."""
    model = Sequential([Dense(1, bias=False)])
    x, t = np.zeros((1, 6000), np.float32), np.full((1, 1), -8, np.float32)
    x[0, ::2] = np.arange(3000) % 5 - 2
    results = []
    for backend in ("native", "reference"):
        rule = SGD(0.5, clip_norm=2.0)
        program = vg.compile(model, (6000,), "mse", rule, 1, backend=backend, parameters={"0.weight": np.zeros((6000, 1))},
                             machine=machine if backend == "native" else None)  # fmt: skip
        program.step(x, t)
        results.append(program.parameters)
    same_bits(*results)
    assert np.linalg.norm(results[0]["0.weight"]) == pytest.approx(1.0, rel=1e-5)


def test_one_pass_over_the_flat_arrays() -> None:
    from vecgrad.program.native_backend import TRAINING, NativeBackend

    program = made(RULES["all of it"])
    backend = program._backend
    assert isinstance(backend, NativeBackend)
    plan = backend.plan(TRAINING, training=True)
    first, end = plan.range("update")
    calls = [call for phase in plan.phases[first:end] for call in phase.calls]
    kinds = [call.spec.kind for call in calls]
    # The norm's two, the rule's one; the last is the average of what is not trained.
    assert kinds == ["flat_sum", "flat_measure", "flat_map", "flat_map"]
    assert isinstance(calls[3].spec, FlatMapSpec)
    assert calls[3].spec.inputs == 2


class TestGroups:
    def test_patterns_of_nested_names(self) -> None:
        """A rate 64 times as large, and as much decay a step as without."""

        def block(n: int) -> Sequential:
            return Sequential(
                [Conv2D(4, 3, bias=False, name="conv1"), BatchNorm(scale=False, name="norm1"), Tanh()],
                name=f"group{n}",
            )

        x, y = data()
        found = []
        for groups in ((), (("*norm*.bias", 64.0, 1 / 64), ("group2.*", 0.0, 1.0))):
            rule = SGD(2.0**-7, groups=groups)
            program = vg.compile(
                [block(1), block(2), Flatten(), Dense(3)], SHAPE, "cross_entropy", rule, 12, seed=2
            )
            before = program.parameters
            program.step(x, y)
            found.append({name: after - before[name] for name, after in program.parameters.items()})
        plain, grouped = found
        for name, moved in plain.items():
            factor = 64 if name.endswith("norm1.bias") else 0 if name == "group2.conv1.weight" else 1
            np.testing.assert_allclose(grouped[name], factor * moved, rtol=1e-5, atol=1e-6, err_msg=name)
        assert np.abs(plain["group1.norm1.bias"]).min() > 1e-6

    def test_the_zoos_speed_run(self) -> None:
        layout = FlatLayout.of(vg.zoo.airbench94().parameters((32, 32, 3)))
        rule = SGD(groups=(("*norm*.bias", 64.0, 1 / 64),))
        rule.check(layout.trained)
        faster = [
            name for name, slot in layout.trained.items() if rule.factors(name, slot.shape) == (64.0, 1 / 64)
        ]
        assert faster == [f"group{g}.norm{n}.bias" for g in (1, 2, 3) for n in (1, 2)]

    @pytest.mark.parametrize("backend", ["native", "reference"])
    @pytest.mark.parametrize("pattern", ["*norm*.bias", "*.running_mean", "4.Weight"])
    def test_a_pattern_that_matches_nothing_is_told(self, pattern: str, backend: str) -> None:
        rule = SGD(groups=(("*.bias", 2.0, 1.0), (pattern, 64.0, 1.0)))
        with pytest.raises(
            ArgumentError, match=re.escape(f"group {pattern!r} matches no trained parameter") + ".*4.weight"
        ):
            made(rule, backend=backend)


class TestAverage:
    @pytest.mark.parametrize("backend", ["native", "reference"])
    def test_predictions_use_it_unless_told_otherwise(self, backend: str) -> None:
        x, y = data()
        program = made(RULES["average"], backend=backend)
        first = program.forward(x)
        for _ in range(3):
            program.step(x, y)
        assert program.averaged
        assert program.average is not None
        twin = vg.compile(
            MODEL, SHAPE, "cross_entropy", backend=backend, batch_size=12, parameters=program.average
        )
        np.testing.assert_array_equal(program.forward(x), twin.forward(x))
        np.testing.assert_array_equal(program.predict_proba(x), twin.predict_proba(x))
        assert program.evaluate(x, y) == twin.evaluate(x, y)
        program.averaged = False
        twin.load_parameters(program.parameters)
        np.testing.assert_array_equal(program.forward(x), twin.forward(x))
        assert program.evaluate(x, y) == twin.evaluate(x, y)
        assert not np.array_equal(first, program.forward(x))

    def test_before_the_first_step_it_is_the_parameters(self) -> None:
        x, _ = data()
        plain = made(SGD())
        np.testing.assert_array_equal(made(RULES["average"]).forward(x), plain.forward(x))

    def test_predictions_follow_each_step(self) -> None:
        """Also by the short way in, which keeps packs of the weights."""
        x, y = data()
        x = x.astype(np.float32)
        program, twin = made(RULES["average"]), vg.compile(MODEL, SHAPE, "cross_entropy", batch_size=12)
        for _ in range(3):
            program.step(x, y)
            assert program.average is not None
            twin.load_parameters(program.average)
            np.testing.assert_array_equal(program.forward(x[:1]), twin.forward(x[:1]))

    def test_statistics_are_averaged_too(self) -> None:
        x, y = data()
        program = made(RULES["average"])
        expected = None
        for step in range(4):
            program.step(x, y)
            now = program.parameters["1.running_mean"].astype(float)
            expected = now if step == 0 else 0.7 * expected + 0.3 * now
        assert program.average is not None
        np.testing.assert_allclose(program.average["1.running_mean"], expected, rtol=1e-5)

    def test_loading_parameters_begins_anew(self) -> None:
        x, y = data()
        program = made(RULES["all of it"])
        program.step(x, y)
        others = made(SGD(), seed=9).parameters
        program.load_parameters(others)
        assert program.average is not None
        for name, array in others.items():
            np.testing.assert_array_equal(program.average[name], array)
        for name, array in program.state["slow"].items():
            np.testing.assert_array_equal(array, others[name])

    def test_only_where_there_is_one(self) -> None:
        program = made(SGD())
        assert program.average is None
        assert not program.averaged
        with pytest.raises(ArgumentError, match="keeps no average"):
            program.averaged = True


def test_a_run_and_a_copy_go_on_as_the_program_would(tmp_path: Path) -> None:
    program = made(RULES["all of it"])
    trained(program)
    loaded = vg.load(program.save(tmp_path / "run"))
    assert loaded.optimizer == program.optimizer
    copy = pickle.loads(pickle.dumps(program))
    results = [trained(one) for one in (program, loaded, copy)]
    same_bits(results[1], results[0])
    same_bits(results[2], results[0])


def test_a_run_of_statistics_and_state_can_be_read(tmp_path: Path) -> None:
    program = made(Adam())
    trained(program)
    loaded = vg.load(program.save(tmp_path / "run"))
    assert loaded.state.keys() == program.state.keys()
    same_bits(trained(loaded), trained(program))


def test_a_rule_written_elsewhere_has_the_options_too() -> None:
    found, expected = (
        trained(made(Centralized(0.01, lookahead=2, average=0.9), dtype="float64", backend=b))
        for b in ("native", "reference")
    )
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-9, err_msg=key)
