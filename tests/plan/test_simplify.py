"""The identities of the graph: where each must fire, every case where it must not, and that values stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.graph.nodes import Graph, Node, Ref
from vecgrad.graph.record import RecordingEmitter
from vecgrad.graph.verify import verify
from vecgrad.plan.simplify import simplify
from vecgrad.reference import ops
from vecgrad.spec.geometry import Axis, Conv, Window, window
from vecgrad.spec.scalar import where

W = window((6, 6), 2, 2)


class Bench:
    """ReLU, max pooling and what their backward passes record."""

    def __init__(self, g: Window = W) -> None:
        self.e, self.g = RecordingEmitter("float32"), g
        self.x = self.e.input("x", (*g.in_size, 3), True)
        self.dy = self.e.input("dy", (*g.out_size, 3), True)
        self.y = self.e.map(lambda x: where(x <= 0, 0, x), self.x)
        self.pooled, self.index = self.e.max_pool(self.y, g)
        self.unpooled = self.e.max_pool_dx(self.dy, self.index, g)

    def mask(self, dy: Ref, y: Ref) -> Ref:
        return self.e.map(lambda dy, y: where(y > 0, dy, 0), dy, y)

    def simplified(self, **outputs: Ref) -> Graph:
        self.e.graph.outputs |= outputs
        return verify(simplify(verify(self.e.graph)))

    def ops(self, **outputs: Ref) -> list[str]:
        return [node.op for node in self.simplified(**outputs).live() if node.op != "input"]


MOVED = ["map", "max_pool", "map", "max_pool_dx"]
LEFT = ["map", "max_pool", "max_pool_dx", "map"]


def test_the_mask_moves_to_the_pooled_side() -> None:
    bench = Bench()
    graph = bench.simplified(dx=bench.mask(bench.unpooled, bench.y))
    live = graph.live()
    assert [node.op for node in live if node.op != "input"] == MOVED
    mask, unpool = live[-2:]
    assert [str(ref.type) for ref in mask.inputs] == ["float32[n×3×3×3]"] * 2
    assert mask.inputs[1].node.op == "max_pool"
    assert mask.inputs[1].port == 0
    assert unpool.inputs[0].node is mask
    assert graph.outputs["dx"].node is unpool
    assert [node.number for node in graph.nodes] == list(range(len(graph.nodes)))


def test_in_either_order_of_its_operands() -> None:
    bench = Bench()
    dx = bench.e.map(lambda y, dy: where(y > 0, dy, 0), bench.y, bench.unpooled)
    mask = bench.simplified(dx=dx).live()[-2]
    assert mask.op == "map"
    assert mask.inputs[0].node.op == "max_pool"


def test_a_sum_over_pixels_reads_the_pooled_gradient() -> None:
    bench = Bench()
    dx = bench.mask(bench.unpooled, bench.y)
    graph = bench.simplified(dx=dx, db=bench.e.reduce("sum", dx, over="pixels"))
    [total] = [node for node in graph.live() if node.op == "reduce_pixels"]
    assert str(total.inputs[0].type) == "float32[n×3×3×3]"
    assert total.inputs[0].node.op == "map"


def test_a_sum_alone_needs_no_unpooling() -> None:
    bench = Bench()
    assert bench.ops(db=bench.e.reduce("sum", bench.unpooled, over="pixels")) == ["reduce_pixels"]


def test_not_when_the_gradient_is_read_without_the_mask() -> None:
    bench = Bench()
    assert bench.ops(dx=bench.mask(bench.unpooled, bench.y), also=bench.unpooled) == LEFT
    bench = Bench()
    other = bench.e.map(lambda dy: dy * 2, bench.unpooled)
    found = bench.ops(dx=bench.mask(bench.unpooled, bench.y), also=other)
    assert sorted(found) == sorted([*LEFT, "map"])
    assert found.index("max_pool_dx") == 2


def test_not_with_another_map_s_mask() -> None:
    bench = Bench()
    assert bench.ops(dx=bench.mask(bench.unpooled, bench.x))[-2:] == LEFT[-2:]


def test_not_with_another_window() -> None:
    bench = Bench()
    _, index = bench.e.max_pool(bench.y, window((6, 6), 4, 1))
    unpooled = bench.e.max_pool_dx(bench.dy, index, W)
    assert bench.ops(dx=bench.mask(unpooled, bench.y))[-2:] == LEFT[-2:]


def test_not_with_another_map() -> None:
    bench = Bench()
    leaky = bench.e.map(lambda dy, y: where(y > 0, dy, dy * 0.5), bench.unpooled, bench.y)
    assert bench.ops(dx=leaky)[-2:] == LEFT[-2:]


def axes() -> st.SearchStrategy[tuple[int, int, int, int]]:
    return st.tuples(st.integers(3, 8), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))


@pytest.mark.parametrize("special", [False, True], ids=["numbers", "NaN and infinity"])
@settings(max_examples=60, deadline=None)
@given(rows=axes(), cols=axes(), seed=st.integers(0, 99))
def test_both_identities_hold(
    special: bool, rows: tuple[int, int, int, int], cols: tuple[int, int, int, int], seed: int
) -> None:
    """To the bit, for windows of every kind; the sums on integers."""
    sizes, kernels, strides, pads = zip(rows, cols, strict=True)
    pads = tuple(min(p, k - 1) for p, k in zip(pads, kernels, strict=True))
    kernels = tuple(min(k, s) for k, s in zip(kernels, sizes, strict=True))
    g = window(sizes, kernels, strides, ((pads[0], 0), (0, pads[1])))
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (2, *g.in_size, 3)).astype(np.float32)
    if special:
        x = np.where(
            rng.random(x.shape) < 0.2, rng.choice(np.array([np.nan, np.inf, -np.inf], "f"), x.shape), x
        )
    dy = rng.integers(-3, 4, (2, *g.out_size, 3)).astype(np.float32)
    y = np.where(x <= 0, np.float32(0), x)
    pooled, index = ops.max_pool(y, g)
    masked = np.where(pooled > 0, dy, np.float32(0))
    before = np.where(y > 0, ops.max_pool_dx(dy, index, g), np.float32(0))
    np.testing.assert_array_equal(before, ops.max_pool_dx(masked, index, g))
    np.testing.assert_array_equal(before.sum((0, 1, 2)), masked.sum((0, 1, 2)))


def padded(stride: int = 1) -> tuple[RecordingEmitter, Conv, Conv]:
    """An emitter with x, w, dy, a convolution of the padded map and the one that pads."""
    zeros = ((1, 0), (2, 3))
    inner, wider = (
        Conv(window(size, 3, stride, pads), 2, 4)
        for size, pads in (((7, 11), ((0, 1), (1, 0))), ((6, 6), ((1, 1), (3, 3))))
    )
    e = RecordingEmitter("float32")
    e.input("x", (6, 6, 2), True)
    e.input("w", inner.weight_shape, False)
    e.input("dy", inner.out_shape, True)
    assert (inner.window.in_size, wider.out_shape) == (
        (6 + sum(zeros[0]), 6 + sum(zeros[1])),
        inner.out_shape,
    )
    return e, inner, wider


ZEROS = Window(Axis(6, 1, before=1, after=0), Axis(6, 1, before=2, after=3))


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_becomes_the_convolutions(stride: int) -> None:
    e, inner, wider = padded(stride)
    x, w, dy = map(Ref, e.graph.nodes)
    wide = e.avg_pool(x, ZEROS, True)
    e.graph.outputs |= {"y": e.conv(wide, w, inner), "dw": e.conv_dw(wide, dy, inner)}
    e.graph.outputs["dx"] = e.avg_pool_dx(e.conv_dx(dy, w, inner), ZEROS, True)
    live = verify(simplify(verify(e.graph))).live()
    assert [(node.op, node.attribute) for node in live if node.op != "input"] == [
        ("conv", wider), ("conv_dw", wider), ("conv_dx", wider),
    ]  # fmt: skip


def test_padding_stays_where_it_is_more_or_is_asked_for() -> None:
    e, inner, _ = padded()
    x, w, dy = map(Ref, e.graph.nodes)
    mean = e.avg_pool(x, Window(Axis(6, 1, before=1), Axis(6, 1, before=2, after=3)), False)
    e.graph.outputs["y"] = e.conv(mean, w, inner)
    dx = e.conv_dx(dy, w, inner)
    e.graph.outputs |= {"dx": e.avg_pool_dx(dx, ZEROS, True), "wide": dx}
    ops = [node.op for node in verify(simplify(verify(e.graph))).live() if node.op != "input"]
    assert ops == ["avg_pool", "conv", "conv_dx", "avg_pool_dx"]


class Normalized:
    """y = (x − m)·k, an activation of it that reads y on the way back, and, if asked for, a step there that reads x."""

    def __init__(self, needed: bool = True) -> None:
        self.e = RecordingEmitter("float32")
        self.x, self.dz = (self.e.input(name, (6, 6, 3), True) for name in ("x", "dz"))
        self.m, self.k = (self.e.input(f"parameter.{name}", (3,), False) for name in "mk")
        self.y = self.e.map(lambda x, m, k: (x - m) * k, self.x, self.m, self.k)
        self.z = self.e.map(lambda y: y * y, self.y)
        self.e.stage = "backward"
        self.dy = self.e.map(lambda dz, y: dz * (2 * y), self.dz, self.y)
        self.e.graph.outputs |= {"z": self.z, "dy": self.dy}
        if needed:
            self.e.graph.outputs["dx"] = self.e.map(lambda dy, x: dy * x, self.dy, self.x)

    def derivative(self) -> Node:
        graph = verify(simplify(verify(self.e.graph)))
        return graph.outputs["dy"].node


def test_a_derivative_computes_the_normalized_map_again() -> None:
    bench = Normalized()
    found = bench.derivative()
    assert str(found.attribute) == "(x0 * (2 * ((x1 - x2) * x3)))"
    assert [ref.node.attribute for ref in found.inputs] == ["dz", "x", "parameter.m", "parameter.k"]


def test_not_where_x_would_be_kept_for_that_alone() -> None:
    assert str(Normalized(needed=False).derivative().attribute) == "(x0 * (2 * x1))"
