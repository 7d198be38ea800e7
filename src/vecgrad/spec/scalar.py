"""The scalar expression language: what one entry of an elementwise map computes.

A map's body is built by calling a Python function on ``Operand`` nodes; the tree that comes back is
evaluated by NumPy in the eager emitter and written as vector instructions in the compiled one. Both
read it from here, so an activation, a loss or an update rule is written once.

>>> x = Operand(0)
>>> print(where(x <= 0, 0, x))
where((x0 <= 0), 0, x0)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from vecgrad.spec.errors import ArgumentError

UNARY = ("neg", "abs", "exp", "log", "sqrt", "tanh", "erf")
BINARY = ("add", "sub", "mul", "div", "max", "min")
COMPARE = ("lt", "le", "eq")
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "=="}

ExprLike = Union["Expr", float, int]


class Expr:
    """A node; arithmetic on nodes builds larger ones. Comparisons give a condition for ``where``."""

    __slots__ = ()

    def __add__(self, other: ExprLike) -> Expr:
        return Binary("add", self, lift(other))

    def __radd__(self, other: ExprLike) -> Expr:
        return Binary("add", lift(other), self)

    def __sub__(self, other: ExprLike) -> Expr:
        return Binary("sub", self, lift(other))

    def __rsub__(self, other: ExprLike) -> Expr:
        return Binary("sub", lift(other), self)

    def __mul__(self, other: ExprLike) -> Expr:
        return Binary("mul", self, lift(other))

    def __rmul__(self, other: ExprLike) -> Expr:
        return Binary("mul", lift(other), self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return Binary("div", self, lift(other))

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return Binary("div", lift(other), self)

    def __neg__(self) -> Expr:
        return Unary("neg", self)

    def __lt__(self, other: ExprLike) -> Compare:
        return Compare("lt", self, lift(other))

    def __le__(self, other: ExprLike) -> Compare:
        return Compare("le", self, lift(other))

    def __gt__(self, other: ExprLike) -> Compare:
        return Compare("lt", lift(other), self)

    def __ge__(self, other: ExprLike) -> Compare:
        return Compare("le", lift(other), self)

    def __bool__(self) -> bool:
        raise ArgumentError(
            f"{self} has no truth value: it stands for every entry of a map; choose with where(condition, a, b), "
            f"maximum(a, b) or minimum(a, b) of vecgrad.spec.scalar"
        )

    @property
    def children(self) -> tuple[Expr, ...]:
        return ()


@dataclass(frozen=True, slots=True, eq=True)
class Operand(Expr):
    """The entry of the map's ``index``-th operand at this place."""

    index: int

    def __str__(self) -> str:
        return f"x{self.index}"


@dataclass(frozen=True, slots=True)
class Scalar(Expr):
    """A runtime scalar by name: the learning rate, one over the sum of weights, … Never a constant in code."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Const(Expr):
    value: float

    def __str__(self) -> str:
        return f"{self.value:.9g}"


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    op: str
    a: Expr

    def __post_init__(self) -> None:
        _number(self.a)

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a,)

    def __str__(self) -> str:
        return f"-{self.a}" if self.op == "neg" else f"{self.op}({self.a})"


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    op: str
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        _number(self.a)
        _number(self.b)

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a, self.b)

    def __str__(self) -> str:
        sign = _SIGNS.get(self.op)
        return f"({self.a} {sign} {self.b})" if sign else f"{self.op}({self.a}, {self.b})"


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    """True or false; false when either side is NaN. Only ``where`` may use it."""

    op: str
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        _number(self.a)
        _number(self.b)

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a, self.b)

    def __str__(self) -> str:
        return f"({self.a} {_SIGNS[self.op]} {self.b})"


@dataclass(frozen=True, slots=True)
class Where(Expr):
    condition: Compare
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        if not isinstance(self.condition, Compare):
            raise ArgumentError(
                f"where needs a comparison (<, <=, >, >=, equal(a, b)), got {self.condition!r}; "
                f"== compares expressions, not entries"
            )
        _number(self.a)
        _number(self.b)

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.condition, self.a, self.b)

    def __str__(self) -> str:
        return f"where({self.condition}, {self.a}, {self.b})"


def _number(expr: Expr) -> None:
    if isinstance(expr, Compare):
        raise ArgumentError(f"the comparison {expr} is no number; write where({expr}, 1, 0)")


def lift(value: ExprLike) -> Expr:
    """A number as a constant; an expression as itself. Raises ArgumentError for a comparison."""
    if isinstance(value, Expr):
        _number(value)
        return value
    return Const(float(value))


def exp(x: ExprLike) -> Expr:
    return Unary("exp", lift(x))


def log(x: ExprLike) -> Expr:
    return Unary("log", lift(x))


def sqrt(x: ExprLike) -> Expr:
    return Unary("sqrt", lift(x))


def tanh(x: ExprLike) -> Expr:
    return Unary("tanh", lift(x))


def erf(x: ExprLike) -> Expr:
    """The error function, 2/√π ∫₀ˣ e^(−t²) dt."""
    return Unary("erf", lift(x))


def absolute(x: ExprLike) -> Expr:
    return Unary("abs", lift(x))


def maximum(x: ExprLike, y: ExprLike) -> Expr:
    """The larger; NaN when either is NaN."""
    return Binary("max", lift(x), lift(y))


def minimum(x: ExprLike, y: ExprLike) -> Expr:
    """The smaller; NaN when either is NaN."""
    return Binary("min", lift(x), lift(y))


def equal(x: ExprLike, y: ExprLike) -> Compare:
    return Compare("eq", lift(x), lift(y))


def where(condition: Compare, a: ExprLike, b: ExprLike) -> Expr:
    """``a`` where the condition holds, else ``b``; both sides are computed."""
    return Where(condition, lift(a), lift(b))


def substitute(expr: Expr, operands: tuple[Expr, ...]) -> Expr:
    """``expr`` with Operand(i) replaced by ``operands[i]``: how one map joins another.

    >>> print(substitute(Operand(0) * 2, (Operand(3) + 1,)))
    ((x3 + 1) * 2)
    """
    match expr:
        case Operand(i):
            return operands[i]
        case Unary(op, a):
            return Unary(op, substitute(a, operands))
        case Binary(op, a, b):
            return Binary(op, substitute(a, operands), substitute(b, operands))
        case Compare(op, a, b):
            return Compare(op, substitute(a, operands), substitute(b, operands))
        case Where(c, a, b):
            condition = substitute(c, operands)
            assert isinstance(condition, Compare)
            return Where(condition, substitute(a, operands), substitute(b, operands))
    return expr


def nodes(expr: Expr) -> Iterator[Expr]:
    """Every node of the tree, children before parents."""
    for child in expr.children:
        yield from nodes(child)
    yield expr


def scalars(expr: Expr) -> tuple[str, ...]:
    """The runtime scalars that the tree reads, each once, in order of appearance."""
    return tuple(dict.fromkeys(node.name for node in nodes(expr) if isinstance(node, Scalar)))
