"""Plans of whole networks: text that is kept, grids that depend on shapes alone, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.networks import LARGE, LENET, NETWORKS, Network
from tests.plan.drafts import planned

from vecgrad.graph.build import Wanted
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from vecgrad.plan import Plan
from vecgrad.plan.accumulate import image_groups, slabs_for
from vecgrad.spec.kernel import ConvDwSpec, ConvDxSpec, ConvSpec, DenseDxSpec, DenseSpec
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, NEON, Machine
from vecgrad.updates import SGD, Adam

MACHINES = pytest.mark.parametrize("machine", [AVX512, AVX2, BASELINE, NEON], ids=lambda m: m.isa)


@pytest.mark.parametrize("machine", [AVX512, AVX2], ids=lambda m: m.isa)
def test_lenet_in_text(machine: Machine, golden: Callable[[str, str], None]) -> None:
    golden(f"plan-lenet-{machine.isa}.txt", str(planned(LENET, machine, SGD(momentum=0.9))))


@pytest.mark.parametrize("name", ["flatten, activation, dense", "overlapping pools"])
def test_small_plans_in_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(
        f"plan-{name.replace(', ', '-').replace(' ', '-')}.txt", str(planned(NETWORKS[name], AVX2, Adam()))
    )


def test_a_plan_is_the_same_each_time() -> None:
    assert str(planned(LENET, AVX512, SGD())) == str(planned(LENET, AVX512, SGD()))
    assert planned(LENET, AVX512, SGD()) == planned(LENET, AVX512, SGD())


@pytest.mark.parametrize(
    ("batch_size", "slabs"), [(1, 1), (2, 2), (3, 2), (5, 4), (8, 8), (10, 8), (16, 16), (17, 16), (128, 16)]
)
def test_slabs(batch_size: int, slabs: int) -> None:
    assert slabs_for(batch_size) == slabs


def test_image_groups_make_tasks_enough_but_never_more_than_images() -> None:
    for blocks in range(1, 100):
        for batch in (1, 3, 16, 128):
            groups = image_groups(blocks, batch)
            assert groups in (1, 2, 4, 8, 16)
            assert groups <= batch
            assert groups == 1 or (groups // 2) * blocks < 64


def grid(plan: Plan) -> list[tuple[object, ...]]:
    """All that decides the order of a sum over images."""
    found: list[tuple[object, ...]] = []
    for phase in plan.phases:
        for call in phase.calls:
            if call.op in ("conv_dw", "reduce_pixels"):
                spec = call.spec
                groups = (spec.image_groups, spec.images_per_group) if isinstance(spec, ConvDwSpec) else ()
                chunks = (phase.chunks, phase.images_per_chunk) if phase.images_per_chunk else ("tasks",)
                found.append((call.op, call.scope, *chunks, *groups))
    # Where slabs and gradients lie may differ by machine; how many slabs meet, how long and for whom may not.
    return [*found, *((slabs, *rest) for _, _, slabs, _, *rest in plan.segments)]


@MACHINES
@pytest.mark.parametrize("network", [LENET, LARGE, *NETWORKS.values()], ids=["lenet", "large", *NETWORKS])
def test_grids_of_sums_depend_on_shapes_alone(network: Network, machine: Machine) -> None:
    expected = grid(planned(network, AVX512, SGD()))
    assert grid(planned(network, machine, SGD())) == expected
    slower = replace(machine, l1=8 * 1024, l2=64 * 1024, gflops=1.0, l2_gbs=1.0)
    assert grid(planned(network, slower, SGD())) == expected


def test_large_weights_go_by_blocks() -> None:
    """Of a dense layer, a weight gradient, and the data gradient of small maps."""
    specs = [call.spec for call in planned(LARGE, AVX512, SGD()).calls()]
    modes = {type(s): set() for s in specs}  # type: ignore[var-annotated]
    for s in specs:
        if isinstance(s, (ConvSpec, ConvDxSpec, ConvDwSpec)):
            modes[type(s)].add(s.mode)
    assert modes[ConvDwSpec] == {"images", "blocks"}
    assert modes[ConvSpec] == {"images"}
    assert modes[ConvDxSpec] == {"images", "blocks"}
    assert {DenseSpec, DenseDxSpec} < set(modes)


@MACHINES
def test_every_operand_lies_inside_its_memory(machine: Machine) -> None:
    for network in NETWORKS.values():
        plan = planned(network, machine, Adam())
        limits = {
            "arena": plan.arena,
            "frame": plan.frame,
            "packs": plan.packs,
            "gradients": plan.gradients * 4,
        }
        for phase in plan.phases:
            for call in phase.calls:
                assert len(call.operands) <= 40
                for place in call.operands:
                    assert place.offset % 64 == 0 or place.base in (
                        "table",
                        "x",
                        "target",
                        "weight",
                        "parameters",
                        "gradients",
                    )
                    assert 0 <= place.offset <= limits.get(place.base, place.offset)


def test_parts_follow_one_another() -> None:
    plan = planned(LENET, AVX512, SGD())
    main, update, pack = (plan.range(part) for part in ("main", "update", "pack"))
    assert main[0] == 0
    assert main[1] == update[0] < update[1] == pack[0] < pack[1] == len(plan.phases)
    forward = planned(LENET, AVX512, None, Wanted(prediction=True))
    assert forward.range("update")[0] == forward.range("update")[1]


def test_no_pass_pools_where_winograd_s_kernels_do_and_one_does_where_they_do_not() -> None:
    """Both gradients of the second convolution read the un-pooled one: only direct kernels need it stored, once."""
    for kernel, passes in ((3, []), (5, ["max_pool_dx"])):
        layers = (
            Conv2D(32, 3, padding=1),
            ReLU(),
            MaxPool2D(2),
            Conv2D(32, kernel, padding="same"),
            ReLU(),
            MaxPool2D(2),
        )
        network = Network(Sequential((*layers, Flatten(), Dense(4))), (16, 16, 16), batch=64)
        plan = planned(network, AVX512, SGD())
        assert [call.op for call in plan.calls() if "max_pool" in call.op] == passes
        scopes = [call.scope for call in plan.calls() if call.op == "conv_dw"]
        assert scopes == ["7", "3" if passes else "3+5", "0+2"]


def test_weights_are_packed_once_for_each_direction() -> None:
    plan = planned(LENET, AVX512, SGD())
    packs = [call for phase in plan.phases if phase.part == "pack" for call in phase.calls]
    # Five layers forward; four need ∂z/∂x.
    assert len(packs) == 9
    places = sorted(call.operands[1].offset for call in packs)
    assert len(set(places)) == 9


def test_json() -> None:
    plan = planned(LENET, AVX2, SGD())
    told = json.loads(json.dumps(plan.to_json()))
    assert (told["machine"], told["dtype"], told["batch_size"]) == ("avx2", "float32", 64)
    assert told["arena_bytes"] == plan.arena
    calls = [call for phase in told["phases"] for call in phase["calls"]]
    assert len(calls) == sum(1 for _ in plan.calls())
    first = calls[0]
    assert (first["op"], first["layer"], first["formula"]) == ("conv", "0+1", "2.9, bias, 5.1")
    assert first["flops"] >= 2 * 28 * 28 * 6 * 25 * 64
    assert first["predicted_seconds"] > 0
    assert {"name", "kernel", "tile", "fused", "bytes", "operands", "refused", "stage"} <= set(first)


def test_the_convolutions_work_is_the_networks() -> None:
    plan = planned(LENET, AVX512, None, Wanted(prediction=True))
    convolutions = sum(call.flops for call in plan.calls() if call.op == "conv")
    assert convolutions == pytest.approx(64 * LENET.model.flops(LENET.shape), rel=0.05)
