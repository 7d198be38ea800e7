"""Which convolutions of a plan take Winograd's algorithm, and what the plan says about it."""

from __future__ import annotations

import itertools

import pytest
from tests.networks import Network
from tests.plan.drafts import TRAINING, planned

from vecgrad.graph.build import record
from vecgrad.layers import Conv2D, Dense, Flatten, Sequential
from vecgrad.losses import LOSSES
from vecgrad.plan import Plan, make
from vecgrad.plan.plan import PlannedCall
from vecgrad.program.flat import FlatLayout
from vecgrad.spec.kernel import ConvDwSpec, WinogradDwSpec, WinogradSpec
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, NEON
from vecgrad.updates import SGD


def network(channels: int, size: int, batch: int, **options: object) -> Network:
    layers = [Conv2D(channels, 3, padding="same", **options), Conv2D(channels, 3, padding="same", **options)]  # type: ignore[arg-type]
    return Network(Sequential(layers), (size, size, channels), batch)


def convolutions(plan: Plan) -> list[PlannedCall]:
    return [call for call in plan.calls() if call.op.startswith("conv")]


def test_all_directions_take_it_and_say_why() -> None:
    for call in convolutions(planned(network(64, 16, 32), AVX512)):
        assert call.kernel == f"{call.op}.winograd"
        [note] = [text for text in call.refused if text.startswith(f"{call.op}.direct")]
        assert "thousand cycles an image" in note
        assert call.tile.count("/") == 1


def test_products_of_matrices_take_strassens() -> None:
    """Forward and data gradient; weight gradients stay direct, and in float64 everything does."""
    layers = [Conv2D(256, 1), Conv2D(256, 1)]
    given = Network(Sequential(layers), (4, 4, 256), 64)
    for call in convolutions(planned(given, AVX512)):
        assert call.kernel == f"{call.op}.{'direct' if call.op == 'conv_dw' else 'strassen'}"
        if call.op != "conv_dw":
            assert any(text.startswith(f"{call.op}.direct") for text in call.refused)
            assert call.tile.count("/") == 1
    found = convolutions(planned(given, AVX512, dtype="float64"))
    assert all(call.kernel == f"{call.op}.direct" for call in found)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (network(8, 16, 32), "fewer than 16 channels"),
        (network(64, 16, 32, stride=2), "stride"),
        (network(64, 16, 32, groups=2), "groups"),
        (network(256, 4, 1), "thousand cycles"),
        (network(64, 3, 1), "thousand cycles"),
    ],
    ids=["thin", "strided", "groups", "one small image", "one tile"],
)
def test_another_where_it_does_not_apply_or_pay(given: Network, reason: str) -> None:
    found = convolutions(planned(given, AVX512))
    assert not any(call.kernel == f"{call.op}.winograd" for call in found)
    for call in found:
        assert any(text.startswith(f"{call.op}.winograd") and reason in text for text in call.refused)


def test_float64_is_direct() -> None:
    found = convolutions(planned(network(64, 16, 32), AVX512, dtype="float64"))
    assert all(call.kernel.endswith(".direct") for call in found)


def test_direct_on_demand() -> None:
    given = network(64, 16, 32)
    layout = FlatLayout.of(given.model.parameters(given.shape))
    shapes = {name: slot.shape for name, slot in layout.slots.items()}
    offsets = {name: slot.offset for name, slot in layout.slots.items()}
    out = given.model.infer(given.shape)
    graph = record(given.model, LOSSES["mse"](), given.shape, out, shapes, "float32", TRAINING)
    plan = make(graph, AVX512, "float32", 32, offsets, layout.entries, algorithm="direct")
    for call in convolutions(plan):
        assert call.kernel.endswith(".direct")
        assert any("asks for direct" in text for text in call.refused)


