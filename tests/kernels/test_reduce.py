"""Sums and maxima over channels and over pixels: values, order and bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Refusal
from vecgrad.spec.kernel import ReduceChannelsSpec, ReducePixelsSpec
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, exp
from vecgrad.spec.tensor import Layout

CHANNELS = (1, 3, 7, 8, 9, 10, 15, 16, 17, 31, 33, 64, 100, 160)
x0, x1, x2 = (Operand(i) for i in range(3))


def folded(values: Any, join: Any, neutral: float) -> Any:
    """The contract, slowly: lane l joins channels l, l + v, …, then halves fold onto halves."""
    v = 16 if values.dtype == np.float32 else 8
    channels = values.shape[-1]
    width = -(-channels // v) * v
    full = np.full((*values.shape[:-1], width), neutral, values.dtype)
    full[..., :channels] = values
    lanes = full[..., :v]
    for start in range(v, width, v):
        lanes = join(lanes, full[..., start : start + v])
    while v > 1:
        v //= 2
        lanes = join(lanes[..., :v], lanes[..., v:])
    return lanes


def reduced_channels(
    lab: Any, machine: Machine, spec: ReduceChannelsSpec, values: list[Any], scalars: tuple[float, ...] = ()
) -> Any:
    images = len(values[0])
    memories = [lab.stored(at, value) for at, value in zip(spec.inputs, values, strict=True)]
    found = lab.run(spec, machine, [*memories, lab.blank(spec.output, images)], images, scalars)[-1]
    return np.ascontiguousarray(lab.loaded(spec.output, found))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "user"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_over_channels(lab: Any, machine: Machine, dtype: str, padded: bool, channels: int) -> None:
    """In the order of the contract, so that even the rounding is the same."""
    layout = lab.layout(machine, (2, 3, channels), dtype, padded)
    vector = Layout(1, 1, channels, channels, dtype, batched=False)
    output = Layout(2, 3, 1, 1 if channels % 2 else machine.lanes(dtype), dtype)
    rng = np.random.default_rng(channels)
    x, v = (rng.normal(size=shape).astype(dtype) for shape in ((2, 2, 3, channels), (1, 1, 1, channels)))
    for how, join, neutral in (("sum", np.add, 0.0), ("max", np.maximum, -np.inf)):
        spec = ReduceChannelsSpec(how, x0 * x1, (layout, vector), output)  # type: ignore[arg-type]
        found = reduced_channels(lab, machine, spec, [x, v])
        np.testing.assert_array_equal(found, folded(x * v, join, neutral))


@pytest.mark.parametrize("channels", [1, 5, 16, 40])
def test_the_maximum_passes_nan_on_and_padding_does_not(lab: Any, machine: Machine, channels: int) -> None:
    layout = lab.layout(machine, (1, channels + 1, channels))
    x = np.full((1, 1, channels + 1, channels), -np.inf, np.float32)
    x[0, 0, np.arange(channels), np.arange(channels)] = np.nan
    spec = ReduceChannelsSpec("max", x0, (layout,), Layout(1, channels + 1, 1, 1))
    found = reduced_channels(lab, machine, spec, [x])
    np.testing.assert_array_equal(found.ravel(), [np.nan] * channels + [-np.inf])


def test_over_the_channels_of_differently_shaped_inputs(lab: Any, machine: Machine) -> None:
    """Sum of exp(x − largest): as softmax asks, one pixel per image and one of several."""
    for h, w in ((1, 1), (2, 3)):
        layout, one = lab.layout(machine, (h, w, 10)), lab.layout(machine, (h, w, 1))
        image = Layout(1, 1, 10, 10)
        spec = ReduceChannelsSpec(
            "sum", (x0 - x1) * x2 * Scalar("rate"), (layout, one, image), one, ("n", "rate")
        )
        x, largest, scale = (
            lab.integers(i, 3, *s) for i, s in enumerate(((h, w, 10), (h, w, 1), (1, 1, 10)))
        )
        found = reduced_channels(lab, machine, spec, [x, largest, scale], (3, 2.0))
        np.testing.assert_array_equal(found, ((x - largest) * scale * 2).sum(-1, keepdims=True))


def test_channel_bits_do_not_depend_on_the_width(lab: Any) -> None:
    x = np.random.default_rng(2).normal(size=(3, 1, 1, 37)).astype(np.float32)
    found = {}
    for machine in lab.host:
        spec = ReduceChannelsSpec("sum", exp(x0), (lab.layout(machine, (1, 1, 37)),), Layout(1, 1, 1, 1))
        found[machine.isa] = reduced_channels(lab, machine, spec, [x])
    lab.same_on_fma(found)


def reduced_pixels(lab: Any, machine: Machine, spec: ReducePixelsSpec, values: list[Any], images: int) -> Any:
    memories = [lab.stored(at, value) for at, value in zip(spec.inputs, values, strict=True)]
    slab = np.full(spec.channels, 7, spec.dtype)
    return lab.run(spec, machine, [*memories, slab], images)[-1]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "user"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_over_pixels(lab: Any, machine: Machine, dtype: str, padded: bool, channels: int) -> None:
    """One chain per channel in the order of images, rows, columns: the same rounding."""
    layout = lab.layout(machine, (2, 3, channels), dtype, padded)
    vector = Layout(1, 1, channels, channels, dtype, batched=False)
    spec = ReducePixelsSpec((x0 - x1,), (layout, vector), channels, dtype)
    rng = np.random.default_rng(channels)
    x, v = (rng.normal(size=shape).astype(dtype) for shape in ((3, 2, 3, channels), (1, 1, 1, channels)))
    expected = np.zeros(channels, dtype)
    for row in (x - v).reshape(-1, channels):
        expected += row
    np.testing.assert_array_equal(reduced_pixels(lab, machine, spec, [x, v], 3), expected)


@pytest.mark.parametrize("images", [0, 1, 5])
def test_over_pixels_of_differently_shaped_inputs(lab: Any, machine: Machine, images: int) -> None:
    """An empty chunk gives zeros."""
    for channels in (5, 16, 35):
        shapes = ((2, 3, channels), (2, 3, 1), (1, 1, channels))
        layouts = tuple(lab.layout(machine, shape) for shape in shapes)
        spec = ReducePixelsSpec((x0 * x1 + x2,), layouts, channels)
        values = [lab.integers(i, images, *shape) for i, shape in enumerate(shapes)]
        expected = (values[0] * values[1] + values[2]).sum((0, 1, 2))
        np.testing.assert_array_equal(reduced_pixels(lab, machine, spec, values, images), expected)


@pytest.mark.parametrize("channels", CHANNELS)
def test_several_sums_of_one_pass(lab: Any, machine: Machine, channels: int) -> None:
    """Each as if it were alone."""
    layout = lab.layout(machine, (2, 3, channels))
    exprs = (x0, x0 * x1, x1)
    x, y = (np.random.default_rng(n).normal(size=(3, 2, 3, channels)).astype("f") for n in range(2))
    inputs = [lab.stored(layout, x), lab.stored(layout, y)]
    slabs = [np.full(channels, 7, "f") for _ in exprs]
    spec = ReducePixelsSpec(exprs, (layout, layout), channels)
    found = lab.run(spec, machine, [*inputs, *slabs], 3)[2:]
    for expr, slab in zip(exprs, found, strict=True):
        alone = ReducePixelsSpec((expr,), (layout, layout), channels)
        np.testing.assert_array_equal(slab, reduced_pixels(lab, machine, alone, [x, y], 3))


def test_what_cannot_be_reduced_is_refused() -> None:
    layout, vector = Layout(2, 2, 5, 16), Layout(1, 1, 5, 5, batched=False)
    for spec in (
        ReduceChannelsSpec("sum", x0, (layout,), Layout(2, 2, 5, 16)),
        ReduceChannelsSpec("sum", x0, (layout,), Layout(3, 2, 1, 1)),
        ReducePixelsSpec((x0,), (layout,), 6),
        ReducePixelsSpec((x0,), (vector,), 5),
    ):
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal)


def test_code_is_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    layout = lab.layout(any_machine, (3, 5, 21))
    channels = ReduceChannelsSpec("max", x0, (layout,), Layout(3, 5, 1, 1))
    for spec in (channels, ReducePixelsSpec((x0,), (layout,), 21)):
        assert spec.name in lab.assembly(spec, any_machine)
