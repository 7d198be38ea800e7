"""Tiles of images into the Winograd domain: blocks of n × n pixels become 36 numbers for each channel.

The tiles of all images are numbered one behind the other, so that a block of them may cross images. Columns outside the
map are skipped, rows outside it read from a line of zeros. The two passes of a transform, columns then rows, take as many of
the six rows at a time as registers hold between them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from vecgrad.kernels import access
from vecgrad.kernels._ahead import Pixels
from vecgrad.kernels._cases import cases
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels._winograd_grid import PLANES, Grid, Needed
from vecgrad.kernels._winograd_steps import PAIRS, Read, Step, at_all, once
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.spec.tensor import Layout
from vecgrad.spec.winograd import INPUTS, OUTPUTS

__all__ = ["PLANES", "Domain", "Grid", "Interleaved", "Patches", "apart"]

_LINE = 64
# From a tile that is transformed to the one whose pixels are fetched: tiles, at least and at most, and bytes of channels about.
_SOONEST, _LATEST, _BETWEEN = 2, 6, 768
# Whether a column lies inside a map: known, or found out when the code runs.
Inside = bool | Value
# Those rows of a patch between the two passes that belong to a pair of points, by the pair's number and the rows' in it.
Lines = Callable[[int, list[int]], list[list[Value]]]


def apart(nbytes: int) -> int:
    """``nbytes`` in whole cache lines, an odd number of them: what lies so far apart shares no cache sets.

    >>> apart(4096), apart(100)
    (4160, 192)
    """
    return (-(-nbytes // _LINE) | 1) * _LINE


@dataclass(frozen=True)
class Domain:
    """Memory for the 36 planes of a block of tiles: ``tiles`` rows of ``channels`` entries each. Sizes in bytes.

    least: as far apart as planes are at least.
    """

    tiles: int
    channels: int
    item: int
    least: int = 0

    @property
    def tile(self) -> int:
        """From a tile to the next."""
        return apart(self.channels * self.item)

    @property
    def plane(self) -> int:
        return max(apart(self.tiles * self.tile), self.least)

    @property
    def nbytes(self) -> int:
        return PLANES * self.plane

    def place(self, plane: int) -> int:
        """Of a plane's first tile."""
        return plane * self.plane


