"""What must hold of every graph before it is planned; a violation is a bug in an emitter, not in a user's model."""

from __future__ import annotations

from vecgrad.graph.nodes import Graph, Node
from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr, Operand
from vecgrad.spec.scalar import nodes as expression_nodes

OPS = frozenset(
    ("input", "conv", "conv_dx", "conv_dw", "max_pool", "max_pool_dx", "avg_pool", "avg_pool_dx")
) | frozenset(("map", "reduce_sum", "reduce_max", "reduce_pixels", "reshape"))


def verify(graph: Graph) -> Graph:
    """The graph itself, or AssertionError naming the node that breaks a rule."""
    seen: set[int] = set()
    names: set[str] = set()
    for node in graph.nodes:
        _check(node.op in OPS, node, "unknown operation")
        for ref in node.inputs:
            _check(ref.node.number in seen, node, f"reads {ref} before it is written")
            _check(
                ref.port < len(ref.node.types), node, f"reads a result that %{ref.node.number} does not have"
            )
        match node.op, node.attribute:
            case "input", str(name):
                _check(name not in names, node, f"a second input {name!r}")
                names.add(name)
            case "conv", Conv() as g:
                _shapes(node, (g.in_shape, g.weight_shape), g.out_shape)
            case "conv_dx", Conv() as g:
                _shapes(node, (g.out_shape, g.weight_shape), g.in_shape)
            case "conv_dw", Conv() as g:
                _shapes(node, (g.in_shape, g.out_shape), g.weight_shape)
            case "max_pool", Window() as g:
                _check(node.types[0].shape[:2] == g.out_size, node, "its size is not the window's")
            case "map", Expr() as expr:
                used = {n.index for n in expression_nodes(expr) if isinstance(n, Operand)}
                _check(
                    all(i < len(node.inputs) for i in used), node, "reads an operand that it does not have"
                )
        seen.add(node.number)
    for name, ref in graph.outputs.items():
        assert ref.node.number in seen, f"output {name} is not of this graph"
    return graph


def _shapes(node: Node, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> None:
    got = tuple(ref.type.shape for ref in node.inputs)
    _check(got == inputs, node, f"inputs {got}, geometry {inputs}")
    _check(node.types[0].shape == output, node, f"result {node.types[0].shape}, geometry {output}")


def _check(holds: bool, node: Node, what: str) -> None:
    assert holds, f"%{node.number} = {node.op} ({node.scope or 'no layer'}): {what}"
