"""Maps that kernels compute where they read: which ones, what is left of their passes, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
from tests.networks import Network
from tests.plan.drafts import planned

import vecgrad as vg
from vecgrad.graph.build import Wanted
from vecgrad.kernels.expression import cost
from vecgrad.layers import (
    GELU,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    ReLU,
    Residual,
    Sequential,
)
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.spec.kernel import MapSpec, Prologue
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.updates import SGD

# As if no map could wait for its reader.
PASSES = patch("vecgrad.plan.make.read_once", lambda steps, outputs, again: set())


def separable(channels: int) -> tuple[Layer, ...]:
    """A depthwise convolution and a 1 × 1, each normalized and rectified."""
    depthwise = Conv2D(channels, 3, padding=1, groups=channels, bias=False)
    return depthwise, BatchNorm(), ReLU(), Conv2D(channels, 1, bias=False), BatchNorm(), ReLU()


def network(*layers: Layer, channels: int = 256, size: int = 8) -> Network:
    first = Conv2D(channels, 1, bias=False), BatchNorm(), ReLU()
    return Network(Sequential((*first, *layers, GlobalAvgPool2D(), Dense(10))), (size, size, 64), batch=32)


def plan_of(*layers: Layer, channels: int = 256, size: int = 8, machine: Machine = AVX512) -> Plan:
    return planned(network(*layers, channels=channels, size=size), machine, SGD(0.1))


def prologue(call: PlannedCall) -> Prologue | None:
    found: Prologue | None = getattr(call.spec, "prologue", None)
    return found


def readers(plan: Plan) -> list[tuple[str, str]]:
    """(kernel, its first layer) of the calls that compute a map where they read it, in order."""
    return [(call.kernel, call.scope.split("+")[0]) for call in plan.calls() if prologue(call)]


def passes(plan: Plan) -> list[str]:
    """The layers of maps over pixels of the forward pass, wherever they are computed."""
    return [
        call.scope
        for call in plan.calls()
        if isinstance(call.spec, MapSpec) and call.stage == "forward" and call.kernel == "map.pixels"
        if cost(call.spec.exprs) > 1
    ]


def test_a_separable_block_has_no_passes() -> None:
    """Forward and for the weight gradients, which find the maps made again."""
    plan = plan_of(*separable(256))
    assert readers(plan) == [
        ("conv.depthwise", "3"), ("conv.strassen", "6"),
        ("conv_dw.direct", "6"), ("conv_dw.depthwise", "3"),
    ]  # fmt: skip
    # What the average pooling reads is left.
    assert passes(plan) == ["7+8"]
    with PASSES:
        plan = plan_of(*separable(256))
    assert not readers(plan)
    assert passes(plan) == ["1+2", "4+5", "7+8", "4+5", "1+2"]


def test_winograds_tiles_compute_it_with_wide_vectors() -> None:
    layers = Conv2D(64, 3, padding=1, bias=False), BatchNorm(), ReLU()
    plan = plan_of(*layers, channels=64, size=32)
    assert readers(plan) == [("conv.winograd", "3"), ("conv_dw.winograd", "3")]
    assert not readers(plan_of(*layers, channels=64, size=32, machine=AVX2))


def test_what_several_read_is_a_pass() -> None:
    """The stem's value, which an addition reads too, forward; backward a single weight gradient would read it, but it is one of two
    stages that must agree."""
    plan = plan_of(Residual(separable(256)[:-1]), ReLU())
    assert "1+2" in passes(plan)
    assert ("conv.depthwise", "3.body.0") not in readers(plan)


def test_of_two_convolutions_none_takes_it_over() -> None:
    plan = plan_of(*separable(256), Residual((Conv2D(256, 1, bias=False),), Conv2D(256, 1, bias=False)))
    assert ("conv.strassen", "6") in readers(plan)
    assert all(not layer.startswith("9") for _, layer in readers(plan))


@pytest.mark.parametrize(
    ("layer", "computed"), [(ReLU(), ["conv.strassen"]), (GELU(), [])], ids=["cheap", "dear"]
)
def test_what_is_dear_is_a_pass(layer: Layer, computed: list[str]) -> None:
    model = Sequential((layer, Conv2D(256, 1), GlobalAvgPool2D(), Dense(10)))
    plan = planned(Network(model, (8, 8, 256), batch=32), AVX512, wanted=Wanted(prediction=True))
    assert [kernel for kernel, _ in readers(plan)] == computed


def test_a_wish_for_the_value_makes_it() -> None:
    """Results of a trace are stored, whoever reads them."""
    traced = Wanted(training=True, trace=True, loss=True)
    assert not readers(planned(network(*separable(256)), AVX512, wanted=traced))


def test_a_dense_layers_map_is_no_single_pixels() -> None:
    model = Sequential((*separable(256), Flatten(), Dense(256), BatchNorm(), ReLU(), Dense(10)))
    plan = planned(Network(model, (2, 1, 256), batch=32), AVX512, SGD(0.1))
    assert all(layer != "7" for _, layer in readers(plan))


def test_the_vectors_are_operands_behind_the_map() -> None:
    for call in plan_of(*separable(256)).calls():
        if found := prologue(call):
            assert [vector.shape for vector in found.vectors] == [(1, 1, 256)] * 3
            bases = [place.base for place in call.operands[: 1 + len(found.vectors)]]
            assert bases[0] == "arena"
            assert "frame" not in bases


def trained(layers: Sequence[Layer], size: int, batch: int) -> list[float]:
    assert vg.compile is not None
    model = Sequential((*layers, GlobalAvgPool2D(), Dense(10)))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(batch, size, size, 16)).astype(np.float32), rng.integers(0, 10, batch)
    p = vg.compile(model, (size, size, 16), "cross_entropy", SGD(0.1), batch_size=batch, threads=2)
    losses = [p.step(x, y) for _ in range(3)]
    # A smaller batch, and images alone, go through the same kernels.
    return [
        *losses,
        p.step(x[:3], y[:3]),
        *p.predict_proba(x)[:2].ravel().tolist(),
        p.evaluate(x, y).loss,
    ]


@pytest.mark.parametrize("size", [8, 5])
def test_the_step_has_the_same_bits(size: int) -> None:
    layers = (
        Conv2D(256, 1), BatchNorm(), ReLU(), *separable(256), Conv2D(32, 3, stride=2, padding=1), BatchNorm(), ReLU(),
        Conv2D(32, 3, padding=1), BatchNorm(), ReLU(),
    )  # fmt: skip
    fewer = trained(layers, size, 12)
    with PASSES:
        assert trained(layers, size, 12) == fewer
