"""The recording emitter: every primitive becomes a node of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from vecgrad.graph.nodes import Attribute, Graph, Node, Ref, Type, broadcast
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, Window, window
from vecgrad.spec.random import threshold
from vecgrad.spec.scalar import Expr, Operand, Scalar, lift
from vecgrad.spec.tensor import Shape, as_map, size


class RecordingEmitter:
    """Writes a graph down. ``stage`` (forward, loss, backward, update) is noted on every node.

    A map that was flattened for a dense layer is convolved as the map it is (section 3): the
    kernel covers it, and no copy in another order is ever made.
    """

    def __init__(self, dtype: str, training: bool = False) -> None:
        self.graph = Graph()
        self.training = training
        self.weight: Ref | None = None
        self.dtype = dtype
        self.stage = "forward"
        self.marks: dict[str, Ref] = {}
        self._scopes: list[str] = []
        self._masks = 0

    def _node(
        self, op: str, inputs: tuple[Ref, ...], *types: Type, attribute: Attribute = None, formula: str = ""
    ) -> Node:
        node = Node(
            len(self.graph.nodes), op, inputs, types, attribute, ".".join(self._scopes), formula, self.stage
        )
        self.graph.nodes.append(node)
        return node

    def input(self, name: str, shape: Shape, batched: bool) -> Ref:
        """A value that comes from outside: "x", "target", "weight" (one per image), or a parameter by its name."""
        return Ref(self._node("input", (), Type(shape, batched, self.dtype), attribute=name))

    def conv(self, x: Ref, w: Ref, g: Conv) -> Ref:
        x, w, g = self._covered(x, w, g)
        _expect(x, g.in_shape, True, "x")
        _expect(w, g.weight_shape, False, "w")
        return Ref(self._node("conv", (x, w), self._batch(g.out_shape), attribute=g, formula="2.9"))

    def conv_dx(self, dy: Ref, w: Ref, g: Conv) -> Ref:
        _expect(dy, g.out_shape, True, "dy")
        _expect(w, g.weight_shape, False, "w")
        return Ref(self._node("conv_dx", (dy, w), self._batch(g.in_shape), attribute=g, formula="2.28, 2.30"))

    def conv_dw(self, x: Ref, dy: Ref, g: Conv) -> Ref:
        x, _, covering = self._covered(x, None, g)
        _expect(x, covering.in_shape, True, "x")
        _expect(dy, g.out_shape, True, "dy")
        kind = Type(covering.weight_shape, False, self.dtype)
        dw = Ref(self._node("conv_dw", (x, dy), kind, attribute=covering, formula="2.21"))
        return self.reshape(dw, g.weight_shape)

    def max_pool(self, x: Ref, g: Window) -> tuple[Ref, Ref]:
        _expect(x, (*g.in_size, *x.shape[2:3]), True, "x")
        y = self._batch((*g.out_size, x.shape[2]))
        index = replace(y, dtype="uint8" if g.taps <= 255 else "int32")
        node = self._node("max_pool", (x,), y, index, attribute=g, formula="4.2")
        return Ref(node, 0), Ref(node, 1)

    def max_pool_dx(self, dy: Ref, index: Ref, g: Window) -> Ref:
        _expect(dy, (*g.out_size, *dy.shape[2:3]), True, "dy")
        _expect(index, dy.shape, True, "index")
        kind = self._batch((*g.in_size, dy.shape[2]))
        return Ref(self._node("max_pool_dx", (dy, index), kind, attribute=g, formula="4.5, 4.6"))

    def avg_pool(self, x: Ref, g: Window, count_padding: bool) -> Ref:
        _expect(x, (*g.in_size, *x.shape[2:3]), True, "x")
        kind = self._batch((*g.out_size, x.shape[2]))
        return Ref(
            self._node("avg_pool", (x,), kind, attribute=(g, count_padding), formula="average-pooling")
        )

    def avg_pool_dx(self, dy: Ref, g: Window, count_padding: bool) -> Ref:
        _expect(dy, (*g.out_size, *dy.shape[2:3]), True, "dy")
        kind = self._batch((*g.in_size, dy.shape[2]))
        return Ref(
            self._node("avg_pool_dx", (dy,), kind, attribute=(g, count_padding), formula="average-pooling")
        )

    def map(self, body: Callable[..., Expr], *operands: Ref, formula: str = "") -> Ref:
        expr = lift(body(*(Operand(i) for i in range(len(operands)))))
        shape = broadcast(tuple(v.shape for v in operands))
        kind = Type(shape, any(v.batched for v in operands), self.dtype)
        return Ref(self._node("map", operands, kind, attribute=expr, formula=formula))

    def reduce(self, how: Literal["sum", "max"], x: Ref, over: Literal["channels", "pixels"]) -> Ref:
        if over == "channels":
            kind = replace(x.type, shape=(*x.shape[:-1], 1))
            return Ref(self._node(f"reduce_{how}", (x,), kind))
        if how != "sum":
            raise ShapeError("reduce over pixels exists for sums only; take the maximum over channels")
        kind = Type(x.shape[-1:] or (1,), False, self.dtype)
        return Ref(
            self._node("reduce_pixels", (x,), kind, formula="bias" if self.stage == "backward" else "")
        )

    def moments(self, x: Ref, weight: Ref) -> tuple[Ref, Ref]:
        _expect(weight, (), True, "weight")
        kind = Type(x.shape[-1:], False, self.dtype)
        node = self._node("moments", (x, weight), kind, kind, formula="moments")
        return Ref(node, 0), Ref(node, 1)

    def keep(self, x: Ref, shape: Shape, rate: float) -> Ref:
        kind = Type(shape, True, "uint8")
        self._masks += 1
        return Ref(
            self._node("keep", (), kind, attribute=(self._masks - 1, threshold(rate)), formula="dropout")
        )

    def concat(self, parts: tuple[Ref, ...]) -> Ref:
        channels = sum(part.shape[-1] for part in parts)
        return Ref(self._node("concat", tuple(parts), self._batch((*parts[0].shape[:-1], channels))))

    def part(self, x: Ref, first: int, end: int) -> Ref:
        return Ref(
            self._node("part", (x,), self._batch((*x.shape[:-1], end - first)), attribute=(first, end))
        )

    def reshape(self, x: Ref, shape: Shape) -> Ref:
        if size(x.shape) != size(shape):
            raise ShapeError(
                f"cannot reshape {x.shape} to {shape}: {size(x.shape)} entries against {size(shape)}"
            )
        while x.node.op == "reshape":
            x = x.node.inputs[0]
        if x.shape == shape:
            return x
        node = x.node
        if node.op == "conv_dx" and isinstance(node.attribute, Conv) and as_map(shape) != node.types[0].shape:
            covering = _cover(node.attribute, as_map(shape))
            if covering is not None:
                # It stays the dense layer's work, whoever asks for it in the map's shape.
                here, self._scopes = self._scopes, [node.scope]
                weight = self.reshape(node.inputs[1], covering.weight_shape)
                covered = self.conv_dx(node.inputs[0], weight, covering)
                self._scopes = here
                return self.reshape(covered, shape)
        return Ref(self._node("reshape", (x,), replace(x.type, shape=shape)))

    def scalar(self, name: str) -> Expr:
        return Scalar(name)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self._scopes.append(name)
        yield
        self._scopes.pop()

    def mark(self, name: str, value: Ref) -> None:
        self.marks[".".join([*self._scopes, name])] = value

    def _batch(self, shape: Shape) -> Type:
        return Type(shape, True, self.dtype)

    def _covered(self, x: Ref, w: Ref | None, g: Conv) -> tuple[Ref, Ref, Conv]:
        """A 1 × 1 convolution of a flattened map, as the convolution that covers the map."""
        source = x
        while source.node.op == "reshape" and as_map(source.shape)[:2] == (1, 1):
            source = source.node.inputs[0]
        covering = _cover(g, as_map(source.shape))
        if covering is None or len(source.shape) != 3:
            return x, w if w is not None else x, g
        return source, self.reshape(w, covering.weight_shape) if w is not None else x, covering


def _expect(value: Ref, shape: Shape, batched: bool, what: str) -> None:
    if value.shape != shape:
        raise ShapeError(f"{what} has shape {value.shape}, the geometry says {shape}")
    if value.batched != batched:
        raise ShapeError(f"{what} must exist {'for each image' if batched else 'once, not for each image'}")


def _cover(g: Conv, shape: tuple[int, int, int]) -> Conv | None:
    """The convolution that covers a map of ``shape``, if ``g`` is it on the flattened map."""
    if g.window.in_size != (1, 1) or g.window.taps != 1 or g.groups != 1 or size(shape) != g.channels_in:
        return None
    if shape[:2] == (1, 1):
        return None
    return Conv(window(shape[:2], shape[:2]), shape[2], g.channels_out)
