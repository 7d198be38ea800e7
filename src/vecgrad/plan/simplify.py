"""Identities of the graph, applied before fusion: the same values from less memory.

Two about un-pooling (4.5), two about padding, two about normalization, applied in the graph's order:
1. ReLU's mask (5.3) on an un-pooled gradient is taken on the pooled side:
   where(y > 0, unpool(dy), 0) = unpool(where(pool(y) > 0, dy, 0)). An entry of y receives dy from the windows that chose it, and
   what a window chose is its pooled value. So all terms of an entry pass or none does, whatever the windows, overlapping ones
   too; ties do not matter, for only the chosen cell counts; and where NaN was chosen, both sides compare NaN with 0. The
   full-size y is then read by no backward step.
2. The sum of an un-pooled gradient over pixels, a bias gradient, is the sum of the pooled one: each window chose exactly one
   cell of the image.

3. A convolution of a map that was padded with zeros, and the weight gradient from such a map, read the map itself with so
   much more padding (2.9').
4. The gradient of such a convolution, cut to the map without its padding, is that of the convolution that pads (2.30).

5. ReLU's mask (5.3) behind a map of one value x and per-channel vectors, like batch normalization, is taken from x itself:
   where y = max(f(x), 0), y > 0 holds exactly where f(x) > 0. The gradient of f reads x at once, which is then in the cache.
6. Any other derivative of an activation that reads such a map reads x and computes f(x) again, a few additions with the same
   bits. The normalized map is then no value that must be kept, and joins the activation that alone reads it.

The first needs that nothing but the mask reads the un-pooled gradient, the fourth that nothing but the cut reads the padded
map's; else both would have to be stored.
"""

from __future__ import annotations

from dataclasses import replace

from vecgrad.graph.nodes import Graph, Node, Ref
from vecgrad.kernels.expression import cost
from vecgrad.spec.geometry import Axis, Conv, Window
from vecgrad.spec.scalar import Expr, Operand, substitute, where

_GRADIENT, _RESULT = Operand(0), Operand(1)
# ReLU's mask with its operands in either order.
_MASKS = {where(y > 0, dy, 0): (dy.index, y.index) for dy, y in ((_GRADIENT, _RESULT), (_RESULT, _GRADIENT))}

_RELU = where(Operand(0) <= 0, 0, Operand(0))

# Additions that are cheaper than a vector from beyond the second-level cache.
CHEAP = 12


def simplify(graph: Graph) -> Graph:
    """A graph with the same outputs. Nodes that lost their readers stay, dead."""
    return _Simplified(graph).graph


