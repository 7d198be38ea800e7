"""Pooling windows on the grid of pixels: where they lie inside the image, what they hold, how to walk them.

Both directions walk alike: an inner rectangle, where every tap exists and code is written out, and the
rim around it, where loops find at run time which taps or windows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vecgrad.kernels.access import Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.geometry import Axis, Window

Span = tuple[int, int]
_NONE: Span = (0, 0)
Body = Callable[[list[Cursor], Value, Value], None]


def inside(axis: Axis) -> Span:
    """The outputs (first, end) whose taps all lie within the image.

    >>> inside(Axis(8, 3, stride=2, before=1, after=1))
    (1, 4)
    """
    first = -(-axis.before // axis.stride)
    end = (axis.size + axis.before - axis.extent) // axis.stride + 1
    return (first, end) if first < end else _NONE


def has_empty(axis: Axis) -> bool:
    """Whether some output reads nothing but padding."""
    return any(all(axis.source(p, r) is None for r in range(axis.kernel)) for p in range(axis.out))


def taps(b: Builder, axis: Axis, p: Value) -> tuple[Value, Value]:
    """(first, end) of the taps through which output p reads the image."""
    start = b.sub(axis.before, b.mul(p, axis.stride))
    first = b.div(b.most(b.add(start, axis.dilation - 1), 0), axis.dilation)
    end = b.div(b.most(b.add(start, axis.size - 1 + axis.dilation), 0), axis.dilation)
    return first, b.least(end, axis.kernel)


def row(b: Builder, axis: Axis, p: Value, r: Value) -> Value:
    """The input row that output p reads through tap r."""
    return b.sub(b.add(b.mul(p, axis.stride), b.mul(r, axis.dilation)), axis.before)


def holders(b: Builder, axis: Axis, h: Value) -> tuple[Value, Value]:
    """(first, end) of the outputs whose windows reach over input row h."""
    padded = b.add(h, axis.before)
    first = b.div(b.most(b.sub(padded, axis.extent - axis.stride), 0), axis.stride)
    return first, b.least(b.add(b.div(padded, axis.stride), 1), axis.out)


def tap_of(b: Builder, axis: Axis, h: Value, p: Value) -> tuple[Value, Value | None]:
    """The tap through which output p reads input row h, and whether there is one (None: always)."""
    distance = b.sub(b.add(h, axis.before), b.mul(p, axis.stride))
    if axis.dilation == 1:
        return distance, None
    return b.div(distance, axis.dilation), b.icmp("eq", b.rem(distance, axis.dilation), 0)


@dataclass(frozen=True)
class Cells:
    """Input rows cut into cells of ``stride`` rows: row stride·k − before + i is row i of cell k.

    Tap r of output k − back reads row i of cell k, where (back, i) = divmod(dilation·r, stride): the
    same for all cells, so that a gather over a cell is written without a test. ``span``: the cells
    within the image whose outputs all lie in ``outputs``.
    """

    axis: Axis
    outputs: Span

    @property
    def span(self) -> Span:
        axis = self.axis
        reach = axis.dilation * (axis.kernel - 1) // axis.stride
        first = max(self.outputs[0] + reach, -(-axis.before // axis.stride))
        end = min(self.outputs[1], (axis.size + axis.before) // axis.stride)
        return (first, end) if first < end else _NONE

    @property
    def rows(self) -> Span:
        """The input rows (first, end) of all cells in ``span``."""
        first, end = self.span
        if first == end:
            return _NONE
        return (first * self.axis.stride - self.axis.before, end * self.axis.stride - self.axis.before)

    def reads(self, i: int) -> list[tuple[int, int]]:
        """(back, tap) for each tap that reads row i of a cell, in the order of the outputs.

        >>> Cells(Axis(8, 3, stride=2, before=1), (0, 4)).reads(0)
        [(1, 2), (0, 0)]
        """
        split = [(*divmod(self.axis.dilation * r, self.axis.stride), r) for r in range(self.axis.kernel)]
        return sorted(((back, r) for back, at, r in split if at == i), reverse=True)


def each_output(
    b: Builder, g: Window, cursors: Sequence[Cursor], written_out: bool, inner: Body, rim: Body
) -> None:
    """For each image: ``inner(cursors, p, q)`` for outputs whose windows lie within it, else ``rim``."""
    spans = (inside(g.rows), inside(g.cols)) if written_out else (_NONE, _NONE)
    with b.loop(0, b.images) as image:
        there = [c.image(image.i) for c in cursors]
        _rectangle(b, *spans, lambda p, q: inner(there, p, q))
        _around(b, g.out_size, *spans, lambda p, q: rim(there, p, q))


def each_window(b: Builder, g: Window, cursors: Sequence[Cursor], body: Body) -> None:
    """For each image: ``body(cursors, p, q)`` for every output."""
    with b.loop(0, b.images) as image:
        there = [c.image(image.i) for c in cursors]
        _rectangle(b, (0, g.out_size[0]), (0, g.out_size[1]), lambda p, q: body(there, p, q))


def each_input(
    b: Builder,
    g: Window,
    cells: tuple[Cells, Cells] | None,
    cursors: Sequence[Cursor],
    inner: Body,
    rim: Body,
) -> None:
    """For each image: ``inner(cursors, k, m)`` for the cells in their spans, ``rim(cursors, h, w)`` for the
    pixels outside."""
    spans = (cells[0].span, cells[1].span) if cells else (_NONE, _NONE)
    pixels = (cells[0].rows, cells[1].rows) if cells else (_NONE, _NONE)
    with b.loop(0, b.images) as image:
        there = [c.image(image.i) for c in cursors]
        _rectangle(b, *spans, lambda k, m: inner(there, k, m))
        _around(b, g.in_size, *pixels, lambda h, w: rim(there, h, w))


def _rectangle(b: Builder, rows: Span, cols: Span, body: Callable[[Value, Value], None]) -> None:
    if rows[0] < rows[1] and cols[0] < cols[1]:
        with b.loop(*rows) as down, b.loop(*cols) as right:
            body(down.i, right.i)


def _around(
    b: Builder, size: tuple[int, int], rows: Span, cols: Span, body: Callable[[Value, Value], None]
) -> None:
    """The pixels of a map outside a rectangle: one body, in a loop that jumps over the rectangle."""
    inner = cols[1] - cols[0] if rows[0] < rows[1] else 0
    if inner == size[1] and rows == (0, size[0]):
        return
    with b.loop(0, size[0]) as down:
        jump: Value = b.int64(0)
        if inner:
            crossed = b.let("i1", f"icmp ult i64 {b.sub(down.i, rows[0]).text}, {rows[1] - rows[0]}")
            jump = b.select(crossed, b.int64(inner), b.int64(0))
        with b.loop(0, b.sub(size[1], jump)) as right:
            column = right.i
            if inner:
                behind = b.icmp("sge", column, cols[0])
                column = b.add(column, b.select(behind, jump, b.int64(0)))
            body(down.i, column)
