"""The tiles of maps, and which of them are needed in which planes.

Where a map's last tiles have three rows or fewer, 6 of their 36 products say nothing, 11 where columns are missing too. Of a weight
gradient: the number at infinity is a row's (column's) fourth gradient, and one that a map does not have is 0. Of outputs: the
number at infinity is part of a row's (column's) fourth output alone. 7 × 7 maps need 121 of 144 products, 3 × 3 maps
25 of 36. Each plane holds its tiles without gaps and in their order, so sums are as if the zeros had been added.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.winograd import INPUTS, OUTPUTS

PLANES = INPUTS * INPUTS


@dataclass(frozen=True)
class Grid:
    """4 × 4 tiles of maps of height × width pixels."""

    height: int
    width: int

    @property
    def rows(self) -> int:
        return -(-self.height // OUTPUTS)

    @property
    def cols(self) -> int:
        return -(-self.width // OUTPUTS)

    @property
    def tiles(self) -> int:
        """Of one image."""
        return self.rows * self.cols

    def place(self, b: Builder, tile: Value) -> tuple[Value, Value, Value]:
        """(image, first row, first column) of a tile."""
        image, within = b.div(tile, self.tiles), b.rem(tile, self.tiles)
        row, col = b.div(within, self.cols), b.rem(within, self.cols)
        return image, b.mul(row, OUTPUTS), b.mul(col, OUTPUTS)


@dataclass(frozen=True)
class Needed:
    """Four kinds of planes: 0 needs all tiles of the ``grid``, 1 those with all columns, 2 those with all rows, 3 those with both.

    all_tiles: every plane is taken to need all of them.
    """

    grid: Grid
    all_tiles: bool = False

    @property
    def rows(self) -> int:
        """Rows of tiles with all rows of outputs."""
        return self.grid.rows if self.all_tiles else self.grid.height // OUTPUTS

    @property
    def cols(self) -> int:
        return self.grid.cols if self.all_tiles else self.grid.width // OUTPUTS

    def kind(self, plane: int) -> int:
        """Of a plane."""
        i, j = divmod(plane, INPUTS)
        last = INPUTS - 1
        return 2 * (i == last and self.rows < self.grid.rows) + (j == last and self.cols < self.grid.cols)

    def of_row(self, row: int) -> set[int]:
        """The kinds of a row of planes."""
        return {self.kind(row * INPUTS + column) for column in range(INPUTS)}

    def tiles(self, kind: int) -> int:
        """How many tiles of an image planes of a kind need."""
        return (self.rows if kind & 2 else self.grid.rows) * (self.cols if kind & 1 else self.grid.cols)

    @property
    def kinds(self) -> list[int]:
        """Those that there are."""
        return sorted({self.kind(plane) for plane in range(PLANES)})

    @property
    def products(self) -> int:
        """Of a pair of channels of an image, in all planes.

        >>> [Needed(Grid(size, size)).products for size in (3, 7, 8, 15)]
        [25, 121, 144, 529]
        """
        return sum(self.tiles(self.kind(plane)) for plane in range(PLANES))

    def before(self, b: Builder, tile: Value) -> dict[int, Value]:
        """For each kind, how many of the tiles before ``tile`` its planes need."""
        image, within = b.div(tile, self.grid.tiles), b.rem(tile, self.grid.tiles)
        row, col = b.div(within, self.grid.cols), b.rem(within, self.grid.cols)
        found = {0: tile}
        for kind in self.kinds[1:]:
            rows = self.rows if kind & 2 else self.grid.rows
            cols = self.cols if kind & 1 else self.grid.cols
            here = b.least(b.add(b.mul(row, cols), col), rows * cols)
            found[kind] = b.add(b.mul(image, rows * cols), here)
        return found

    def between(self, b: Builder, first: Value, end: Value) -> dict[int, Value]:
        """For each kind, how many of the tiles first … end − 1 its planes need."""
        start, stop = self.before(b, first), self.before(b, end)
        return {kind: b.sub(stop[kind], start[kind]) for kind in start}

    def of_plane(self, b: Builder, plane: Value, values: dict[int, Value]) -> Value:
        """The one of ``values``, by kind, that concerns a plane."""
        row = b.icmp("sge", plane, PLANES - INPUTS)
        col = b.icmp("eq", b.rem(plane, INPUTS), INPUTS - 1)
        some = [values.get(kind) for kind in range(4)]
        left = values[0] if some[1] is None else b.select(col, some[1], values[0])
        if some[2] is None:
            return left
        return b.select(row, some[2] if some[3] is None else b.select(col, some[3], some[2]), left)
