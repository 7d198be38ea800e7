"""The graph: typed nodes in the order in which they were written down. Data, printable, checkable."""

from __future__ import annotations

from dataclasses import dataclass, field

from vecgrad.spec.errors import ShapeError
from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr
from vecgrad.spec.tensor import Shape, as_map

Attribute = Conv | Window | tuple[Window, bool] | tuple[int, int] | Expr | str | None


@dataclass(frozen=True)
class Type:
    """A value's shape (per image if batched) and dtype."""

    shape: Shape
    batched: bool
    dtype: str

    def __str__(self) -> str:
        inside = "×".join(map(str, (("n", *self.shape) if self.batched else self.shape))) or "1"
        return f"{self.dtype}[{inside}]"

    @property
    def map(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return as_map(self.shape)


@dataclass(frozen=True, eq=False)
class Node:
    """One primitive: ``op`` with an attribute (geometry, expression, …), inputs and typed results.

    op: input, conv, conv_dx, conv_dw, max_pool, max_pool_dx, avg_pool, avg_pool_dx, map, reduce_sum, reduce_max (over
    channels), reduce_pixels, moments, keep, concat, part, reshape. scope: the layer's path. formula: its number in the paper.
    """

    number: int
    op: str
    inputs: tuple[Ref, ...]
    types: tuple[Type, ...]
    attribute: Attribute = None
    scope: str = ""
    formula: str = ""
    stage: str = "forward"


@dataclass(frozen=True)
class Ref:
    """Result ``port`` of a node: what the recording emitter hands out."""

    node: Node
    port: int = 0

    @property
    def type(self) -> Type:
        return self.node.types[self.port]

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def batched(self) -> bool:
        return self.type.batched

    def __str__(self) -> str:
        return f"%{self.node.number}" + (f".{self.port}" if self.port else "")


@dataclass
class Graph:
    """Nodes in order, and the named results. Inputs are nodes of op "input" whose attribute is their name."""

    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, Ref] = field(default_factory=dict)

    def live(self) -> list[Node]:
        """The nodes on which an output depends, in order."""
        needed: set[int] = set()
        stack = [ref.node for ref in self.outputs.values()]
        while stack:
            node = stack.pop()
            if node.number not in needed:
                needed.add(node.number)
                stack.extend(ref.node for ref in node.inputs)
        return [node for node in self.nodes if node.number in needed]

    def __str__(self) -> str:
        lines = []
        for node in self.live():
            attribute = f" {_shown(node.attribute)}" if node.attribute is not None else ""
            arguments = ", ".join(map(str, node.inputs))
            types = ", ".join(map(str, node.types))
            where = f"  # {node.scope}" + (f" ({node.formula})" if node.formula else "") if node.scope else ""
            lines.append(f"%{node.number} = {node.op}({arguments}){attribute} : {types}{where}")
        lines += [f"{name} -> {ref}" for name, ref in self.outputs.items()]
        return "\n".join(lines)


def broadcast(shapes: tuple[Shape, ...]) -> Shape:
    """The shape of a map over values of ``shapes``, as NumPy has it. Raises ShapeError."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    result = tuple(max(extents) for extents in zip(*padded, strict=True))
    for shape in padded:
        if any(have not in (1, want) for have, want in zip(shape, result, strict=True)):
            raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast together")
    return result


def _shown(attribute: Attribute) -> str:
    match attribute:
        case Conv(w, c, k, groups):
            return f"[{_window(w)}, {c}→{k}" + (f", groups {groups}]" if groups > 1 else "]")
        case Window():
            return f"[{_window(attribute)}]"
        case (Window() as w, bool() as counted):
            return f"[{_window(w)}{', padding counted' if counted else ''}]"
    return f"[{attribute}]"


def _window(w: Window) -> str:
    text = f"{w.rows.kernel}×{w.cols.kernel}"
    if w.stride != (1, 1):
        text += f" stride {w.stride[0]},{w.stride[1]}"
    if w.padding != ((0, 0), (0, 0)):
        (top, bottom), (left, right) = w.padding
        text += f" padding {top},{bottom},{left},{right}"
    if w.dilation != (1, 1):
        text += f" dilation {w.dilation[0]},{w.dilation[1]}"
    return text