class _Simplified:
    def __init__(self, graph: Graph) -> None:
        self.graph = Graph()
        self._now: dict[Ref, Ref] = {}
        self._readers: dict[Ref, int] = {}
        # What maps of the backward pass read.
        self._needed = {
            ref
            for node in graph.live()
            if (node.op, node.stage) == ("map", "backward")
            for ref in node.inputs
        }
        for node in graph.live():
            for ref in set(node.inputs):
                self._readers[ref] = self._readers.get(ref, 0) + 1
        kept = set(graph.outputs.values())
        for node in graph.nodes:
            self._add(node, kept)
        self.graph.outputs = {name: self._now[ref] for name, ref in graph.outputs.items()}

    def _add(self, node: Node, kept: set[Ref]) -> None:
        made = (
            self._masked(node, kept)
            or self._before(node)
            or self._again(node)
            or self._summed(node)
            or self._padded(node)
            or self._cut(node, kept)
            or self._copy(node)
        )
        for port in range(len(node.types)):
            self._now[Ref(node, port)] = Ref(made, port)

    def _copy(self, node: Node) -> Node:
        return self._put(replace(node, inputs=tuple(self._now[ref] for ref in node.inputs)))

    def _put(self, node: Node) -> Node:
        made = replace(node, number=len(self.graph.nodes))
        self.graph.nodes.append(made)
        return made

    def _masked(self, node: Node, kept: set[Ref]) -> Node | None:
        """Identity 1: the mask, then the un-pooling, in place of the mask on what was un-pooled."""
        if node.op != "map" or not isinstance(node.attribute, Expr) or node.attribute not in _MASKS:
            return None
        unpooled, y = (node.inputs[index] for index in _MASKS[node.attribute])
        unpool = unpooled.node
        if unpool.op != "max_pool_dx" or self._readers.get(unpooled, 0) > 1 or unpooled in kept:
            return None
        dy, index = unpool.inputs
        pool = index.node
        if (pool.op, pool.attribute, pool.inputs) != ("max_pool", unpool.attribute, (y,)):
            return None
        sides = {unpooled: dy, y: Ref(pool)}
        inputs = tuple(self._now[sides[ref]] for ref in node.inputs)
        mask = self._put(replace(node, inputs=inputs, types=(dy.type,)))
        return self._put(replace(unpool, inputs=(Ref(mask), self._now[index])))

    def _before(self, node: Node) -> Node | None:
        """Identity 5: the mask from what went into the activation, where a backward step reads that anyway."""
        if node.op != "map" or not isinstance(node.attribute, Expr) or node.attribute not in _MASKS:
            return None
        dy, y = (node.inputs[index] for index in _MASKS[node.attribute])
        if y.node.attribute != _RELU:
            return None
        inner = y.node.inputs[0]
        if not self._shifts(inner):
            return None
        assert isinstance(inner.node.attribute, Expr)
        read = inner.node.inputs
        shifted = substitute(inner.node.attribute, tuple(Operand(1 + i) for i in range(len(read))))
        inputs = tuple(self._now[ref] for ref in (dy, *read))
        return self._put(replace(node, attribute=where(shifted > 0, _GRADIENT, 0), inputs=inputs))

    def _again(self, node: Node) -> Node | None:
        """Identity 6."""
        if (node.op, node.stage) != ("map", "backward") or not any(map(self._shifts, node.inputs)):
            return None
        assert isinstance(node.attribute, Expr)
        inputs: list[Ref] = []
        values: list[Expr] = []
        for ref in node.inputs:
            body = ref.node.attribute if self._shifts(ref) else None
            read = ref.node.inputs if isinstance(body, Expr) else (ref,)
            places = tuple(Operand(len(inputs) + i) for i in range(len(read)))
            inputs.extend(read)
            values.append(substitute(body, places) if isinstance(body, Expr) else places[0])
        attribute = substitute(node.attribute, tuple(values))
        return self._put(replace(node, attribute=attribute, inputs=tuple(self._now[ref] for ref in inputs)))

    def _shifts(self, ref: Ref) -> bool:
        """Whether a value is a cheap map of one other, which a backward step reads anyway, and per-channel vectors."""
        node = ref.node
        values = [source for source in node.inputs if source.batched]
        return (
            (node.op, node.stage, len(values)) == ("map", "forward", 1)
            and values[0].type == ref.type
            and values[0] in self._needed
            and isinstance(node.attribute, Expr)
            and cost([node.attribute]) <= CHEAP
        )

    def _summed(self, node: Node) -> Node | None:
        """Identity 2, on what identity 1 has made of the sum's operand."""
        source = self._now[node.inputs[0]].node if node.op == "reduce_pixels" else None
        if source is None or source.op != "max_pool_dx":
            return None
        return self._put(replace(node, inputs=(source.inputs[0],)))

    def _padded(self, node: Node) -> Node | None:
        """Identity 3."""
        if node.op not in ("conv", "conv_dw") or not isinstance(node.attribute, Conv):
            return None
        x, *others = (self._now[ref] for ref in node.inputs)
        zeros = _zeros(x.node, "avg_pool")
        if zeros is None:
            return None
        inputs = (x.node.inputs[0], *others)
        return self._put(replace(node, inputs=inputs, attribute=_wider(node.attribute, zeros)))

    def _cut(self, node: Node, kept: set[Ref]) -> Node | None:
        """Identity 4."""
        zeros = _zeros(node, "avg_pool_dx")
        if zeros is None:
            return None
        dx, made = node.inputs[0], self._now[node.inputs[0]].node
        if (
            made.op != "conv_dx"
            or self._readers.get(dx, 0) > 1
            or dx in kept
            or not isinstance(made.attribute, Conv)
        ):
            return None
        return self._put(replace(made, attribute=_wider(made.attribute, zeros), types=node.types))


def _zeros(node: Node, op: str) -> Window | None:
    """What a node of kind ``op`` pads with zeros, or cuts off: an average over windows of one cell, all of which count."""
    if node.op == op and isinstance(node.attribute, tuple) and isinstance(node.attribute[0], Window):
        window, counted = node.attribute
        if counted and window.kernel == window.stride == (1, 1):
            return window
    return None


def _wider(conv: Conv, zeros: Window) -> Conv:
    """``conv``, which reads a padded map, as the convolution that pads it."""

    def axis(own: Axis, around: Axis) -> Axis:
        before, after = own.before + around.before, own.after + around.after
        return replace(own, size=around.size, before=before, after=after)

    window = conv.window
    return replace(conv, window=Window(axis(window.rows, zeros.rows), axis(window.cols, zeros.cols)))
