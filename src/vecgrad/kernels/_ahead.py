"""Memory fetched ahead: while products, or a tile's transform, keep the processor busy, what the next step reads or writes
comes nearer.

Tiles take their pixels from rows that hardware prefetchers do not foresee, and store their results into lines
that must be read before they are written. Neither the order of a sum nor a result depends on any of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.taps import GatherAxis
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.tensor import Layout

_LINE = 64
# Bytes of an image from which on the next one is taken to lie beyond the second-level cache.
FAR = 128 * 1024


@dataclass(frozen=True)
class Ahead:
    """``rows`` pieces of ``nbytes`` bytes, ``stride`` bytes apart, fetched in ``turns`` equal parts."""

    rows: int
    nbytes: int
    stride: int
    turns: int
    write: bool = False

    def fetch(self, b: Builder, start: Value, turn: Index) -> None:
        """The part of ``turn`` (0 … turns − 1) of the memory at ``start``; a little may lie beyond its end."""
        stride, lines = self.stride, -(-self.nbytes // _LINE)
        rows = self.rows
        if stride == self.nbytes:
            rows, lines, stride = rows * lines, 1, _LINE
        part = -(-rows // self.turns)
        here = b.around(start, b.mul(turn, part * stride))
        for row in range(part):
            for line in range(lines):
                b.prefetch(b.around(here, row * stride + line * _LINE), self.write)


@dataclass(frozen=True)
class Stream:
    """``pieces`` pieces of ``lines`` lines, ``step`` bytes apart from ``start`` on, that a loop of ``steps`` steps fetches as it
    goes: as many at a time, rounded up, as the steps in its body are due, and once all are the last one again.

    Fetches in one burst wait for the dozen buffers that lines arrive in, and what is behind them waits too. Spread over the
    products they cost nothing, and memory is read at the same time.

    turn: (an address, bytes) where what has come to this address goes on as far before it, and there is no last piece.
    """

    start: Value
    lines: int
    step: int
    pieces: int | Fraction
    steps: int | Fraction
    write: bool = False
    turn: tuple[Value, int] | None = None

    def bound(self, b: Builder) -> Value:
        """The address of its turn, else of the last piece."""
        if self.turn:
            return self.turn[0]
        return b.around(self.start, (max(math.ceil(self.pieces), 1) - 1) * self.step)

    def fetch(self, b: Builder, here: Value, bound: Value, steps: int) -> Value:
        """The pieces of ``steps`` steps from ``here`` on; where the next ones begin."""
        due = max(math.ceil(self.pieces * Fraction(steps) / self.steps), 1)
        for _ in range(due):
            for line in range(self.lines):
                b.prefetch(b.around(here, line * _LINE), self.write)
            here = b.around(here, self.step)
            if self.turn:
                here = b.select(b.icmp("ult", here, bound), here, b.around(here, -self.turn[1]))
        return here if self.turn else b.select(b.icmp("ult", here, bound), here, bound)


@dataclass(frozen=True)
class Pixels:
    """``rows`` × ``cols`` pixels from ``start`` on, fetched a vector of channels at a time, while those of a tile shortly before
    them are transformed: they lie in more streams than hardware follows. row, pixel, vector: from each to the next, in bytes.
    """

    start: Value
    rows: int
    cols: int
    row: int
    pixel: int
    vector: int

    def fetch(self, b: Builder, number: Value) -> None:
        """Vector ``number`` of all of them."""
        here = b.opaque(b.around(self.start, b.mul(number, self.vector)))
        for r in range(self.rows):
            for c in range(self.cols):
                b.prefetch(b.around(here, r * self.row + c * self.pixel))


@dataclass(frozen=True)
class Region:
    """Of an operand: ``rows`` rows, ``row_step`` bytes apart, of ``pieces`` pieces ``step`` bytes apart, each ``lines`` lines."""

    rows: int
    row_step: int
    pieces: int
    lines: int
    step: int

    @classmethod
    def of(cls, layout: Layout, rows: GatherAxis, cols: GatherAxis, outputs: int, channels: int) -> Region:
        """``channels`` channels of the pixels that ``outputs`` rows of outputs are the first to meet.

        Neighbouring pixels with all their channels are one run of lines.
        """
        item = ITEM_BYTES[layout.dtype]
        pixel, width, row_step = layout.pitch * item, layout.width, layout.row * item
        met = outputs * rows.advance
        if rows.advance > rows.span:  # rows between one output's and the next one's are nobody's
            met, row_step = outputs, rows.advance * row_step
        apart = cols.advance > cols.span
        if apart:
            pixel, width = pixel * cols.advance, cols.count
        elif channels >= layout.channels:
            return cls(met, row_step, -(-width * pixel // _LINE), 1, _LINE)
        return cls(met, row_step, width, -(-channels * item // _LINE), pixel)

    @property
    def all_lines(self) -> int:
        return self.rows * self.pieces * self.lines

    def stream(
        self, b: Builder, start: Value, done: Index, work: int, all_work: int, steps: int | Fraction
    ) -> Stream:
        """The share of a visit of ``work`` after ``done`` of ``all_work``, in a loop of ``steps`` steps.

        ``start``: the region's first byte."""
        total = self.rows * self.pieces
        if self.row_step == self.pieces * self.step:
            # Line by line, the first one of all pieces before the second: whole pieces are more at a time than a loop's turn needs.
            line = b.div(b.mul(done, self.all_lines), all_work)
            here = b.add(b.mul(b.rem(line, total), self.step), b.mul(b.div(line, total), _LINE))
            due = Fraction(self.all_lines * work, all_work)
            end = b.around(start, total * self.step)
            turn = (end, total * self.step - _LINE) if self.lines > 1 else None
            return Stream(b.around(start, here), 1, self.step, due, steps, turn=turn)
        row = b.mul(done, self.rows)
        whole = b.div(row, all_work)
        column = b.div(b.mul(b.rem(row, all_work), self.pieces), all_work)
        here = b.add(b.mul(whole, self.row_step), b.mul(column, self.step))
        return Stream(b.around(start, here), self.lines, self.step, Fraction(total * work, all_work), steps)
