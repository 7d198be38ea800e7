"""Graphs that nobody thought of, of wide layers and many kinds: a training step on part of a batch does what the reference does.

Smooth networks are trained in float32, with Winograd's kernels and updates within tasks where shapes ask for them; networks with
maxima and kinks, where float32 may decide otherwise, in float64.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from tests.program.host import MACHINES, same_bits, threads

import vecgrad as vg
from vecgrad.layers import (
    GELU,
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Input,
    Layer,
    LeakyReLU,
    MaxPool2D,
    Model,
    ReLU,
    SiLU,
    Symbol,
    Tanh,
    UpSample2D,
)
from vecgrad.runtime import native_available
from vecgrad.spec.machine import Machine

pytestmark = pytest.mark.skipif(not native_available(), reason="compiled programs need llvmlite")

CHANNELS = st.sampled_from([3, 16, 17, 48, 64, 96, 128, 130, 192])
SMOOTH: tuple[Layer, ...] = (GELU(), SiLU(), Tanh())
KINKS: tuple[Layer, ...] = (ReLU(), ReLU(), LeakyReLU(0.1), GELU())
# The rate of the step: what a parameter moves by is its gradient, to this many bits.
RATE = 2.0**-3


@st.composite
def models(draw: st.DrawFn, smooth: bool) -> tuple[Model, tuple[int, int, int]]:
    """Values are made one by one, each of one or two that there are; the last ones meet in the end."""
    shape = (draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.sampled_from([1, 3, 16, 48])))
    x = Input(shape)
    values: list[Symbol] = [x]
    for _ in range(draw(st.integers(2, 7))):
        v = draw(st.sampled_from(values[-3:]))
        values.append(_next(draw, v, values, smooth))
    ends = [v for v in values[-2:] if v is not x] or [Conv2D(3, 1)(x)]
    pool = GlobalAvgPool2D() if smooth or draw(st.booleans()) else GlobalMaxPool2D()
    heads = [draw(st.sampled_from([Flatten(), pool]))(v) for v in ends]
    return Model(x, Dense(4)(heads[0] if len(heads) == 1 else Concat()(heads))), shape


def _next(draw: st.DrawFn, v: Symbol, values: list[Symbol], smooth: bool) -> Symbol:
    assert v.shape is not None
    height, width, channels = v.shape
    kind = draw(
        st.sampled_from(
            ["conv", "conv", "conv", "pointwise", "depthwise", "act", "norm", "pool", "join", "up"]
        )
    )
    if kind == "conv":
        stride, bias = draw(st.sampled_from([1, 1, 1, 2])), draw(st.booleans())
        frozen = draw(st.sampled_from([False, False, False, True]))
        return Conv2D(draw(CHANNELS), 3, stride, padding=1, bias=bias, frozen=frozen)(v)
    if kind == "pointwise":
        return Conv2D(draw(CHANNELS), 1)(v)
    if kind == "depthwise":
        return Conv2D(channels, draw(st.sampled_from([3, 5])), padding="same", groups=channels)(v)
    if kind == "norm":
        return BatchNorm(frozen=draw(st.booleans()), scale=draw(st.booleans()), shift=draw(st.booleans()))(v)
    if kind == "pool" and min(height, width) > 1:
        size = draw(st.sampled_from([2, (1, 2)]))
        return (AvgPool2D(size) if smooth or draw(st.booleans()) else MaxPool2D(size))(v)
    if kind == "join":
        others = [each for each in values if each.shape is not None and each.shape[:2] == (height, width)]
        other = draw(st.sampled_from(others))
        if draw(st.booleans()):
            return Concat()(v, other)
        return Add()(v, other if other.shape == v.shape else Conv2D(channels, 1)(other))
    if kind == "up" and height * width <= 25:
        return UpSample2D(2)(v)
    return draw(st.sampled_from(SMOOTH if smooth else KINKS))(v)


@pytest.mark.parametrize("smooth", [True, False])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_step_is_the_references(smooth: bool, data: st.DataObject) -> None:
    model, shape = data.draw(models(smooth))
    batch = data.draw(st.sampled_from([2, 3, 8, 16]))
    n = data.draw(st.integers(2, batch))
    machine = data.draw(st.sampled_from(MACHINES))
    note(f"{model.layers}, {model.calls} on {shape}, {n} of {batch}, {machine.isa}")
    check_step(model, shape, batch, n, machine, smooth)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_groups_without_images(n: int) -> None:
    """The weight gradient is summed by two groups of four images, a block of tiles each: a smaller batch leaves one empty."""
    x = Input((8, 8, 128))
    model = Model(x, Dense(4)(GlobalAvgPool2D()(Conv2D(128, 3, padding=1)(x))))
    check_step(model, (8, 8, 128), 8, n, MACHINES[0], smooth=True)


@pytest.mark.parametrize(("side", "batch", "channels"), [(4, 32, 512), (8, 16, 128)])
@pytest.mark.parametrize("missing", [0, 1, 15])
def test_products_of_matrices(side: int, batch: int, channels: int, missing: int) -> None:
    """Strassen's kernels, in tasks on small maps and in chunks on larger ones."""
    shape = (side, side, channels)
    x = Input(shape)
    inner = GELU()(BatchNorm()(Conv2D(channels + 64, 1)(x)))
    model = Model(x, Dense(4)(GlobalAvgPool2D()(Add()(x, Conv2D(channels, 1)(inner)))))
    check_step(model, shape, batch, batch - missing, MACHINES[0], smooth=True)
    program = vg.compile(model, shape, "cross_entropy", vg.SGD(RATE), batch)
    kernels = [row.call.kernel for row in program.explain().rows]
    assert kernels.count("conv.strassen") == 2
    assert kernels.count("conv_dx.strassen") == 1


def check_step(
    model: Model, shape: tuple[int, int, int], batch: int, n: int, machine: Machine, smooth: bool
) -> None:
    """A step on n images of a batch moves each parameter by what the reference's gradient says, on any number of threads."""
    dtype = "float32" if smooth else "float64"
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, *shape)), np.arange(n) % 4
    stated = model.parameters(shape)
    start = {
        name: rng.uniform(0.5, 1.5, p.shape)
        if len(p.shape) == 1
        else rng.standard_normal(p.shape) / np.sqrt(p.fan_in)
        for name, p in stated.items()
    }
    rule = vg.SGD(RATE)
    reference = vg.compile(
        model, shape, "cross_entropy", rule, batch, dtype="float64", backend="reference", parameters=start
    )
    expected = reference.gradients(x, y)
    reference.step(x, y)
    found = []
    for count in (1, 2):
        program = vg.compile(
            model, shape, "cross_entropy", rule, batch, dtype=dtype, parameters=start, machine=machine
        )
        with threads(count):
            program.step(x.astype(dtype), y)
        found.append(program.parameters)
    same_bits(*found)
    tolerance = 1e-3 if smooth else 1e-9
    whole = np.sqrt(sum(float(np.vdot(g, g)) for g in expected.values()))
    for name, g in expected.items():
        moved = (start[name] - found[0][name]) / RATE
        # What is left of a gradient that cancels is as large as the rounding of all of them, and of the parameter.
        floor = tolerance * 0.1 * whole + np.finfo(dtype).eps / RATE * np.linalg.norm(start[name])
        assert np.linalg.norm(moved - g) <= tolerance * np.linalg.norm(g) + floor, name
    for name in stated.keys() - expected.keys():
        np.testing.assert_allclose(found[0][name], reference.parameters[name], rtol=tolerance, atol=tolerance)
