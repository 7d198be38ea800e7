"""Steps whose gradients and packs are gone before they end: the same numbers as gradients that are kept, and the rule."""

from __future__ import annotations

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from vecgrad.program.native_backend import TRAINING
from vecgrad.program.rule import advance, factor_arrays
from vecgrad.updates import SGD, Update

# Packs, slabs and one gradient of a megabyte and more.
LAYERS = (
    Conv2D(64, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(128, 3, padding=1), ReLU(), MaxPool2D(2),
    Flatten(), Dense(256), ReLU(), Dense(10),
)  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_are_gradients_and_the_rule(threads: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 16, 16, 16), dtype=np.float32), rng.integers(0, 10, 32)
    program = vg.compile(
        LAYERS, x.shape[1:], "cross_entropy", vg.SGD(0.25, momentum=0.5), batch_size=32, threads=threads
    )
    moved: dict[str, np.ndarray] = {}
    for images in (32, 32, 5):
        before, gradients = program.parameters, program.gradients(x[:images], y[:images])
        program.step(x[:images], y[:images])
        for name, after in program.parameters.items():
            momentum = np.float32(0.5) * moved[name] if name in moved else np.float32(0)
            moved[name] = momentum + gradients[name]
            np.testing.assert_array_equal(after, before[name] - np.float32(0.25) * moved[name], name)


# With shares that are powers of two, so that nothing but sums is rounded.
OPTIONS = {
    "groups": SGD(0.25, weight_decay=0.25, decay="weights", groups=(("0.*", 2.0, 0.5), ("*.bias", 4.0, 0.0))),
    "average": SGD(0.25, momentum=0.5, average=0.5),
    "lookahead": SGD(0.25, lookahead=2, average=0.75, groups=(("7.weight", 0.5, 0.0),)),
    "clipped": SGD(0.25, clip_norm=0.5, average=0.5, groups=(("*.bias", 2.0, 0.0),)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_change_nothing_of_that(name: str) -> None:
    """Behind whatever comes early: factors, slow parameters, averages of statistics; clipping has nothing come early."""
    rule: Update = OPTIONS[name]
    layers = (*LAYERS[:8], BatchNorm(), *LAYERS[8:])
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 16, 16, 16), dtype=np.float32), rng.integers(0, 10, 32)
    program = vg.compile(layers, x.shape[1:], "cross_entropy", rule, batch_size=32)
    layout = program.layout
    plan = program._backend.plan(TRAINING, training=True)
    early = any(phase.part == "main" and call.op == "update" for phase in plan.phases for call in phase.calls)
    assert early == (name != "clipped")

    def flat(arrays: dict[str, np.ndarray], entries: int) -> np.ndarray:
        found = np.zeros(entries, np.float32)
        for key, view in layout.views(found).items():
            view[...] = arrays[key]
        return found

    for step, images in enumerate((32, 32, 5), 1):
        weights = flat(program.parameters, layout.total)
        state = {key: flat(arrays, layout.kept(key)) for key, arrays in program.state.items()}
        gradient = flat(program.gradients(x[:images], y[:images]), layout.entries)
        program.step(x[:images], y[:images])
        after = flat(program.parameters, layout.total)
        weights[layout.entries :] = after[layout.entries :]
        scalars = {"learning_rate": 0.25, **rule.numbers(step), **factor_arrays(rule, layout)}
        advance(rule, layout, scalars, weights, gradient, state)
        found = {key: flat(arrays, layout.kept(key)) for key, arrays in program.state.items()}
        for key, expected in {"weights": weights, **state}.items():
            np.testing.assert_allclose(
                found.get(key, after),
                expected,
                rtol=2e-7 if name != "clipped" else 1e-5,
                atol=1e-9,
                err_msg=key,
            )


def test_the_network_has_what_it_tries() -> None:
    program = vg.compile(LAYERS, (16, 16, 16), "cross_entropy", vg.SGD(0.25), batch_size=32)
    rows = program.explain().rows
    last = max(row.phase for row in rows)
    assert {row.call.op for row in rows if row.phase < last - 1} >= {"update", "sum", "pack"}
