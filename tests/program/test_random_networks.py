"""Networks that nobody thought of: drawn at random, compiled, and compared with the reference on integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from tests.networks import Network
from tests.program.host import MACHINES, same_bits, threads

import vecgrad as vg
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Rescale, Sequential
from vecgrad.spec.errors import ShapeError

KERNEL = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4)))
STRIDE = st.one_of(st.just(1), st.tuples(st.integers(1, 3), st.integers(1, 3)))
PADDING: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["valid", "same"]),
    st.integers(0, 2),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
)
DILATION = st.sampled_from([1, 1, 2, (1, 2)])
CHANNELS = st.sampled_from([1, 2, 3, 5, 8, 15, 16, 17])


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    match draw(
        st.sampled_from(["conv", "conv", "grouped", "max", "average", "relu", "rescale", "dense", "flatten"])
    ):
        case "conv":
            return Conv2D(
                draw(CHANNELS),
                draw(KERNEL),
                draw(STRIDE),
                draw(PADDING),
                draw(DILATION),
                bias=draw(st.booleans()),
            )
        case "grouped":
            groups = draw(st.sampled_from([2, 3, 4]))
            return Sequential([
                Conv2D(groups * draw(st.integers(1, 3)), 1),
                Conv2D(groups * draw(st.integers(1, 5)), draw(KERNEL), draw(STRIDE), draw(PADDING), groups=groups),
            ])  # fmt: skip
        case "max":
            return MaxPool2D(draw(KERNEL), draw(st.one_of(st.none(), STRIDE)), draw(PADDING), draw(DILATION))
        case "average":
            # Windows of 2 × 2 with every cell counted keep sums of integers exact.
            return AvgPool2D(2, draw(STRIDE), draw(PADDING), draw(DILATION), count_padding=True)
        case "relu":
            return ReLU()
        case "rescale":
            return Rescale(draw(st.sampled_from([0.5, -1.0, 2.0])), draw(st.sampled_from([0.0, 1.0])))
        case "dense":
            return Dense(draw(CHANNELS))
    return Flatten()


@st.composite
def networks(draw: st.DrawFn) -> Network:
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 3, 17])))
    chain: list[Layer] = []
    for layer in draw(st.lists(layers(), min_size=1, max_size=4)):
        try:
            Sequential([*chain, layer]).infer(shape)
        except ShapeError:
            continue
        chain.append(layer)
    assume(chain)
    return Network(Sequential([*chain, Dense(2)]), shape, batch=draw(st.sampled_from([1, 2, 4, 7])), high=1)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.data())
def test_native_is_the_reference(network: Network, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, network.batch))
    machine = data.draw(st.sampled_from(MACHINES))
    count = data.draw(st.integers(1, 4))
    note(f"{network.model.layers} on {network.shape}, {n} of {network.batch}, {machine.isa}, {count} threads")
    x, t = network.images(n), network.targets(n)
    # The weights' sum is a power of two, so that its inverse is exact.
    weight = np.ones(n, np.float32)
    weight[-1] = 16 - (n - 1)
    answers = []
    for settings_ in (
        {"dtype": "float64", "backend": "reference"},
        {"backend": "reference"},
        # Winograd's sums, of 3 × 3 kernels between 16 channels and more, are not exact on integers: no float is ⅔.
        {"machine": machine, "algorithm": "direct"},
    ):
        program = vg.compile(
            network.model,
            network.shape,
            "mse",
            batch_size=network.batch,
            parameters=network.parameters(),
            **settings_,
        )
        with threads(count):
            answers.append(program.gradients(x, t, weight, inputs=True))
    double, single, native = answers
    # Where float32 rounds, equality would be luck: such a network says nothing here.
    assume(all(np.array_equal(double[name], single[name]) for name in double))
    same_bits(native, single)
