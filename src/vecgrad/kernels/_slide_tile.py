"""What a sliding window of sums walks over, which tile it gets, and what that costs.

Whether it is used is part of the bits, so that is answered in cycles of one fixed processor; only the tile depends on
the machine at hand.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._cost import bundle_cycles
from vecgrad.spec.geometry import Axis, Conv
from vecgrad.spec.kernel import SlideTile
from vecgrad.spec.machine import AVX512, Machine

# Cycles to write a pixel beside the shifts of its window, to begin a column, and to begin a row of tiles (bench/conv.py).
_PIXEL, _COLUMN, _ROW = 1.5, 8.0, 40.0
# Bytes of a block's weights that stay in the first cache, read from end to end for each column; and bytes a cycle from
# the second one.
_HELD, _NEAR = 40 * 1024, 40.0
# Different rows of tiles, each of which has code of its own.
_MOST_RUNS = 9
_MOST_ROWS = 16
# Weights that the second-level cache holds beside all else.
_MOST_WEIGHTS = 64 * 1024
# It must promise so much less than the gather to be used: its weights are read more often.
_WORTH = 0.9


@dataclass(frozen=True)
class Meeting:
    """Kernel row ``tap`` and those it meets in a tile: (row of outputs, row of inputs), both counted from the tile's first."""

    tap: int
    rows: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Run:
    """``count`` tiles of ``height`` rows of outputs, one below the other, that all look alike.

    first, source: the first one's first row of outputs and of inputs. advance: input rows from one to the next. meetings:
    in the order in which every output meets its input rows ascending.
    """

    first: int
    count: int
    height: int
    source: int
    advance: int
    meetings: tuple[Meeting, ...]

    @property
    def products(self) -> int:
        """Pairs of a row of outputs and a row of inputs."""
        return sum(len(each.rows) for each in self.meetings)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The input rows of a tile, counted from its first one."""
        return tuple(sorted({p for each in self.meetings for _, p in each.rows}))

    @property
    def longest(self) -> int:
        """Kernel rows that one row of outputs meets at most."""
        met = [t for each in self.meetings for t, _ in each.rows]
        return max((met.count(t) for t in set(met)), default=0)


@dataclass(frozen=True)
class Slide:
    """A convolution's direction as a window of sums that slides along rows of outputs.

    inner, outer: channels summed over and written. height, width: of outputs. columns: of inputs, each of which moves
    the window ``stride`` outputs on; the first one's window begins at output column ``start``.
    """

    conv: Conv
    direction: str

    @property
    def inner(self) -> int:
        return self.conv.channels_in if self.direction == "forward" else self.conv.channels_out

    @property
    def outer(self) -> int:
        return self.conv.channels_out if self.direction == "forward" else self.conv.channels_in

    @property
    def height(self) -> int:
        return self._sides(self.conv.window.rows)[0]

    @property
    def width(self) -> int:
        return self._sides(self.conv.window.cols)[0]

    @property
    def columns(self) -> int:
        return self._sides(self.conv.window.cols)[1]

    @property
    def stride(self) -> int:
        return 1 if self.direction == "forward" else self.conv.window.cols.stride

    @property
    def start(self) -> int:
        axis = self.conv.window.cols
        return axis.before - (axis.kernel - 1) if self.direction == "forward" else -axis.before

    def _sides(self, axis: Axis) -> tuple[int, int]:
        """(outputs, inputs)."""
        return (axis.out, axis.size) if self.direction == "forward" else (axis.size, axis.out)

    def _source(self, output: int, tap: int) -> int | None:
        """The row of inputs that row ``output`` meets through a kernel row."""
        axis = self.conv.window.rows
        inputs = self._sides(axis)[1]
        if self.direction == "forward":
            row, rest = axis.stride * output + axis.dilation * tap - axis.before, 0
        else:
            row, rest = divmod(output + axis.before - axis.dilation * tap, axis.stride)
        return row if rest == 0 and 0 <= row < inputs else None

    def runs(self, rows: int) -> list[Run]:
        """All rows of outputs in tiles of at most ``rows``."""
        found: list[Run] = []
        for first, height in self._cut(rows):
            one = self._tile(first, height)
            last = found[-1] if found else None
            if last is not None and (last.height, last.meetings) == (one.height, one.meetings):
                moved = one.source - last.source - last.advance * (last.count - 1)
                if last.count == 1 or moved == last.advance:
                    found[-1] = Run(last.first, last.count + 1, height, last.source, moved, last.meetings)
                    continue
            found.append(one)
        return found

    def _cut(self, rows: int) -> Iterator[tuple[int, int]]:
        """(first row, rows) of tiles that differ little in height and begin at whole strides."""
        unit = self.conv.window.rows.stride if self.direction == "dx" and rows < self.height else 1
        for first, end, wide in balanced(-(-self.height // unit), max(rows // unit, 1)):
            for start in range(first * unit, end * unit, wide * unit):
                yield start, min(wide * unit, self.height - start)

    def _tile(self, first: int, height: int) -> Run:
        taps = range(self.conv.window.rows.kernel)
        pairs = [
            (tap, [(t, p) for t in range(height) if (p := self._source(first + t, tap)) is not None])
            for tap in (taps if self.direction == "forward" else reversed(taps))
        ]
        source = min((p for _, rows in pairs for _, p in rows), default=0)
        meetings = [Meeting(tap, tuple((t, p - source) for t, p in rows)) for tap, rows in pairs if rows]
        return Run(first, 1, height, source, 0, tuple(meetings))


def refusal(conv: Conv, direction: str) -> str:
    """Why the algorithm does not apply; "" where it does."""
    window = conv.window
    if conv.groups != 1:
        return "channels in groups"
    if window.cols.dilation != 1:
        return "dilated columns"
    if direction == "forward" and window.cols.stride != 1:
        return "strided columns"
    if window.taps * conv.channels_in * conv.channels_out > _MOST_WEIGHTS:
        return f"more than {_MOST_WEIGHTS} weights, read anew for every row of tiles"
    if window.cols.kernel == 1 or window.out_size == (1, 1):
        return "no neighbouring columns to fill vectors with"
    return ""


def vectors(slide: Slide, tile: SlideTile, lanes: int) -> int:
    """Vectors of a window."""
    return -(-slide.conv.window.cols.kernel * tile.channels // lanes)


def held(run: Run, vectors: int, machine: Machine) -> bool:
    """Whether a step's inputs all stay in registers, so that each is loaded once."""
    return run.height * vectors + len(run.inputs) + _others(machine) <= machine.registers


