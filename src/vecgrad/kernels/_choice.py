"""The choice of max pooling (4.2), cell by cell: the larger value and its ordinal in the window."""

from __future__ import annotations

from collections.abc import Sequence

from vecgrad.kernels.builder import LLVM_TYPE, Builder, Value


def largest(b: Builder, cells: Sequence[Value]) -> tuple[Value, Value]:
    """The largest of a window's cells, given column by column, and its ordinal."""
    best, which = cells[0], ordinal(b, 0)
    for number, cell in enumerate(cells[1:], start=1):
        best, which = better(b, best, which, cell, ordinal(b, number))
    return best, which


def better(b: Builder, best: Value, which: Value, cell: Value, number: Value) -> tuple[Value, Value]:
    """The larger of the two and its ordinal: of equal ones the earlier; the first NaN for good."""
    mask = f"<{b.lanes} x i1>"
    more = b.fcmp("ugt", cell, best)
    wins = b.let(mask, f"and {more}, {b.fcmp('ord', best, best).text}")
    return b.select(wins, cell, best), b.select(wins, number, which)


def integers(b: Builder) -> str:
    """Ordinals are kept in integers as wide as the lanes, so that one mask selects both."""
    return f"<{b.lanes} x i{8 * b.item}>"


def ordinal(b: Builder, number: Value | int) -> Value:
    """``number`` in every lane."""
    if isinstance(number, int):
        return b.broadcast_constant(str(number), integers(b))
    if b.item == 4:
        number = b.let("i32", f"trunc {number} to i32")
    return b.splat(number)


def narrow(b: Builder, which: Value, dtype: str) -> Value:
    """Ordinals as they are stored."""
    type_ = f"<{b.lanes} x {LLVM_TYPE[dtype]}>"
    return which if type_ == which.type else b.let(type_, f"trunc {which} to {type_}")


def wide(b: Builder, index: Value) -> Value:
    """Ordinals as they were stored, as wide as the lanes."""
    type_ = integers(b)
    return index if type_ == index.type else b.let(type_, f"zext {index} to {type_}")
