"""The verifier catches what a broken emitter would write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vecgrad.graph.nodes import Graph, Node, Ref, Type
from vecgrad.graph.verify import verify
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.scalar import Operand

W = window((4, 4), 2, 2)
G = Conv(window((4, 4), 3), 2, 5)
BATCH = "float32"


class Writer:
    """Writes nodes without looking."""

    def __init__(self) -> None:
        self.graph = Graph()

    def __call__(
        self, op: str, *inputs: Ref, to: Any = (), attribute: Any = None, batched: bool = True
    ) -> Ref:
        types = (Type(tuple(to), batched, BATCH),)
        if op == "max_pool":
            types = (*types, Type(tuple(to), batched, "uint8"))
        node = Node(len(self.graph.nodes), op, inputs, types, attribute)
        self.graph.nodes.append(node)
        return Ref(node)

    def input(self, *shape: int, batched: bool = True, name: str | None = None) -> Ref:
        return self("input", to=shape, attribute=name or f"v{len(self.graph.nodes)}", batched=batched)


def sound(w: Writer) -> None:
    x, weight = w.input(4, 4, 2), w.input(3, 3, 2, 5, batched=False)
    y = w("conv", x, weight, to=(2, 2, 5), attribute=G)
    w("conv_dx", y, weight, to=(4, 4, 2), attribute=G)
    w("conv_dw", x, y, to=(3, 3, 2, 5), attribute=G, batched=False)
    p = w("max_pool", x, to=(2, 2, 2), attribute=W)
    w("max_pool_dx", p, Ref(p.node, 1), to=(4, 4, 2), attribute=W)
    a = w("avg_pool", x, to=(2, 2, 2), attribute=(W, True))
    w("avg_pool_dx", a, to=(4, 4, 2), attribute=(W, True))
    m = w("map", x, to=(4, 4, 2), attribute=Operand(0))
    w("reduce_sum", m, to=(4, 4, 1))
    w("reduce_pixels", m, to=(2,), batched=False)
    r = w("reshape", m, to=(32,))
    w.graph.outputs["y"] = r


def test_a_sound_graph_passes() -> None:
    w = Writer()
    sound(w)
    assert verify(w.graph) is w.graph


def elsewhere(w: Writer) -> Ref:
    return Writer().input(4, 4, 2)


FAULTS: dict[str, Callable[[Writer], object]] = {
    "unknown operation": lambda w: w("softmax", w.input(3), to=(3,)),
    "before it is written": lambda w: w("map", elsewhere(w), to=(4, 4, 2), attribute=Operand(0)),
    "does not have": lambda w: w("map", Ref(w.input(3).node, 1), to=(3,), attribute=Operand(0)),
    "a second input": lambda w: (w.input(3, name="x"), w.input(3, name="x")),
    "geometry.*conv input": lambda w: w(
        "conv", w.input(4, 5, 2), w.input(3, 3, 2, 5, batched=False), to=(2, 2, 5), attribute=G
    ),
    "geometry.*conv result": lambda w: w(
        "conv", w.input(4, 4, 2), w.input(3, 3, 2, 5, batched=False), to=(2, 3, 5), attribute=G
    ),
    "geometry.*dx": lambda w: w(
        "conv_dx", w.input(2, 2, 5), w.input(3, 3, 5, 2, batched=False), to=(4, 4, 2), attribute=G
    ),
    "geometry.*dw": lambda w: w(
        "conv_dw", w.input(4, 4, 2), w.input(2, 2, 4), to=(3, 3, 2, 5), attribute=G, batched=False
    ),
    "mixes up.*weights per image": lambda w: w(
        "conv", w.input(4, 4, 2), w.input(3, 3, 2, 5), to=(2, 2, 5), attribute=G
    ),
    "mixes up.*gradient per image": lambda w: w(
        "conv_dw", w.input(4, 4, 2), w.input(2, 2, 5), to=(3, 3, 2, 5), attribute=G
    ),
    "geometry.*pool": lambda w: w("max_pool", w.input(4, 4, 2), to=(3, 2, 2), attribute=W),
    "geometry.*pool gradient": lambda w: w(
        "avg_pool_dx", w.input(4, 4, 2), to=(4, 4, 2), attribute=(W, False)
    ),
    "does not belong": lambda w: w("avg_pool", w.input(4, 4, 2), to=(2, 2, 2), attribute=W),
    "operand that it does not have": lambda w: w("map", w.input(3), to=(3,), attribute=Operand(1)),
    "do not broadcast to": lambda w: w("map", w.input(3), to=(4,), attribute=Operand(0)),
    "loses the images": lambda w: w("map", w.input(3), to=(3,), attribute=Operand(0), batched=False),
    "geometry.*channels": lambda w: w("reduce_max", w.input(4, 4, 2), to=(4, 4)),
    "geometry.*pixels": lambda w: w("reduce_pixels", w.input(4, 4, 2), to=(4,), batched=False),
    "differ in size": lambda w: w("reshape", w.input(4, 4, 2), to=(31,)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str) -> None:
    w = Writer()
    sound(w)
    FAULTS[fault](w)
    with pytest.raises(AssertionError, match=fault.split(".*")[0]):
        verify(w.graph)


def test_an_output_of_another_graph_is_caught() -> None:
    w = Writer()
    sound(w)
    w.graph.outputs["z"] = Ref(Node(99, "input", (), (Type((3,), True, BATCH),), "z"))
    with pytest.raises(AssertionError, match="output z"):
        verify(w.graph)
