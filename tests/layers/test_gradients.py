"""Every layer's closed-form backward pass against central differences, over many shapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.differences import check_layer

from vecgrad.layers import (
    ELU,
    GELU,
    AvgPool2D,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Rescale,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)
from vecgrad.spec.errors import ShapeError

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5))
KERNELS = st.tuples(st.integers(1, 3), st.integers(1, 3))
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 2))
PADDINGS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["valid", "same"]),
    st.integers(0, 2),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
)


def fits(layer: Layer, shape: tuple[int, ...]) -> bool:
    try:
        layer.infer(shape)
    except ShapeError:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(
    SIDES,
    KERNELS,
    PAIRS,
    PADDINGS,
    PAIRS,
    st.integers(1, 3),
    st.sampled_from([(1, 1), (2, 3), (1, 2)]),
    st.booleans(),
)
def test_convolution(
    side: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, sides: Any, bias: bool
) -> None:
    shape = (*side, sides[0] * groups)
    layer = Conv2D(sides[1] * groups, kernel, stride, padding, dilation, groups, bias)
    assume(fits(layer, shape))
    check_layer(layer, shape, images=1 + side[0] % 2)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([MaxPool2D, AvgPool2D]), SIDES, KERNELS, st.one_of(st.none(), PAIRS), PADDINGS, PAIRS)
def test_pooling(kind: Any, side: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    layer = kind(kernel, stride, padding, dilation)
    assume(fits(layer, (*side, 2)))
    check_layer(layer, (*side, 2))


@settings(max_examples=20, deadline=None)
@given(SIDES, KERNELS, PADDINGS)
def test_average_that_counts_padding(side: Any, kernel: Any, padding: Any) -> None:
    layer = AvgPool2D(kernel, 1, padding, count_padding=True)
    assume(fits(layer, (*side, 2)))
    check_layer(layer, (*side, 2))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    KERNELS,
    PAIRS,
    st.one_of(st.integers(0, 2), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)),
    st.integers(0, 2),
    PAIRS,
    st.integers(1, 3),
    st.sampled_from([(1, 1), (2, 3), (1, 2)]),
    st.booleans(),
)
def test_transposed_convolution(
    side: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    more: int,
    dilation: Any,
    groups: int,
    sides: Any,
    bias: bool,
) -> None:
    shape = (*side, sides[0] * groups)
    extra = (min(more, stride[0] - 1), min(more, stride[1] - 1))
    layer = ConvTranspose2D(sides[1] * groups, kernel, stride, padding, extra, dilation, groups, bias)
    assume(fits(layer, shape))
    check_layer(layer, shape, images=1 + side[0] % 2)


@pytest.mark.parametrize(
    "layer",
    [
        GlobalAvgPool2D(),
        GlobalMaxPool2D(),
        UpSample2D(),
        UpSample2D((3, 1)),
        ZeroPad2D(),
        ZeroPad2D((0, 2)),
        ZeroPad2D(((1, 0), (0, 3))),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 4), (2, 5, 3)], ids=str)
def test_pooling_of_whole_maps_and_resizing(layer: Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, shape)


@pytest.mark.parametrize(
    "layer",
    [
        ReLU(),
        LeakyReLU(),
        LeakyReLU(0.0),
        ELU(),
        ELU(0.5),
        SiLU(),
        GELU(),
        GELU("tanh"),
        Sigmoid(),
        Tanh(),
        Softmax(),
        Rescale(0.25, -1.0),
        Flatten(),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2, 4)], ids=str)
def test_layers_without_parameters(layer: Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, shape, images=3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LayerNorm(), (5,)),
        (LayerNorm(scale=False), (2, 3, 4)),
        (LayerNorm(0.1, shift=False), (2, 1, 3)),
        (GroupNorm(2), (3, 2, 4)),
        (GroupNorm(3, scale=False), (2, 2, 3)),
        (GroupNorm(1, 0.1, shift=False), (1, 2, 3)),
        (GroupNorm(2, scale=False, shift=False), (6,)),
        (GroupNorm(3), (6,)),
    ],
    ids=str,
)
def test_normalization_within_an_image(layer: Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, shape, images=3)


@pytest.mark.parametrize("layer", [Dense(3), Dense(1, bias=False)], ids=str)
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3, 2)], ids=str)
def test_dense(layer: Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, shape, images=3)


def test_a_chain_and_a_chain_within_a_chain() -> None:
    inner = Sequential([Conv2D(3, 2), Tanh()], name="inner")
    check_layer(Sequential([inner, AvgPool2D(2, 1), Flatten(), Sigmoid(), Dense(2)]), (4, 4, 2))


def test_the_check_itself_sees_a_wrong_gradient() -> None:
    class Wrong(Tanh):
        def backward(self, e: Any, saved: Any, dy: Any, p: Any) -> Any:
            return e.map(lambda dy, y: dy * (1 - y), dy, saved), {}

    with pytest.raises(AssertionError, match="∂z/∂x"):
        check_layer(Wrong(), (3,))