def _others(machine: Machine) -> int:
    """Registers for a vector of weights, one in reserve, and products on their way without a fused multiply-add."""
    return 3 if machine.fma else 5


def _candidates(slide: Slide, machine: Machine, lanes: int) -> Iterator[SlideTile]:
    cut = slide.conv.window.rows.stride if slide.direction == "dx" else 1
    for blocks in range(1, slide.outer + 1):
        channels = -(-slide.outer // blocks)
        v = vectors(slide, SlideTile(1, channels), lanes)
        found = False
        for rows in range(1, min(slide.height, _MOST_ROWS) + 1):
            # Results of products with one use take their scalars' registers, and find no way back without a few free ones.
            free = 4 if v == 1 else 0
            if rows * v + min(rows, v) + _others(machine) - 1 + free > machine.registers:
                break
            found = True
            if (rows % cut == 0 or rows == slide.height) and len(slide.runs(rows)) <= _MOST_RUNS:
                yield SlideTile(rows, channels)
        # Narrower windows only where wider ones leave too few registers for several rows.
        if found and machine.registers // v >= 5:
            return


def _cycles(slide: Slide, tile: SlideTile, machine: Machine, lanes: int) -> float:
    """Of an image."""
    v = vectors(slide, tile, lanes)
    pixel = _PIXEL + max(2 * -(-tile.channels // lanes), v)
    vector = machine.vector_bits // 8
    streams = slide.inner * slide.conv.window.rows.kernel * v * vector > _HELD
    total = 0.0
    for run in slide.runs(tile.rows):
        if not run.meetings:
            step = 0.0
        else:
            keeps = held(run, v, machine)
            loads = len(run.inputs) if keeps else run.products
            loads += len(run.meetings) * v - v
            step = bundle_cycles(run.products, v, 1, loads)
            if streams:
                step = max(step, len(run.meetings) * v * vector / _NEAR)
            step = max(step, 4.0 * run.longest)
        written = run.height * (
            slide.columns * slide.stride + max(0, slide.width - slide.columns * slide.stride)
        )
        total += run.count * (slide.columns * (slide.inner * step + _COLUMN) + written * pixel + _ROW)
    return total * -(-slide.outer // tile.channels)


@functools.lru_cache(maxsize=1024)
def slide_tile(conv: Conv, direction: str, dtype: str, machine: Machine) -> SlideTile:
    """The tile with the least predicted time; rows of one pixel and single channels where registers are few."""
    slide, lanes = Slide(conv, direction), machine.lanes(dtype)
    found = _candidates(slide, machine, lanes)
    return min(found, key=lambda tile: _cycles(slide, tile, machine, lanes), default=SlideTile(1, 1))


@functools.lru_cache(maxsize=1024)
def slide_cycles(conv: Conv, direction: str, dtype: str) -> float:
    """Of an image, on the fixed processor."""
    tile = slide_tile(conv, direction, dtype, AVX512)
    return _cycles(Slide(conv, direction), tile, AVX512, AVX512.lanes(dtype))


def worth(cycles: float, gather: float) -> bool:
    """Whether so many cycles an image are few enough, against the gather's."""
    return cycles <= _WORTH * gather
