"""Maps and copies, on operands of every kind that a layout can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.kernel import CopySpec, MapSpec
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, exp, where
from vecgrad.spec.tensor import Layout

CHANNELS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 160)
x0, x1, x2, x3 = (Operand(i) for i in range(4))


def layout_of(lab: Any, machine: Machine, kind: str, shape: tuple[int, int, int], dtype: str) -> Layout:
    """padded, user: a map as the arena or a user holds it; channel: a map of one channel; pixel, count: one
    pixel per image, of all channels or one; vector, number: the same for all images."""
    h, w, c = shape
    match kind:
        case "padded" | "user":
            return lab.layout(machine, shape, dtype, kind == "padded")
        case "channel":
            return lab.layout(machine, (h, w, 1), dtype)
        case "pixel" | "count":
            return lab.layout(machine, (1, 1, c if kind == "pixel" else 1), dtype, kind == "pixel")
    channels = c if kind == "vector" else 1
    return Layout(1, 1, channels, channels, dtype, batched=False)


def check(
    lab: Any, machine: Machine, kinds: str, shape: tuple[int, int, int], images: int, dtype: str = "float32"
) -> Any:
    """Runs (sum of (i + 1)·xᵢ, product of x₀ and the last) on operands of these kinds; the first output."""
    layouts = [layout_of(lab, machine, kind, shape, dtype) for kind in kinds.split()]
    operands = [Operand(i) for i in range(len(layouts))]
    total = sum(
        ((i + 1) * x for i, x in enumerate(operands[1:], start=1)), start=operands[0] * Scalar("rate")
    )
    output = layouts[0]
    spec = MapSpec((total, operands[0] * operands[-1]), tuple(layouts), (output, output), ("n", "rate"))
    values = [
        lab.integers(i, images if at.batched else 1, *at.shape, dtype=dtype) for i, at in enumerate(layouts)
    ]
    memories = [lab.stored(at, value) for at, value in zip(layouts, values, strict=True)]
    blanks = [lab.blank(output, images) for _ in range(2)]
    found = lab.run(spec, machine, [*memories, *blanks], images, (images, 3.0))
    expected = 3 * values[0] + sum(
        ((i + 1) * v for i, v in enumerate(values[1:], start=1)), start=0 * values[0]
    )
    first, second = (lab.loaded(output, memory) for memory in found[-2:])
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, values[0] * values[-1])
    return first


ALL = "padded user channel pixel count vector number"


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kinds", [ALL, "user channel vector padded", "padded vector vector"])
def test_every_kind_of_operand(lab: Any, machine: Machine, kinds: str, channels: int) -> None:
    check(lab, machine, kinds, (3, 5, channels), 3)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kinds", ["padded padded number", "user user", "padded"])
def test_one_run(lab: Any, machine: Machine, kinds: str, channels: int) -> None:
    check(lab, machine, kinds, (5, 1, channels), 3)


@pytest.mark.parametrize("images", [0, 1, 2, 7])
@pytest.mark.parametrize("kinds", [ALL, "padded padded number", "user user", "padded vector"])
def test_numbers_of_images(lab: Any, machine: Machine, kinds: str, images: int) -> None:
    check(lab, machine, kinds, (2, 2, 5), images)
    check(lab, machine, kinds, (1, 1, 5), images)


@pytest.mark.parametrize("kinds", [ALL, "padded padded number", "user user"])
def test_float64(lab: Any, machine: Machine, kinds: str) -> None:
    for channels in (1, 3, 4, 7, 9, 40):
        check(lab, machine, kinds, (2, 3, channels), 2, "float64")


def test_images_are_uint8_or_int32(lab: Any, machine: Machine) -> None:
    for channels in (1, 3, 16, 21):
        output = lab.layout(machine, (3, 4, channels))
        bytes_, words = (Layout(3, 4, channels, channels, dtype) for dtype in ("uint8", "int32"))
        spec = MapSpec((x0 * 0.5 + x1,), (bytes_, words), (output,))
        pixels = np.arange(2 * 12 * channels).reshape(2, 3, 4, channels).astype(np.uint8)
        labels = -1000 * np.ones((2, 3, 4, channels), np.int32)
        found = lab.run(spec, machine, [pixels.ravel(), labels.ravel(), lab.blank(output, 2)], 2)[-1]
        np.testing.assert_array_equal(lab.loaded(output, found), pixels * 0.5 - 1000)


@pytest.mark.parametrize("channels", [5, 16, 70])
@pytest.mark.parametrize("others", ["", "vector"])
def test_an_output_may_be_the_memory_of_an_input(
    lab: Any, machine: Machine, channels: int, others: str
) -> None:
    shape = (4, 3, channels)
    layouts = [layout_of(lab, machine, kind, shape, "float32") for kind in f"padded padded {others}".split()]
    expr = where(x0 <= 0, x1, x0) + (x2 if others else 0)
    spec = MapSpec((expr,), tuple(layouts), (layouts[0],))
    values = [lab.integers(i, 2 if at.batched else 1, *at.shape) for i, at in enumerate(layouts)]
    memories = [lab.stored(at, value) for at, value in zip(layouts, values, strict=True)]
    found = lab.run(spec, machine, [*memories, memories[0]], 2)
    expected = np.where(values[0] <= 0, values[1], values[0]) + (values[2] if others else 0)
    np.testing.assert_array_equal(lab.loaded(layouts[0], found[-1]), expected)
    np.testing.assert_array_equal(found[0], found[-1])


def test_bits_do_not_depend_on_the_width(lab: Any) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 3, 21)).astype(np.float32)
    found = {}
    for machine in lab.host:
        layout = lab.layout(machine, (3, 3, 21))
        spec = MapSpec((exp(x0 * 1.7) / (1 + exp(x0)),), (layout,), (layout,))
        memory = lab.run(spec, machine, [lab.stored(layout, x), lab.blank(layout, 2)], 2)[1]
        found[machine.isa] = np.ascontiguousarray(lab.loaded(layout, memory))
    lab.same_on_fma(found)


def test_one_run_is_chosen_where_it_can_be() -> None:
    layout, vector = Layout(4, 4, 16, 16), Layout(1, 1, 16, 16, batched=False)
    assert registry.chosen(MapSpec((x0 + x1,), (layout, layout), (layout,)), AVX512).kernel == "map.flat"
    answers = registry.candidates(MapSpec((x0 + x1,), (layout, vector), (layout,)), AVX512)
    assert [type(answer) for answer in answers] == [Refusal, Offer]
    assert answers[0].reason == "operand 1 lies otherwise than the first output"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((Layout(4, 4, 5, 16),), "input 0 has 5 channels, the output 16"),
        ((Layout(4, 4, 16, 16), Layout(2, 4, 16, 16)), "input 1 has (2, 4) pixels, the output (4, 4)"),
        ((Layout(4, 4, 16, 16, "float64"),), "input 0 is float64, the output float32"),
        ((Layout(2, 4, 16, 16, batched=False),), "input 0 has (2, 4) pixels, the output (4, 4)"),
    ],
)
def test_operands_that_do_not_fit_are_refused(inputs: tuple[Layout, ...], reason: str) -> None:
    for answer in registry.candidates(MapSpec((x0,), inputs, (Layout(4, 4, 16, 16),)), AVX2):
        assert isinstance(answer, Refusal)
        assert answer.reason == reason


def test_an_offer_counts_work_and_traffic() -> None:
    layout = Layout(4, 4, 10, 16)
    offer = registry.chosen(MapSpec((x0 * x1 + x0,), (layout, layout), (layout,)), AVX512)
    assert (offer.flops, offer.bytes_read, offer.bytes_written) == (2 * 160, 2 * 1024, 1024)
    assert offer.seconds > 0


def copied(lab: Any, machine: Machine, source: Layout, target: Layout, images: int) -> None:
    values = lab.integers(
        3, images, *source.shape, dtype=source.dtype, high=100 if source.dtype != "uint8" else 0
    )
    values = values + np.arange(values.size).reshape(values.shape).astype(source.dtype)
    memory = lab.run(
        CopySpec(source, target), machine, [lab.stored(source, values), lab.blank(target, images)], images
    )[1]
    np.testing.assert_array_equal(lab.loaded(target, memory), values.reshape(-1, *target.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize(
    ("source", "target"),
    [((3, 4, 5), (3, 4, 5)), ((3, 4, 5), (1, 1, 60)), ((1, 1, 60), (3, 4, 5)), ((2, 2, 6), (2, 3, 4)),
     ((2, 2, 64), (1, 1, 256)), ((2, 2, 33), (2, 2, 33)), ((5, 3, 1), (5, 3, 1)), ((5, 3, 1), (1, 1, 15)),
     ((2, 3, 70), (1, 1, 420))],
)  # fmt: skip
def test_copies(lab: Any, machine: Machine, source: Any, target: Any, dtype: str) -> None:
    for padded in ((True, True), (True, False), (False, True), (False, False)):
        layouts = (
            lab.layout(machine, shape, dtype, p) for shape, p in zip((source, target), padded, strict=True)
        )
        copied(lab, machine, *layouts, images=2)


@settings(max_examples=20, deadline=None)
@given(
    pixels=st.tuples(st.integers(1, 4), st.integers(1, 4)), channels=st.integers(1, 40), cut=st.integers(1, 8)
)
def test_copies_into_other_pixels(pixels: tuple[int, int], channels: int, cut: int) -> None:
    lab = _shared[0]
    size = pixels[0] * pixels[1] * channels
    while size % cut:
        cut -= 1
    for machine in lab.host:
        source, target = lab.layout(machine, (*pixels, channels)), lab.layout(machine, (1, cut, size // cut))
        copied(lab, machine, source, target, images=1)


_shared: list[Any] = []


@pytest.fixture(autouse=True)
def _share(lab: Any) -> None:
    _shared[:] = [lab]


def test_copies_of_no_image(lab: Any, machine: Machine) -> None:
    copied(lab, machine, lab.layout(machine, (2, 2, 5)), lab.layout(machine, (1, 1, 20)), images=0)


def test_a_copy_neither_converts_nor_loses_entries() -> None:
    layout = Layout(2, 2, 4, 16)
    for other in (Layout(2, 2, 4, 16, "float64"), Layout(2, 2, 3, 16), Layout(2, 2, 4, 16, batched=False)):
        [answer] = registry.candidates(CopySpec(layout, other), AVX512)
        assert isinstance(answer, Refusal)


def test_code_is_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    for kinds in (ALL, "padded padded"):
        layouts = [layout_of(lab, any_machine, kind, (3, 5, 21), "float32") for kind in kinds.split()]
        total = sum((Operand(i) for i in range(1, len(layouts))), start=x0)
        spec = MapSpec((total,), tuple(layouts), (layouts[0],))
        assert spec.name in lab.assembly(spec, any_machine)
    layout = lab.layout(any_machine, (3, 5, 21))
    assert lab.assembly(CopySpec(layout, Layout(1, 1, 315, 315)), any_machine)
