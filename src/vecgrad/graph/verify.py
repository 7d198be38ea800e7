"""What must hold of every graph before it is planned; a violation is a bug in an emitter, not in a user's model."""

from __future__ import annotations

from vecgrad.graph.nodes import Graph, Node, broadcast
from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr, Operand
from vecgrad.spec.scalar import nodes as expression_nodes
from vecgrad.spec.tensor import size

OPS = frozenset(
    ("input", "conv", "conv_dx", "conv_dw", "max_pool", "max_pool_dx", "avg_pool", "avg_pool_dx")
) | frozenset(
    ("map", "reduce_sum", "reduce_max", "reduce_pixels", "moments", "keep", "concat", "part", "reshape")
)

# Which inputs exist for each image, and whether the result does.
BATCHED: dict[str, tuple[tuple[bool, ...], bool]] = {
    "conv": ((True, False), True),
    "conv_dx": ((True, False), True),
    "conv_dw": ((True, True), False),
    "max_pool": ((True,), True),
    "max_pool_dx": ((True, True), True),
    "avg_pool": ((True,), True),
    "avg_pool_dx": ((True,), True),
    "moments": ((True, True), False),
    "part": ((True,), True),
    "keep": ((), True),
}


def verify(graph: Graph) -> Graph:
    """The graph itself, or AssertionError naming the node that breaks a rule."""
    seen: set[Node] = set()
    names: set[str] = set()
    for node in graph.nodes:
        _check(node.op in OPS, node, "unknown operation")
        for ref in node.inputs:
            _check(ref.node in seen, node, f"reads {ref} before it is written")
            _check(
                ref.port < len(ref.node.types), node, f"reads a result that %{ref.node.number} does not have"
            )
        if node.op in BATCHED:
            got = tuple(ref.batched for ref in node.inputs), node.types[0].batched
            _check(got == BATCHED[node.op], node, "mixes up what exists once and what exists for each image")
        if node.op == "input":
            _check(node.attribute not in names, node, f"a second input {node.attribute!r}")
            names.add(str(node.attribute))
        else:
            _check_shapes(node)
        seen.add(node)
    for name, ref in graph.outputs.items():
        assert ref.node in seen, f"output {name} is not of this graph"
    return graph


def _check_shapes(node: Node) -> None:
    inputs = tuple(ref.shape for ref in node.inputs)
    result = node.types[0].shape
    match node.op, node.attribute:
        case "conv", Conv() as g:
            _shapes(node, (g.in_shape, g.weight_shape), g.out_shape)
        case "conv_dx", Conv() as g:
            _shapes(node, (g.out_shape, g.weight_shape), g.in_shape)
        case "conv_dw", Conv() as g:
            _shapes(node, (g.in_shape, g.out_shape), g.weight_shape)
        case ("max_pool", Window() as w) | ("avg_pool", (Window() as w, bool())):
            _shapes(node, ((*w.in_size, result[-1]),), (*w.out_size, result[-1]))
        case "max_pool_dx", Window() as w:
            _shapes(node, ((*w.out_size, result[-1]),) * 2, (*w.in_size, result[-1]))
        case "avg_pool_dx", (Window() as w, bool()):
            _shapes(node, ((*w.out_size, result[-1]),), (*w.in_size, result[-1]))
        case "map", Expr() as expr:
            used = {n.index for n in expression_nodes(expr) if isinstance(n, Operand)}
            _check(all(i < len(inputs) for i in used), node, "reads an operand that it does not have")
            _check(broadcast(inputs) == result, node, f"inputs {inputs} do not broadcast to {result}")
            _check(any(ref.batched for ref in node.inputs) == node.types[0].batched, node, "loses the images")
        case (("reduce_sum" | "reduce_max"), None):
            _shapes(node, inputs[:1], (*inputs[0][:-1], 1))
        case "reduce_pixels", None:
            _shapes(node, inputs[:1], inputs[0][-1:] or (1,))
        case "moments", None:
            _shapes(node, (inputs[0], ()), inputs[0][-1:])
        case "concat", None:
            _check(all(ref.batched for ref in node.inputs), node, "joins what exists once")
            _check(
                {shape[:-1] for shape in inputs} == {result[:-1]}, node, f"{inputs} do not lie side by side"
            )
            _check(sum(shape[-1] for shape in inputs) == result[-1], node, f"{inputs} do not make {result}")
        case "part", (int() as first, int() as end):
            _check(0 <= first < end <= inputs[0][-1], node, f"channels {first} to {end} of {inputs[0]}")
            _shapes(node, inputs, (*inputs[0][:-1], end - first))
        case "keep", (int(), int() as threshold):
            _check(0 <= threshold < 2**32, node, f"threshold {threshold} is no word")
        case "reshape", None:
            _check(size(inputs[0]) == size(result), node, f"{inputs[0]} and {result} differ in size")
            _check(node.inputs[0].batched == node.types[0].batched, node, "loses the images")
        case _:
            _check(False, node, f"attribute {node.attribute!r} does not belong to it")


def _shapes(node: Node, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> None:
    got = tuple(ref.type.shape for ref in node.inputs)
    _check(got == inputs, node, f"inputs {got}, geometry {inputs}")
    _check(node.types[0].shape == output, node, f"result {node.types[0].shape}, geometry {output}")


def _check(holds: bool, node: Node, what: str) -> None:
    assert holds, f"%{node.number} = {node.op} ({node.scope or 'no layer'}): {what}"