@dataclass(frozen=True)
class Interleaved(Domain):
    """The same with six planes, a row of the domain, side by side within each tile: a tile is written to a sixth of the pages."""

    @property
    def piece(self) -> int:
        """From a plane to the next one of its row."""
        return -(-self.channels * self.item // _LINE) * _LINE

    @property
    def tile(self) -> int:
        return apart(INPUTS * self.piece)

    @property
    def row(self) -> int:
        """From a row of planes to the next."""
        return apart(self.tiles * self.tile)

    @property
    def nbytes(self) -> int:
        return INPUTS * self.row

    def place(self, plane: int) -> int:
        row, col = divmod(plane, INPUTS)
        return row * self.row + col * self.piece

    def at(self, b: Builder, start: Value, plane: Value) -> Value:
        """A plane's first tile in the memory at ``start``."""
        row, col = b.div(plane, INPUTS), b.rem(plane, INPUTS)
        return b.at(start, b.add(b.mul(row, self.row), b.mul(col, self.piece)))


@dataclass(frozen=True)
class Patches:
    """What a map's tiles read: size × size pixels from (4·row + top, 4·column + left) on, zeros outside the map.

    step: the transform along one axis. grid: of the outputs that tiles are counted by. channels: of a block.
    """

    source: Layout
    grid: Grid
    size: int
    top: int
    left: int
    step: Step
    channels: int
    item: int = 4

    @property
    def line_bytes(self) -> int:
        """A line of zeros, for rows outside the map."""
        return self.size * self.source.pitch * self.item

    @property
    def scratch_bytes(self) -> int:
        return apart(self.line_bytes)

    @property
    def soon(self) -> int:
        """Tiles from one that is transformed to the one whose pixels are fetched."""
        return max(_SOONEST, min(-(-_BETWEEN // (self.channels * self.item)), _LATEST))

    @property
    def width(self) -> int:
        """Columns that hold anything."""
        return self.source.width

    def whole(self, b: Builder) -> bool:
        """Whether every vector of channels may be read in full."""
        return access.whole(b, self.source)

    def prepare(self, b: Builder, scratch: Value) -> None:
        """To be called once before tiles are transformed."""
        fill_run(b, scratch, self.line_bytes // self.item)

    def transform(
        self,
        b: Builder,
        scratch: Value,
        source: tuple[Value, ...],
        channel: Index,
        first: Value,
        count: Value,
        target: Value,
        domain: Domain,
        needed: Needed | None = None,
    ) -> None:
        """Tiles first … first + count − 1 of the images in the operands ``source``, channels from ``channel`` on, to ``target``.

        needed: planes hold only the tiles that they need, and those that need none nothing.
        """
        vectors = -(-self.channels // b.lanes)
        total = -(-self.source.channels // b.lanes)
        start = b.div(channel, b.lanes) if isinstance(channel, Value) else b.int64(channel // b.lanes)
        end: Index = vectors if total == vectors else b.least(vectors, b.sub(total, start))
        rest = b.lanes if self.whole(b) else self.source.channels - (total - 1) * b.lanes
        needed = needed or Needed(self.grid, all_tiles=True)
        start_of = needed.before(b, first)
        with b.loop(0, count) as each:
            image, row, col = self.grid.place(b, b.add(first, each.i))
            rows = self.rows(b, scratch, source, image, row, col)
            here = {
                kind: b.at(target, b.mul(b.sub(place, start_of[kind]), domain.tile))
                for kind, place in needed.before(b, b.add(first, each.i)).items()
            }
            columns = [self._inside(b, column, col) for column in range(self.size)]
            coming = self.coming(b, source, *self.grid.place(b, b.add(b.add(first, each.i), self.soon)))
            with b.loop(0, end) as vector:
                number = b.add(start, vector.i)
                moved = b.mul(vector.i, b.lanes * self.item)
                there = {kind: b.opaque(b.at(place, moved)) for kind, place in here.items()}
                for lanes in cases(b, number, total - 1, b.lanes, rest):
                    lines = self.lines(b, scratch, rows, columns, number, lanes)
                    self._into_planes(b, lines, there, domain, needed)
                for pixels in coming:
                    pixels.fetch(b, number)

    def rows(
        self, b: Builder, zeros: Value, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> list[Value]:
        """Where the rows of pixels begin that the tile of outputs from (row, col) on reads, be that outside the map."""
        layout = self.source
        top, left = b.add(row, self.top), b.add(col, self.left)
        base = b.around(source[0], b.add(b.mul(image, layout.nbytes), b.mul(left, layout.pitch * self.item)))
        found = []
        for r in range(self.size):
            number = b.add(top, r)
            there = b.around(base, b.mul(number, layout.row * self.item))
            found.append(b.select(b.icmp("ult", number, layout.height), there, zeros))
        return found

    def coming(
        self, b: Builder, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> list[Pixels]:
        """What the tile of outputs from (row, col) on reads and hardly any tile before it."""
        layout, new = self.source, min(self.size, INPUTS - 1)
        known = self.size - new
        top, left = b.add(row, self.top + known), b.add(col, self.left + known)
        entry = b.add(b.mul(top, layout.row), b.mul(left, layout.pitch))
        start = b.around(source[0], b.add(b.mul(image, layout.nbytes), b.mul(entry, self.item)))
        return [
            Pixels(start, new, new, layout.row * self.item, layout.pitch * self.item, b.lanes * self.item)
        ]

    def lines(
        self, b: Builder, scratch: Value, rows: list[Value], columns: list[Inside], vector: Value, lanes: int
    ) -> Lines:
        """The first pass, down the columns, for a vector of channels of which ``lanes`` exist."""
        moved = b.mul(vector, b.lanes * self.item)
        places = [b.opaque(b.around(row, moved)) for row in rows]
        pitch = self.source.pitch * self.item

        def read(column: int) -> Read:
            return once(lambda r: b.load_lanes(b.around(places[r], column * pitch), lanes))

        return self.down(b, read, columns)

    def down(self, b: Builder, read: Callable[[int], Read], columns: list[Inside]) -> Lines:
        """Lines that are computed when they are asked for, from the pixels of the columns inside the map."""

        def lines(pair: int, rows: list[int]) -> list[list[Value]]:
            def column(number: int) -> list[Value]:
                two = self.step(b, read(number), pair)
                return [two[each] for each in rows]

            nothing = [b.zero() for _ in rows]
            found = []
            for number, inside in enumerate(columns):
                make = functools.partial(column, number)
                if isinstance(inside, Value):
                    found.append(b.either(inside, make, nothing))
                else:
                    found.append(make() if inside else nothing)
            return [[two[each] for two in found] for each in range(len(rows))]

        return lines

    def _inside(self, b: Builder, column: int, col: Value) -> Inside:
        """Whether a column of the patch lies inside the map, for the tile of outputs from column ``col`` on."""
        place = [tile * OUTPUTS + self.left + column for tile in range(self.grid.cols)]
        there = [0 <= each < self.width for each in place]
        if all(there) or not any(there):
            return there[0]
        return b.icmp("ult", b.add(col, self.left + column), self.width)

    def _into_planes(
        self, b: Builder, lines: Lines, target: dict[int, Value], domain: Domain, needed: Needed
    ) -> None:
        """The second pass, along the lines and out, some rows of planes at a time. target: of each kind of plane.

        Of a pair of rows there are twelve numbers between the passes, which 32 registers hold beside the rest; with 16 it is
        one row's turn after the other. Pixels are read again for the next rows.
        """
        for n, pair in enumerate(PAIRS):
            for both in [(0, 1)] if b.machine.registers >= 32 else [(0,), (1,)]:
                rows = [each for each in both if any(map(needed.tiles, needed.of_row(pair[each])))]
                for each, line in zip(rows, lines(n, rows) if rows else [], strict=True):
                    for plane, value in enumerate(
                        at_all(self.step, b, line.__getitem__), pair[each] * INPUTS
                    ):
                        kind = needed.kind(plane)
                        if needed.tiles(kind):
                            b.store(value, b.at(target[kind], domain.place(plane)), self.item)
