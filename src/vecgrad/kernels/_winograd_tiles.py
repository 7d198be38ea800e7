"""Tiles of images into the Winograd domain: blocks of n × n pixels become 36 numbers for each channel.

The tiles of all images are numbered one behind the other, so that a block of them may cross images. Both passes
of a transform, columns then rows, go through a few vectors of scratch that stay in L1.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels import access
from vecgrad.kernels._cases import cases
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels._winograd_grid import PLANES, Grid, Needed
from vecgrad.kernels._winograd_steps import Step
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.spec.tensor import Layout
from vecgrad.spec.winograd import INPUTS

__all__ = ["PLANES", "Domain", "Grid", "Interleaved", "Lines", "Patches", "apart"]

_LINE = 64


def apart(nbytes: int) -> int:
    """``nbytes`` in whole cache lines, an odd number of them: what lies so far apart shares no cache sets.

    >>> apart(4096), apart(100)
    (4160, 192)
    """
    return (-(-nbytes // _LINE) | 1) * _LINE


@dataclass(frozen=True)
class Domain:
    """Memory for the 36 planes of a block of tiles: ``tiles`` rows of ``channels`` entries each. Sizes in bytes."""

    tiles: int
    channels: int
    item: int

    @property
    def tile(self) -> int:
        """From a tile to the next."""
        return apart(self.channels * self.item)

    @property
    def plane(self) -> int:
        return apart(self.tiles * self.tile)

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
class Lines:
    """The columns of a patch that lie inside the map: ``turns`` of them from its column ``begin`` on.

    pixels: the place of the first of them in each row. A walk goes from ``start`` by ``after``.
    """

    begin: Value
    turns: Value
    pixels: list[Value]
    pitch: int
    item: int

    def start(self, b: Builder, vector: Value) -> Value:
        """What stands for the first column, for a vector of channels."""
        return b.mul(vector, b.lanes * self.item)

    def read(self, b: Builder, at: Value, vector: Value, lanes: int) -> list[Value]:
        """A column's pixels, of which ``lanes`` channels exist."""
        return [b.load_lanes(b.at(pixel, at), lanes) for pixel in self.pixels]

    def after(self, b: Builder, at: Value) -> Value:
        return b.add(at, self.pitch * self.item)


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
    def columns_bytes(self) -> int:
        """The vectors between the passes, of the widest machine."""
        return INPUTS * self.size * _LINE

    @property
    def scratch_bytes(self) -> int:
        return apart(self.line_bytes) + apart(self.columns_bytes)

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
        columns = b.at(scratch, apart(self.line_bytes))
        vectors = -(-self.channels // b.lanes)
        total = -(-self.source.channels // b.lanes)
        start = b.div(channel, b.lanes) if isinstance(channel, Value) else b.int64(channel // b.lanes)
        end: Index = vectors if total == vectors else b.least(vectors, b.sub(total, start))
        exact = not access.whole(b, self.source)
        rest = self.source.channels - (total - 1) * b.lanes if exact else b.lanes
        needed = needed or Needed(self.grid, all_tiles=True)
        start_of = needed.before(b, first)
        with b.loop(0, count) as each:
            image, row, col = self.grid.place(b, b.add(first, each.i))
            lines = self.lines(b, scratch, source, image, row, col)
            self._clear(b, columns, lines.begin, lines.turns)
            here = {
                kind: b.at(target, b.mul(b.sub(place, start_of[kind]), domain.tile))
                for kind, place in needed.before(b, b.add(first, each.i)).items()
            }
            with b.loop(0, end) as vector:
                number = b.add(start, vector.i)
                for lanes in cases(b, number, total - 1, b.lanes, rest):
                    self._columns(b, columns, lines, number, lanes)
                moved = b.mul(vector.i, b.lanes * self.item)
                there = {kind: b.at(place, moved) for kind, place in here.items()}
                self._rows(b, columns, there, domain, needed)

    def lines(
        self, b: Builder, zeros: Value, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> Lines:
        """What the tile of outputs from (row, col) on reads."""
        layout = self.source
        top, left = b.add(row, self.top), b.add(col, self.left)
        begin, turns = self.columns_inside(b, left, layout.width)
        base = b.at(source[0], b.mul(image, layout.nbytes))
        across = b.mul(b.add(left, begin), layout.pitch * self.item)
        pixels = []
        for r in range(self.size):
            number = b.add(top, r)
            inside = b.icmp("ult", number, layout.height)
            there = b.at(base, b.add(b.mul(number, layout.row * self.item), across))
            pixels.append(b.select(inside, there, zeros))
        return Lines(begin, turns, pixels, layout.pitch, self.item)

    def columns_inside(self, b: Builder, left: Value, width: int) -> tuple[Value, Value]:
        """The first of the columns left … left + size − 1 that lies inside a map, and how many do."""
        begin = b.least(b.most(0, b.sub(0, left)), self.size)
        end = b.least(self.size, b.sub(width, left))
        return begin, b.most(0, b.sub(end, begin))

    def _clear(self, b: Builder, columns: Value, begin: Value, turns: Value) -> None:
        """Zeros for the columns outside the map, once for all channels."""

        def clear(start: Index, end: Index) -> None:
            with b.loop(start, end) as col:
                here = b.at(columns, b.mul(col.i, _LINE))
                for r in range(INPUTS):
                    b.store(b.zero(), b.at(here, r * self.size * _LINE), self.item)

        clear(0, begin)
        clear(b.add(begin, turns), self.size)

    def _columns(self, b: Builder, columns: Value, lines: Lines, vector: Value, lanes: int) -> None:
        """First pass: down each column inside the map."""
        target = b.at(columns, b.mul(lines.begin, _LINE))
        with b.loop(0, lines.turns, carried=[lines.start(b, vector), target]) as turn:
            at, target = turn.carried
            for r, value in enumerate(self.step(b, lines.read(b, at, vector, lanes))):
                b.store(value, b.at(target, r * self.size * _LINE), self.item)
            turn.again(lines.after(b, at), b.at(target, _LINE))

    def _rows(
        self, b: Builder, columns: Value, target: dict[int, Value], domain: Domain, needed: Needed
    ) -> None:
        """Second pass: along each row, and out to the planes. target: for each kind of plane."""
        for r in range(INPUTS):
            if not any(needed.tiles(needed.kind(r * INPUTS + s)) for s in range(INPUTS)):
                continue
            line = [
                b.load(b.vector, b.at(columns, (r * self.size + s) * _LINE), self.item)
                for s in range(self.size)
            ]
            for s, value in enumerate(self.step(b, line)):
                plane = r * INPUTS + s
                kind = needed.kind(plane)
                if needed.tiles(kind):
                    b.store(value, b.at(target[kind], domain.place(plane)), self.item)
