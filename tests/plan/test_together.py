"""Sums over the pixels of one map that are formed in one pass: which ones, and that each stays the chain it was."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from tests.networks import Network
from tests.plan.drafts import planned

import vecgrad as vg
from vecgrad.layers import BatchNorm, Conv2D, Dense, Flatten, ReLU, Sequential
from vecgrad.plan import elementwise
from vecgrad.plan.draft import Argument, Buffer, DraftCall
from vecgrad.plan.fuse import Step
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.runtime import native_available
from vecgrad.spec.kernel import ReducePixelsSpec
from vecgrad.spec.machine import AVX512
from vecgrad.spec.scalar import Expr, Operand
from vecgrad.spec.tensor import Layout
from vecgrad.updates import SGD

MODEL = Sequential((Conv2D(8, 3), BatchNorm(), ReLU(), Conv2D(12, 3), ReLU(), Flatten(), Dense(10)))
APART = patch("vecgrad.plan.elementwise._together", lambda last, spec, inputs: False)


def sums(plan: Plan) -> list[PlannedCall]:
    """Those of the backward pass."""
    return [call for call in plan.calls() if call.op == "reduce_pixels" and call.stage == "backward"]


def test_a_normalization_walks_its_gradient_once() -> None:
    network = Network(MODEL, (8, 8, 3), batch=32)
    [both] = [call for call in sums(planned(network, AVX512, SGD())) if call.scope == "1"]
    assert isinstance(both.spec, ReducePixelsSpec)
    assert len(both.spec.exprs) == 2
    assert both.formula == "bias, batch-norm"
    # dy, x, mean and 1 / √(variance + ε), then a slab for each.
    assert len(both.spec.inputs) == 4
    assert len(both.operands) == 6


def test_other_maps_are_walked_apart() -> None:
    """Neither of the two biases nor the loss reads what another one reads."""
    calls = sums(planned(Network(MODEL, (8, 8, 3), batch=32), AVX512, SGD()))
    assert all(len(call.spec.exprs) == 1 for call in calls if call.scope != "1")  # type: ignore[attr-defined]


def test_operands_are_those_that_the_pass_has_already() -> None:
    """The second sum reads them in another order, and one more."""
    map_, vector = Layout(4, 4, 8, 8), Layout(1, 1, 8, 8, batched=False)
    a, b, c, one, two = (Argument(Buffer(512, batched)) for batched in (True, True, False, False, False))
    x0, x1, x2 = (Operand(n) for n in range(3))

    def call(expr: Expr, layouts: tuple[Layout, ...], *arguments: Argument) -> DraftCall:
        step = Step("reduce_pixels", None, (), expr, (), (), ())
        return DraftCall(ReducePixelsSpec((expr,), layouts, 8), arguments, step, step.op, 1)

    last, other = (
        call(x0 - x1, (map_, map_), a, b, one),
        call(x0 * 2 + x1 + x2, (map_, vector, map_), b, c, a, two),
    )
    assert isinstance(other.spec, ReducePixelsSpec)
    assert other.step is not None
    assert elementwise._together(last, other.spec, other.arguments[:-1])
    elementwise._join(last, other.step, other.spec, other.arguments)
    assert last.arguments == (a, b, c, one, two)
    assert last.spec == ReducePixelsSpec((x0 - x1, x1 * 2 + x2 + x0), (map_, map_, vector), 8)


@pytest.mark.skipif(not native_available(), reason="compiled programs need llvmlite")
def test_the_bits_are_those_of_sums_apart() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 8, 8, 3), np.float32), rng.integers(0, 10, 6)

    def trained() -> dict[str, np.ndarray]:
        program = vg.compile(MODEL, (8, 8, 3), "cross_entropy", SGD(0.1), 6, threads=1)
        for _ in range(3):
            program.step(x, y)
        return {name: array.copy() for name, array in program.parameters.items()}

    together = trained()
    with APART:
        apart = trained()
    for name, array in together.items():
        np.testing.assert_array_equal(array, apart[name], name)
