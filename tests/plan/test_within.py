"""One image alone: its large layers are cut into tasks, by shapes, and small networks stay whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.networks import LENET, Network
from tests.plan.drafts import planned

from vecgrad.graph.build import Wanted
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from vecgrad.plan import Plan
from vecgrad.spec.kernel import ConvDxSpec, ConvSpec, WinogradSpec
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, NEON, Machine

LAYERS = [
    Conv2D(32, 3, padding=1), ReLU(), Conv2D(32, 3, padding=1), ReLU(), MaxPool2D(4), Conv2D(128, 3, padding=1), ReLU(),
    Flatten(), Dense(256), Dense(10),
]  # fmt: skip


def network(batch: int) -> Network:
    return Network(Sequential(LAYERS), (32, 32, 3), batch)


def gathers(plan: Plan) -> list[tuple[str, int]]:
    """(mode, tasks) of each forward convolution and data gradient; 0 tasks: chunks of images."""
    return [
        (call.spec.mode, 0 if phase.images_per_chunk else phase.chunks)
        for phase in plan.phases
        for call in phase.calls
        if isinstance(call.spec, (ConvSpec, ConvDxSpec, WinogradSpec))
    ]


def test_large_layers_become_tasks_and_small_ones_do_not() -> None:
    found = gathers(planned(network(1), AVX512))
    modes = [mode for mode, _ in found]
    assert modes[:5] == ["rows", "tiles", "blocks", "blocks", "images"]
    for mode, tasks in found:
        assert tasks == 0 if mode == "images" else tasks >= 2
    small = planned(replace(LENET, batch=1), AVX512, wanted=Wanted(prediction=True))
    assert set(gathers(small)) == {("images", 0)}


@pytest.mark.parametrize("machine", [AVX512, AVX2, BASELINE, NEON], ids=lambda m: m.isa)
def test_every_machine_has_tasks_for_two_threads(machine: Machine) -> None:
    found = gathers(planned(network(1), machine))
    assert sum(tasks >= 2 for _, tasks in found) >= 4


def test_several_images_are_shared_out_as_images() -> None:
    assert {mode for mode, _ in gathers(planned(network(4), AVX512))} == {"images", "blocks"}
