"""Products with padding: which outputs read the image through which taps, so that tiles at a map's rim leave the others out.

Where all of a tile's columns and, for a map that fits a tile, all of its rows are known when code is made, every product
with padding is left out, pixel by pixel; the rows of other tiles are known at run time only, and taps are left out
that read padding for all of a tile's rows. A sum keeps its order, and with finite weights its bits: what is
left out adds a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.taps import AxisClass, GatherAxis

# Of a class's products those with padding must be so many to be worth a second or third copy of the tile's code.
_WORTH = 1 / 40
# Steps in a row of taps that make its loop, with a count known at run time only, cheap.
_STEPS = 16
# Columns of taps that tell outputs apart: they are all written out.
_MOST_TAPS = 8

# For each tap the numbers of those outputs, counted from a tile's first, that read the image through it.
Live = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Pass:
    """Taps ``first`` … of an axis, ``count`` of them, for some of a tile's outputs (numbers from the tile's first)."""

    first: Index
    count: Index
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Rim:
    """One class of outputs of an axis."""

    axis: GatherAxis
    outputs: AxisClass

    def reads(self, output: int, tap: int) -> bool:
        """Whether the output reads the image through the tap."""
        return (
            0 <= self.outputs.first + self.axis.advance * output + self.axis.tap_step * tap < self.axis.size
        )

    @cached_property
    def _known(self) -> dict[tuple[int, int], Live]:
        return {}

    def live(self, first: int, count: int) -> Live:
        """Of ``count`` outputs from number ``first`` on.

        >>> from vecgrad.kernels.taps import forward_axis
        >>> from vecgrad.spec.geometry import Axis
        >>> axis = forward_axis(Axis(4, 3, before=1, after=1))
        >>> Rim(axis, axis.classes[0]).live(0, 3)
        ((1, 2), (0, 1, 2), (0, 1, 2))
        """
        found = self._known.get((first, count))
        if found is None:
            found = self._known[first, count] = tuple(
                tuple(n for n in range(count) if self.reads(first + n, tap))
                for tap in range(self.outputs.taps)
            )
        return found

    @property
    def padded(self) -> float:
        """The share of the products that are with padding."""
        everything = self.outputs.count * self.outputs.taps
        kept = sum(map(len, self.live(0, self.outputs.count)))
        return 1 - kept / everything if everything else 0.0

    def tiles(self, first: int, end: int, width: int) -> Iterator[tuple[int, int, Live]]:
        """(first, end, live) of the runs of tiles of ``width`` outputs that read alike."""
        begin, held = first, self.live(first, width)
        for start in range(first + width, end, width):
            now = self.live(start, width)
            if now != held:
                yield begin, start, held
                begin, held = start, now
        yield begin, end, held

    def bounds(self, b: Builder, output: Value, tall: int) -> tuple[Value, Value]:
        """(first, how many) of the taps through which any of ``tall`` outputs from number ``output`` on reads the image."""
        axis, step = self.axis, self.axis.tap_step
        place = b.add(b.mul(output, axis.advance), self.outputs.first)
        above = b.most(b.sub(-axis.advance * (tall - 1), place), 0)
        first = b.div(b.add(above, step - 1), step)
        end = b.least(b.div(b.most(b.sub(axis.size - 1 + step, place), 0), step), self.outputs.taps)
        return first, b.most(b.sub(end, first), 0)

    def counted(self, start: int, end: int, tall: int) -> int:
        """The taps of the tiles of ``tall`` outputs from ``start`` to ``end``, as ``bounds`` has them."""
        total = 0
        for first in range(start, end, tall):
            taps = [t for t, outputs in enumerate(self.live(first, tall)) if outputs]
            total += taps[-1] - taps[0] + 1 if taps else 0
        return total

    def passes(self) -> Iterator[Pass]:
        """Of a tile that holds all outputs: neighbouring taps with the same outputs in one."""
        first, held = 0, None
        for tap, outputs in enumerate((*self.live(0, self.outputs.count), None)):
            if tap and outputs != held:
                if held:
                    yield Pass(first, tap - first, held)
                first = tap
            held = outputs


def exact(rows: GatherAxis, cols: GatherAxis, tall: int, high: int = 0) -> bool:
    """Whether tiles of ``tall`` rows can leave out every product with padding.

    high: the rows of a block; 0: all.
    """
    if not cols.inside and max(each.taps for each in cols.classes) > _MOST_TAPS:
        return False
    for each in rows.classes:
        here = min(tall, each.count, high or each.count)
        alone = not high and here == each.count
        if not (here == 1 or alone or rows.inside):
            return False
    return True


@dataclass(frozen=True)
class Cut:
    """What tiles of a class of rows and a class of columns leave out; None: nothing along this axis."""

    rows: Rim | None
    cols: Rim | None

    @classmethod
    def of(
        cls,
        rows: GatherAxis,
        cols: GatherAxis,
        down: AxisClass,
        right: AxisClass,
        channels: int,
        staged: bool,
    ) -> Cut:
        """For sums over so many channels. Where nothing is staged, there are no zeros to multiply."""
        above, beside = Rim(rows, down), Rim(cols, right)
        if not down.taps or not right.taps or (staged and channels * right.taps < _STEPS):
            return cls(None, None)
        least = _WORTH if staged else 0.0
        return cls(above if above.padded > least else None, beside if beside.padded > least else None)

    def whole(self, tall: int) -> bool:
        """Whether tiles of ``tall`` rows hold all rows of the class, so that it is known what each of them reads."""
        return self.rows is not None and self.rows.outputs.count == tall

    def turns(self, rows: AxisClass, first: int, end: int, tall: int) -> list[tuple[int, int]]:
        """(taps, of how many rows) of the tiles of ``tall`` rows from ``first`` to ``end``, all tiles together."""
        if self.rows is None:
            return [((end - first) // tall * rows.taps, tall)]
        if self.whole(tall):
            return [(1, len(outputs)) for outputs in self.rows.live(0, tall) if outputs]
        return [(self.rows.counted(first, end, tall), tall)]

    def tiles(self, first: int, end: int, width: int) -> list[tuple[int, int, Live | None]]:
        """(first, end, live) of the runs of a row's tiles that are alike; live None: nothing is left out."""
        if self.cols is None or self.cols.outputs.taps > _MOST_TAPS:
            return [(first, end, None)]
        whole = (tuple(range(width)),) * self.cols.outputs.taps
        return [(a, b, None if live == whole else live) for a, b, live in self.cols.tiles(first, end, width)]
