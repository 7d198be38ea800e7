"""Steps whose gradients and packs are gone before they end: the same numbers as gradients that are kept, and the rule."""

from __future__ import annotations

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

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


def test_the_network_has_what_it_tries() -> None:
    program = vg.compile(LAYERS, (16, 16, 16), "cross_entropy", vg.SGD(0.25), batch_size=32)
    rows = program.explain().rows
    last = max(row.phase for row in rows)
    assert {row.call.op for row in rows if row.phase < last - 1} >= {"update", "sum", "pack"}
