"""What a depthwise convolution walks over, and which register tile it gets."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vecgrad.kernels._conv_shape import balanced
from vecgrad.spec.geometry import Axis, Conv
from vecgrad.spec.kernel import DepthwiseSpec, DepthwiseTile
from vecgrad.spec.machine import Machine

# Larger kernels take more registers than there are.
_MOST_SIDE = 7
# Products that are written out in all tiles of a kernel: beyond, they leave the instruction cache and compile slowly.
_MOST_CODE = 2500
_MOST_ROWS = 6
# Taps up to which memory decides, not arithmetic; and columns of a tile where rows stay near: more are as fast in the cache, and
# slower from memory; with fewer, weights are better loaded again.
_FEW_TAPS = 9
_MOST_COLS, _LEAST_COLS = 8, 4
# The part of the first-level cache that rows may take; float32.
_ROOM, _ITEM = 0.75, 4
# Two multiply-adds and two loads a cycle, results after four; cycles to begin a tile.
_PER_CYCLE, _LATENCY, _BEGIN = 2, 4, 4.0


@dataclass(frozen=True)
class Meeting:
    """Output ``t`` of a tile meets input ``i``, both counted from the tile's first ones, through kernel row ``tap``."""

    t: int
    tap: int
    i: int


@dataclass(frozen=True)
class Run:
    """``count`` tiles of ``size`` outputs along an axis, one behind the other, that all look alike.

    first, source: the first one's first output and first input. advance: inputs from one to the next.
    """

    first: int
    count: int
    size: int
    source: int
    advance: int
    meetings: tuple[Meeting, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The inputs of a tile that meet something, ascending."""
        return tuple(sorted({m.i for m in self.meetings}))

    def at(self, i: int) -> list[Meeting]:
        """What input ``i`` meets."""
        return [m for m in self.meetings if m.i == i]


@dataclass(frozen=True)
class Line:
    """One axis of a direction. outputs, inputs: how many are written and read."""

    axis: Axis
    dx: bool

    @property
    def outputs(self) -> int:
        return self.axis.size if self.dx else self.axis.out

    @property
    def inputs(self) -> int:
        return self.axis.out if self.dx else self.axis.size

    @property
    def unit(self) -> int:
        """Outputs after which everything looks the same again."""
        return self.axis.stride if self.dx else 1

    def source(self, output: int, tap: int) -> int | None:
        """The input that an output meets through a tap, None for padding and for what a stride leaves out."""
        axis = self.axis
        if not self.dx:
            return axis.source(output, tap)
        row, rest = divmod(output + axis.before - axis.dilation * tap, axis.stride)
        return row if rest == 0 and 0 <= row < axis.out else None

    def serves(self, size: int) -> bool:
        """Whether tiles of so many outputs begin at whole units."""
        return size >= self.outputs or size % self.unit == 0

    def runs(self, size: int, taps: Sequence[int] | None = None) -> list[Run]:
        """All outputs in tiles of at most ``size``, with the products of some taps, or of all.

        >>> [(run.count, run.size, len(run.meetings)) for run in Line(Axis(8, 3, before=1, after=1), False).runs(2)]
        [(1, 2, 5), (2, 2, 6), (1, 2, 5)]
        """
        found: list[Run] = []
        for first, count in self._cut(size):
            one = self._tile(first, count, range(self.axis.kernel) if taps is None else taps)
            last = found[-1] if found else None
            if last is not None and (last.size, last.meetings) == (one.size, one.meetings):
                moved = one.source - last.source - last.advance * (last.count - 1)
                if last.count == 1 or moved == last.advance:
                    found[-1] = Run(last.first, last.count + 1, last.size, last.source, moved, last.meetings)
                    continue
            found.append(one)
        return found

    def _cut(self, size: int) -> Iterator[tuple[int, int]]:
        unit = self.unit if size < self.outputs else 1
        for first, end, wide in balanced(-(-self.outputs // unit), max(size // unit, 1)):
            for start in range(first * unit, end * unit, wide * unit):
                yield start, min(wide * unit, self.outputs - start)

    def _tile(self, first: int, size: int, taps: Sequence[int]) -> Run:
        met = [
            (t, tap, i) for t in range(size) for tap in taps if (i := self.source(first + t, tap)) is not None
        ]
        source = min((i for _, _, i in met), default=0)
        meetings = sorted((Meeting(t, tap, i - source) for t, tap, i in met), key=lambda m: (m.i, m.t, m.tap))
        return Run(first, 1, size, source, 0, tuple(meetings))


def lines(conv: Conv, dx: bool) -> tuple[Line, Line]:
    """(rows, columns) of a direction."""
    return Line(conv.window.rows, dx), Line(conv.window.cols, dx)


def refusal(conv: Conv) -> str:
    """Why a convolution is none for these kernels; "" where they serve it."""
    if not conv.depthwise:
        return "channels that are summed over"
    if max(conv.window.kernel) > _MOST_SIDE:
        return f"kernels beyond {_MOST_SIDE} × {_MOST_SIDE} exceed the registers"
    return ""


def free(machine: Machine) -> int:
    """Registers beside an input, one in reserve, and products on their way without a fused multiply-add."""
    return machine.registers - (2 if machine.fma else 5)


@functools.lru_cache(maxsize=1024)
def depthwise_tile(conv: Conv, dx: bool, machine: Machine) -> DepthwiseTile:
    """The tile with the least predicted time."""
    return min(_candidates(conv, dx, machine), key=lambda tile: _cycles(conv, dx, tile))


def _candidates(conv: Conv, dx: bool, machine: Machine) -> Iterator[DepthwiseTile]:
    rows, cols = lines(conv, dx)
    left = free(machine) - conv.window.taps
    if conv.window.taps <= _FEW_TAPS and near(conv, dx, machine):
        tall = min(rows.outputs, rows.unit)
        most = min(cols.outputs, _MOST_COLS, left // tall)
        fit = [DepthwiseTile(tall, wide, True) for wide in range(1, most + 1) if cols.serves(wide)]
        if fit and (most >= _LEAST_COLS or most == cols.outputs):
            yield fit[-1]
            return
    found = False
    for wide in range(min(cols.outputs, free(machine) - conv.window.cols.kernel), 0, -1):
        if cols.serves(wide) or (wide == 1 and not found):
            found = True
            yield DepthwiseTile(1, wide, False)
    for tall in range(1, min(rows.outputs, _MOST_ROWS) + 1):
        for wide in range(1, min(cols.outputs, left // tall) + 1):
            tile = DepthwiseTile(tall, wide, True)
            if rows.serves(tall) and cols.serves(wide) and _code(conv, dx, tile) <= _MOST_CODE:
                yield tile


def near(conv: Conv, dx: bool, machine: Machine) -> bool:
    """Whether the rows of inputs that a row of outputs meets stay in the first-level cache until the next row of outputs.

    Then each comes from memory once anyway, and tiles of a single row read and write memory in its order.
    """
    rows, cols = lines(conv, dx)
    met = -(-conv.window.rows.extent // rows.unit)
    return met * cols.inputs * conv.channels_in * _ITEM <= machine.l1 * _ROOM


def met_rows(spec: DepthwiseSpec) -> int:
    """The most rows of inputs that a tile of a forward pass meets, those between them included."""
    inputs = (run.inputs for run in lines(spec.conv, dx=False)[0].runs(spec.tile.rows))
    return max((each[-1] - each[0] + 1 for each in inputs if each), default=1)


def _code(conv: Conv, dx: bool, tile: DepthwiseTile) -> int:
    """Products that are written out."""
    rows, cols = lines(conv, dx)
    down, right = (
        sum(len(run.meetings) for run in line.runs(size))
        for line, size in ((rows, tile.rows), (cols, tile.cols))
    )
    return down * right


def _cycles(conv: Conv, dx: bool, tile: DepthwiseTile) -> float:
    """Of a vector of channels of an image."""
    rows, cols = lines(conv, dx)
    total = 0.0
    for down in rows.runs(tile.rows):
        for right in cols.runs(tile.cols):
            products = len(down.meetings) * len(right.meetings)
            loads = len(down.inputs) * len(right.inputs)
            if not tile.held:
                loads += len(down.inputs) * conv.window.cols.kernel + 2 * len(down.inputs)
            # Inputs of several rows of outputs come from the second cache once instead of once for each row.
            far = len(down.inputs) * len(right.inputs)
            work = max(products, loads, products / (down.size * right.size) * _LATENCY) / _PER_CYCLE
            total += down.count * right.count * (work + far / 4 + down.size * right.size + _BEGIN)
    return total
