"""From a scalar expression to vector instructions: the compiled form of a map's body.

Additions and products stay as the tree has them, each rounded once: entries are bit for bit what NumPy
computes in the same type, but for exp, log, tanh and erf.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vecgrad.kernels import functions
from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.errors import CompileError
from vecgrad.spec.scalar import Binary, Compare, Const, Expr, Operand, Scalar, Unary, Where, nodes, scalars

_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARISONS = {"lt": "olt", "le": "ole", "eq": "oeq"}
# What a node costs, in additions, as counted in the code that functions.py writes; quotients by throughput.
_COST = {"div": 8, "sqrt": 10, "exp": 20, "log": 35, "tanh": 35, "erf": 40}
# An expression of so many additions is long: one function, and what is around it.
_LONG = 30


class Formula:
    """Expressions ready to be written, any number of times, as vectors of the builder's width.

    To be made before the loops: this is where the runtime scalars are loaded, once. given: those that are known by
    other ways.
    """

    def __init__(
        self,
        b: Builder,
        exprs: Sequence[Expr],
        names: Sequence[str],
        given: Mapping[str, Value] | None = None,
    ) -> None:
        self._b = b
        self._exprs = tuple(exprs)
        used = dict.fromkeys(name for expr in exprs for name in scalars(expr))
        given = given or {}
        self._scalars = {
            name: b.splat(given[name] if name in given else b.scalar(_entry(name, names))) for name in used
        }

    @property
    def cost(self) -> int:
        return cost(self._exprs)

    def write(self, operands: Sequence[Value]) -> list[Value]:
        """The value of each expression at one vector of each operand; equal parts are computed once.

        The operands may be wider than the builder's vectors, all alike.
        """
        wide = operands[0].lanes if operands else self._b.lanes
        known: dict[int, Value] = {}
        numbered: dict[tuple[str, ...], Value] = {}

        def value(node: Expr) -> Value:
            if id(node) not in known:
                known[id(node)] = self._node(
                    node, operands, [value(child) for child in node.children], numbered, wide
                )
            return known[id(node)]

        return [value(expr) for expr in self._exprs]

    def side_by_side(self, rows: Iterable[Sequence[Value]]) -> Iterator[list[Value]]:
        """What ``write`` gives for the operands of each of ``rows``: of long expressions a few at a time.

        A chain of a hundred dependent instructions keeps the processor from beginning the next one. As wider vectors, which
        code generation cuts, they are computed in step.
        """
        waiting = iter(rows)
        while some := list(itertools.islice(waiting, self.together)):
            # The last one of three is computed twice: alone it would take as long as the others.
            count = 1 << (len(some) - 1).bit_length()
            columns = zip(*some, *[some[-1]] * (count - len(some)), strict=True)
            found = self.write([self._b.joined(column) for column in columns])
            parts = zip(*(self._b.parts(value, count) for value in found), strict=True)
            yield from map(list, itertools.islice(parts, len(some)))

    @property
    def together(self) -> int:
        """Vectors that are computed in step: what the registers hold."""
        return self._b.machine.registers // 8 if self.cost >= _LONG else 1

    def _node(
        self,
        node: Expr,
        operands: Sequence[Value],
        children: Sequence[Value],
        numbered: dict[tuple[str, ...], Value],
        lanes: int,
    ) -> Value:
        match node:
            case Operand(index):
                return operands[index]
            case Scalar(name):
                return self._b.joined([self._scalars[name]] * (lanes // self._b.lanes))
            case Const(number):
                return self._b.number(number, f"<{lanes} x {self._b.real}>")
        key = (getattr(node, "op", "where"), *(child.text for child in children))
        if key not in numbered:
            numbered[key] = self._instruction(node, children)
        return numbered[key]

    def _instruction(self, node: Expr, children: Sequence[Value]) -> Value:
        b = self._b
        match node:
            case Unary("neg"):
                return b.let(children[0].type, f"fneg {children[0]}")
            case Unary("abs"):
                return functions.absolute(b, children[0])
            case Unary(("exp" | "log" | "sqrt" | "tanh" | "erf") as op):
                written: Value = getattr(functions, op)(b, children[0])
                return written
            case Binary("max"):
                return functions.maximum(b, *children)
            case Binary("min"):
                return functions.minimum(b, *children)
            case Binary(op) if op in _ARITHMETIC:
                return b.let(children[0].type, f"{_ARITHMETIC[op]} {children[0]}, {children[1].text}")
            case Compare(op):
                return b.fcmp(_COMPARISONS[op], *children)
            case Where():
                return b.select(*children)
        raise CompileError(f"no instruction is known for {node}")


def cost(exprs: Sequence[Expr]) -> int:
    """Arithmetic of the expressions for one entry, in additions; equal parts count once."""
    distinct = dict.fromkeys(node for expr in exprs for node in nodes(expr))
    return sum(_COST.get(getattr(node, "op", "where"), 1) for node in distinct if node.children)


def _entry(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise CompileError(
            f"the runtime scalar {name!r} has no entry; the kernel's scalars are {', '.join(names) or 'none'}"
        )
    return list(names).index(name)