@pytest.mark.parametrize("channels", [16, 17, 64, 256, 512])
def test_no_machine_has_a_say(channels: int) -> None:
    """The algorithm, its tasks and its slabs are the same on every machine, so that bits are."""
    for size, batch in itertools.product((4, 8), (1, 6, 64)):
        found = []
        for machine in (AVX512, AVX2, BASELINE, NEON):
            grid: list[tuple[object, ...]] = []
            for call in convolutions(planned(network(channels, size, batch), machine, SGD())):
                spec = call.spec
                # Rows of filters in the lanes give the direct kernel's bits.
                grid.append((call.op, call.kernel.replace("conv_dw.rows", "conv_dw.direct")))
                if isinstance(spec, WinogradSpec):
                    grid.append((spec.mode, spec.image_groups, spec.images_per_group, spec.parts))
                if isinstance(spec, WinogradDwSpec):
                    grid.append(
                        (spec.mode, spec.image_groups, spec.images_per_group, spec.k_block, spec.c_block)
                    )
            found.append(grid)
        assert all(each == found[0] for each in found)


def test_many_weights_and_few_tiles_are_tasks() -> None:
    """Chunks of two images of one tile each would read 38 MB of weights 16 times."""
    plan = planned(network(512, 4, 32), AVX512)
    [call, *_] = [c for c in convolutions(plan) if c.op == "conv"]
    assert isinstance(call.spec, WinogradSpec)
    assert (call.spec.image_groups, call.spec.images_per_group, call.spec.parts) == (1, 32, 8)
    [phase] = [p for p in plan.phases if call in p.calls]
    assert (phase.images_per_chunk, phase.chunks) == (0, 8)


@pytest.mark.parametrize(
    ("channels", "size", "batch", "groups", "block", "turns"),
    [(256, 8, 64, 2, (64, 128), 1), (512, 4, 32, 1, (64, 256), 4), (384, 4, 32, 1, (64, 128), 2),
     (128, 16, 64, 8, (64, 128), 1), (192, 8, 64, 2, (64, 64), 1), (128, 4, 32, 2, (64, 64), 1)],
)  # fmt: skip
def test_winograds_tasks_take_two_blocks_where_enough_are_left(
    channels: int, size: int, batch: int, groups: int, block: tuple[int, int], turns: int
) -> None:
    """Four, in turns, where a task's tiles are one block. Groups of images, which bits depend on, are those of blocks of 64
    channels either way."""
    plan = planned(network(channels, size, batch), AVX512, SGD())
    call = next(c for c in convolutions(plan) if c.op == "conv_dw" and c.spec.conv.channels_in == channels)
    assert isinstance(call.spec, WinogradDwSpec)
    assert call.spec.image_groups == groups
    assert (call.spec.c_block, call.spec.k_block) == block
    assert call.spec.turns == turns


def test_weight_gradients_of_few_pixels_have_few_slabs() -> None:
    """One pixel an image: tasks of all 64 images, rather than more tasks that write, read and add up 8 slabs."""
    plan = planned(Network(Sequential([Conv2D(128, 5, bias=False)]), (5, 5, 16), 64), AVX512, SGD())
    [call] = [c for c in convolutions(plan) if c.op == "conv_dw"]
    assert isinstance(call.spec, ConvDwSpec)
    assert (call.spec.tasks, call.spec.images_per_group) == (14, 64)


@pytest.mark.parametrize("channels", [1, 3, 4, 24, 40, 64])
def test_a_dense_layer_sums_in_the_same_order_everywhere(channels: int) -> None:
    """40 channels fill whole vectors of 8 lanes, and not of 16: flattening must not depend on that."""
    model = Sequential([Conv2D(channels, 1), Flatten(), Dense(10)])
    orders = []
    for machine in (AVX512, AVX2):
        plan = planned(Network(model, (5, 6, 3), 8), machine, SGD())
        orders.append([(call.op, call.spec.conv) for call in convolutions(plan)])
    assert orders[0] == orders[1]
