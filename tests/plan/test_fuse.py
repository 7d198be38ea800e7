"""Fusion: each of the five rules where it must fire, and every case where it must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vecgrad.graph.nodes import Ref
from vecgrad.graph.record import RecordingEmitter
from vecgrad.graph.verify import verify
from vecgrad.plan.fuse import MOST_NODES, Step, fuse
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.scalar import nodes, where

SHAPE = (4, 4, 6)
G = Conv(window((4, 4), 3, padding=1), 6, 6)
W = window((4, 4), 3, padding=1)


class Bench:
    """A recording emitter with some inputs, and what fusion makes of what was recorded."""

    def __init__(self) -> None:
        self.e = RecordingEmitter("float32")
        self.x = self.e.input("x", SHAPE, True)
        self.other = self.e.input("other", SHAPE, True)
        self.w = self.e.input("parameter.w", G.weight_shape, False)
        self.b = self.e.input("parameter.b", (6,), False)

    def relu(self, x: Ref) -> Ref:
        return self.e.map(lambda x: where(x <= 0, 0, x), x)

    def plus(self, *values: Ref) -> Ref:
        return self.e.map(lambda a, b: a + b, *values)

    def steps(self, **outputs: Ref) -> list[Step]:
        self.e.graph.outputs |= outputs
        found = fuse(verify(self.e.graph))
        made: set[Ref] = {Ref(n) for n in self.e.graph.nodes if n.op == "input"}
        for step in found:
            assert made.issuperset(step.reads), f"{step.op} reads what is not made yet"
            made.update(step.results)
        return found

    def text(self, **outputs: Ref) -> list[str]:
        return [f"{s.op} {s.expr}" for s in self.steps(**outputs)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestMapIntoMap:
    def test_a_chain_is_one_map(self, bench: Bench) -> None:
        y = bench.relu(bench.plus(bench.relu(bench.x), bench.other))
        assert bench.text(y=y) == [
            "map where(((where((x0 <= 0), 0, x0) + x1) <= 0), 0, (where((x0 <= 0), 0, x0) + x1))"
        ]

    def test_an_operand_read_twice_is_listed_once(self, bench: Bench) -> None:
        a = bench.plus(bench.x, bench.other)
        y = bench.plus(a, a)
        [step] = bench.steps(y=y)
        assert (str(step.expr), len(step.extra)) == ("((x0 + x1) + (x0 + x1))", 2)

    def test_two_branches_join_in_one(self, bench: Bench) -> None:
        y = bench.plus(bench.relu(bench.x), bench.relu(bench.other))
        assert bench.text(y=y) == ["map (where((x0 <= 0), 0, x0) + where((x1 <= 0), 0, x1))"]

    def test_not_with_two_readers(self, bench: Bench) -> None:
        a = bench.relu(bench.x)
        assert len(bench.steps(y=bench.relu(a), z=bench.plus(a, bench.other))) == 3

    def test_but_two_readers_that_became_one_count_as_one(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        both = bench.plus(bench.relu(y), bench.plus(y, bench.b))
        [step] = bench.steps(y=both)
        assert step.op == "conv"

    def test_not_when_a_map_that_was_joined_before_reads_it_too(self, bench: Bench) -> None:
        y = bench.relu(bench.x)
        steps = bench.steps(z=bench.plus(bench.plus(y, bench.other), y))
        assert [step.op for step in steps] == ["map", "map"]

    def test_not_when_it_is_an_output(self, bench: Bench) -> None:
        a = bench.relu(bench.x)
        assert len(bench.steps(a=a, y=bench.relu(a))) == 2

    def test_not_when_it_is_an_output_under_another_shape(self, bench: Bench) -> None:
        a = bench.plus(bench.b, bench.b)
        assert len(bench.steps(a=bench.e.reshape(a, (2, 3)), y=bench.plus(bench.x, a))) == 2

    def test_not_when_it_is_broadcast(self, bench: Bench) -> None:
        top = bench.e.reduce("max", bench.x, over="channels")
        one = bench.relu(top)
        assert [s.op for s in bench.steps(y=bench.plus(bench.x, one))] == ["reduce_max", "map", "map"]

    def test_not_when_it_exists_once(self, bench: Bench) -> None:
        once = bench.relu(bench.e.reshape(bench.b, (1, 1, 6)))
        flat = bench.e.reduce("max", bench.x, over="channels")
        assert len(bench.steps(y=bench.plus(flat, once))) == 3

    def test_not_even_when_it_is_as_large(self, bench: Bench) -> None:
        each = bench.e.input("target", (6,), True)
        assert len(bench.steps(y=bench.plus(each, bench.relu(bench.b)))) == 2, (
            "it would be computed for each image"
        )

    def test_not_when_the_tree_would_grow_without_end(self, bench: Bench) -> None:
        y = bench.x
        for _ in range(40):
            y = bench.relu(y)
        steps = bench.steps(y=y)
        assert all(sum(1 for _ in nodes(step.expr)) <= MOST_NODES for step in steps)
        assert 1 < len(steps) < 20


PRODUCERS: dict[str, Callable[[Bench], Ref]] = {
    "conv": lambda b: b.e.conv(b.x, b.w, G),
    "conv_dx": lambda b: b.e.conv_dx(b.x, b.w, G),
    "max_pool": lambda b: b.e.max_pool(b.x, W)[0],
    "max_pool_dx": lambda b: b.e.max_pool_dx(b.x, b.e.max_pool(b.other, W)[1], W),
    "avg_pool": lambda b: b.e.avg_pool(b.x, W, False),
    "avg_pool_dx": lambda b: b.e.avg_pool_dx(b.x, W, True),
}


class TestMapIntoItsProducer:
    @pytest.mark.parametrize("kind", PRODUCERS)
    def test_every_producer_takes_a_map(self, bench: Bench, kind: str) -> None:
        y = bench.relu(bench.plus(PRODUCERS[kind](bench), bench.b))
        last = bench.steps(y=y)[-1]
        assert last.op == kind
        assert str(last.expr) == "where(((x0 + x1) <= 0), 0, (x0 + x1))"
        assert last.extra == (bench.b,)
        assert last.results[0] == y

    def test_another_map_of_the_same_size_is_read_beside_it(self, bench: Bench) -> None:
        y = bench.plus(bench.e.conv(bench.x, bench.w, G), bench.other)
        assert bench.text(y=y) == ["conv (x0 + x1)"]

    def test_a_pixel_s_number_is_read_beside_it(self, bench: Bench) -> None:
        top = bench.e.reduce("max", bench.other, over="channels")
        y = bench.plus(bench.e.conv(bench.x, bench.w, G), top)
        assert bench.text(y=y) == ["reduce_max x0", "conv (x0 + x1)"]

    def test_the_later_of_two_producers_takes_it(self, bench: Bench) -> None:
        first, second = bench.e.conv(bench.x, bench.w, G), bench.e.avg_pool(bench.other, W, False)
        assert bench.text(y=bench.plus(first, second)) == ["conv x0", "avg_pool (x1 + x0)"]

    def test_not_with_two_readers(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        assert bench.text(a=bench.relu(y), b=bench.e.avg_pool(y, W, False))[0] == "conv x0"

    def test_not_when_it_is_an_output(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        assert bench.text(y=y, z=bench.relu(y))[0] == "conv x0"

    def test_not_into_a_larger_map(self, bench: Bench) -> None:
        pixel = bench.e.conv(
            bench.x, bench.e.input("parameter.v", (4, 4, 6, 6), False), Conv(window((4, 4), 4), 6, 6)
        )
        assert bench.text(y=bench.plus(bench.x, pixel)) == ["conv x0", "map (x0 + x1)"]

    def test_not_beside_a_pixel_for_all_pixels(self, bench: Bench) -> None:
        each = bench.e.input("target", (1, 1, 6), True)
        y = bench.plus(bench.e.conv(bench.x, bench.w, G), each)
        assert bench.text(y=y) == ["conv x0", "map (x0 + x1)"]

    def test_not_beside_a_map_that_exists_once(self, bench: Bench) -> None:
        once = bench.e.input("parameter.m", SHAPE, False)
        y = bench.plus(bench.e.conv(bench.x, bench.w, G), once)
        assert bench.text(y=y) == ["conv x0", "map (x0 + x1)"]

    def test_not_when_another_result_was_read_before(self, bench: Bench) -> None:
        y, index = bench.e.max_pool(bench.x, W)
        dx = bench.e.max_pool_dx(bench.other, index, W)
        assert bench.text(y=bench.relu(y), dx=dx)[0] == "max_pool x0"

    def test_the_index_of_a_pool_is_still_made(self, bench: Bench) -> None:
        y, index = bench.e.max_pool(bench.x, W)
        y = bench.relu(y)
        dx = bench.e.max_pool_dx(y, index, W)
        assert [s.op for s in bench.steps(dx=dx)] == ["max_pool", "max_pool_dx"]


class TestPoolIntoConvolution:
    G2 = window((4, 4), 2, 2)

    def test_with_the_maps_on_either_side(self, bench: Bench) -> None:
        y = bench.relu(bench.plus(bench.e.conv(bench.x, bench.w, G), bench.b))
        pooled, index = bench.e.max_pool(y, self.G2)
        [step] = bench.steps(y=bench.plus(pooled, bench.b), index=index)
        assert step.op == "conv"
        assert step.pool is not None
        assert (str(step.expr), str(step.pool.expr)) == ("where(((x0 + x1) <= 0), 0, (x0 + x1))", "(x0 + x1)")
        assert (step.extra, step.pool.extra) == ((bench.b,), (bench.b,))
        assert step.results == (bench.e.graph.outputs["y"], index)
        assert step.reads == (bench.x, bench.w, bench.b, bench.b)

    def test_it_can_be_taken_apart(self, bench: Bench) -> None:
        with bench.e.scope("0"):
            y = bench.e.conv(bench.x, bench.w, G)
        with bench.e.scope("1"):
            pooled, index = bench.e.max_pool(y, self.G2)
        [step] = bench.steps(y=pooled)
        assert step.scope == "0+1"
        first, second = step.apart
        assert (first.op, first.results, first.scope, first.pool) == ("conv", (y,), "0", None)
        assert (second.op, second.inputs, second.results) == ("max_pool", (y,), (pooled, index))

    def test_an_index_that_nobody_reads_is_no_result(self, bench: Bench) -> None:
        pooled, _ = bench.e.max_pool(bench.e.conv(bench.x, bench.w, G), self.G2)
        [step] = bench.steps(y=pooled)
        assert step.results == (pooled,)

    def test_its_maps_may_read_what_was_made_in_between(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        other, _ = bench.e.max_pool(bench.other, self.G2)
        pooled, _ = bench.e.max_pool(y, self.G2)
        # ``steps`` sees that everything is made before it is read.
        assert [s.op for s in bench.steps(y=bench.plus(pooled, other), z=other)] == ["max_pool", "conv"]

    def test_not_with_two_readers(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        pooled, _ = bench.e.max_pool(y, self.G2)
        found = bench.steps(y=pooled, z=bench.e.avg_pool(y, W, False))
        assert [s.op for s in found] == ["conv", "max_pool", "avg_pool"]

    def test_not_when_it_is_an_output(self, bench: Bench) -> None:
        y = bench.e.conv(bench.x, bench.w, G)
        assert [s.op for s in bench.steps(y=bench.e.max_pool(y, self.G2)[0], z=y)] == ["conv", "max_pool"]

    def test_not_into_a_data_gradient(self, bench: Bench) -> None:
        y = bench.e.conv_dx(bench.x, bench.w, G)
        assert [s.op for s in bench.steps(y=bench.e.max_pool(y, self.G2)[0])] == ["conv_dx", "max_pool"]


class TestMapIntoReduction:
    @pytest.mark.parametrize(("how", "over"), [("sum", "channels"), ("max", "channels"), ("sum", "pixels")])
    def test_it_is_computed_there(self, bench: Bench, how: Any, over: Any) -> None:
        y = bench.e.reduce(how, bench.e.map(lambda a, b: a * b, bench.x, bench.b), over=over)
        [step] = bench.steps(y=y)
        assert (str(step.expr), step.extra) == ("(x0 * x1)", (bench.x, bench.b))

    def test_not_with_two_readers(self, bench: Bench) -> None:
        a = bench.relu(bench.x)
        y = bench.e.reduce("sum", a, over="pixels")
        assert [s.op for s in bench.steps(y=y, z=bench.e.avg_pool(a, W, False))] == [
            "map",
            "reduce_pixels",
            "avg_pool",
        ]

    def test_not_when_it_is_an_output(self, bench: Bench) -> None:
        a = bench.relu(bench.x)
        assert [s.op for s in bench.steps(a=a, y=bench.e.reduce("sum", a, over="pixels"))] == [
            "map",
            "reduce_pixels",
        ]

    def test_not_when_it_lies_in_a_convolution(self, bench: Bench) -> None:
        a = bench.relu(bench.e.conv(bench.x, bench.w, G))
        assert [s.op for s in bench.steps(y=bench.e.reduce("sum", a, over="channels"))] == [
            "conv",
            "reduce_sum",
        ]


class TestReshape:
    def test_another_rank_is_no_step(self, bench: Bench) -> None:
        e = bench.e
        vector = e.reduce("sum", e.input("target", (6,), True), over="channels")
        y = e.map(lambda a, b: a + b, e.reshape(vector, (1, 1, 1)), bench.x)
        assert [s.op for s in bench.steps(y=y)] == ["reduce_sum", "map"]

    def test_weights_under_another_shape_are_no_step(self, bench: Bench) -> None:
        flat = bench.e.input("parameter.f", (3 * 3 * 6 * 6,), False)
        y = bench.e.conv(bench.x, bench.e.reshape(flat, G.weight_shape), G)
        assert [s.op for s in bench.steps(y=y)] == ["conv"]

    def test_a_map_cut_into_other_pixels_is_one(self, bench: Bench) -> None:
        y = bench.relu(bench.e.reshape(bench.relu(bench.x), (96,)))
        assert [s.op for s in bench.steps(y=y)] == ["map", "reshape", "map"]

    def test_a_parameter_that_a_map_reads_under_another_shape_keeps_it(self, bench: Bench) -> None:
        flat = bench.e.input("parameter.f", (12,), False)
        y = bench.plus(bench.e.reshape(flat, (2, 6)), bench.b)
        found = bench.steps(y=y)
        assert [s.op for s in found] == ["reshape", "map"]
        assert found[1].extra[0].type.map == (1, 2, 6)

    def test_so_does_one_that_a_reduction_reads(self, bench: Bench) -> None:
        flat = bench.e.input("parameter.f", (12,), False)
        y = bench.e.reduce("sum", bench.e.reshape(flat, (2, 6)), over="channels")
        assert [s.extra[0].type.map for s in bench.steps(y=y) if s.op == "reduce_sum"] == [(1, 2, 6)]


def test_a_step_knows_its_layers_and_formulas(bench: Bench) -> None:
    with bench.e.scope("0"):
        y = bench.e.map(lambda y, b: y + b, bench.e.conv(bench.x, bench.w, G), bench.b, formula="2.9")
    with bench.e.scope("1"):
        y = bench.e.map(lambda y: where(y <= 0, 0, y), y, formula="5.1")
    [step] = bench.steps(y=y)
    assert (step.scope, step.formula) == ("0+1", "2.9, 5.1")


def test_what_nobody_reads_is_no_step(bench: Bench) -> None:
    bench.relu(bench.x)
    assert bench.steps(y=bench.plus(bench.x, bench.other))[0].op == "map"
    assert len(bench.steps()) == 1
