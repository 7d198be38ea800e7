"""The seam on the output side: what happens to a tile's sums before they are stored, and where they go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vecgrad.kernels._ahead import Stream
from vecgrad.kernels._cases import cases
from vecgrad.kernels._contract import Accumulators
from vecgrad.kernels.access import converted
from vecgrad.kernels.builder import LLVM_TYPE, Builder, Value
from vecgrad.kernels.expression import Formula
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.tensor import Layout

Step = tuple[int, int, int]
_LINE = 64


@dataclass(frozen=True)
class Places:
    """Where a tile's pixels lie: the first one's image, row, column and channel, and each one's distance from it."""

    image: Value
    row: Value
    col: Value
    channel: Value
    pixels: Sequence[Step]


@dataclass(frozen=True)
class Source:
    """An operand of the output's pixels: its first vector of the tile, and what stays the same for all pixels."""

    b: Builder
    layout: Layout
    pointer: Value
    moves: bool

    def at(self, step: Step, vector: int) -> Value:
        """The address of a vector of a pixel."""
        image, row, col = step
        offset = image * self.layout.nbytes if self.layout.batched else 0
        if self.moves:
            offset += (row * self.layout.row + col * self.layout.pitch) * self._item
        if self.layout.channels > 1:
            offset += vector * self.b.lanes * self._item
        return self.b.at(self.pointer, offset)

    @property
    def _item(self) -> int:
        return self.layout.nbytes // self.layout.entries

    def read(self, step: Step, vector: int, count: int) -> Value:
        """A vector of which ``count`` lanes may be read; the one channel of a one-channel operand in every lane."""
        b, type_ = self.b, LLVM_TYPE[self.layout.dtype]
        pointer = self.at(step, vector)
        if self.layout.channels == 1:
            return b.splat(converted(b, b.load(type_, pointer, self._item), self.layout.dtype))
        wide = f"<{b.lanes} x {type_}>"
        if count == b.lanes:
            return converted(b, b.load(wide, pointer, self._item), self.layout.dtype)
        return converted(b, b.load_masked(pointer, b.first_lanes(count), self._item, wide), self.layout.dtype)


class Writer:
    """Stores tiles. Operands ``first`` … are the epilogue's inputs, the one behind them the output."""

    def __init__(
        self, b: Builder, epilogue: Epilogue, output: Layout, scalars: tuple[str, ...], first: int
    ) -> None:
        self._b = b
        self._output = output
        layouts = epilogue.inputs if epilogue.pool else (*epilogue.inputs, output)
        self._operands = [(b.operand(first + n), layout) for n, layout in enumerate(layouts)]
        self._inputs = len(epilogue.inputs)
        self._formula = Formula(b, [epilogue.expr], scalars)

    def write(
        self,
        sums: Accumulators,
        at: Places,
        block: Value,
        last: int,
        rest: int,
        overwrite: bool,
        channels: int | None = None,
    ) -> None:
        """Store ``sums[pixel][vector]``.

        block: the number of this block of channels; of number ``last`` only the first ``rest`` channels exist.
        overwrite: a vector that holds channels may be stored in full. channels: of a block, unless whole vectors.
        """
        b = self._b
        if not sums:
            return
        sources = self._sources(at)
        most = len(sums[0]) * b.lanes if channels is None else channels
        for vector in range(len(sums[0])):
            usual, real = (min(max(n - vector * b.lanes, 0), b.lanes) for n in (most, rest))
            for count in cases(b, block, last, usual, real):
                if count:
                    self._store([row[vector] for row in sums], sources, at.pixels, vector, count, overwrite)

    def streams(self, at: Places, vectors: int, steps: int | Fraction) -> list[Stream]:
        """What a tile of pixels of one row reads and writes of maps, fetched while its products take ``steps`` steps."""
        first = at.pixels[0]
        if any(pixel[:2] != first[:2] for pixel in at.pixels):
            return []
        apart = at.pixels[-1][2] - first[2]
        found = []
        for number, source in enumerate(itertools.chain(*self._sources(at))):
            layout = source.layout
            if source.moves:
                item = layout.nbytes // layout.entries
                lines = -(-min(vectors * self._b.lanes, layout.channels) * item // _LINE)
                step = apart // max(len(at.pixels) - 1, 1) * layout.pitch * item
                write = number == self._inputs
                found.append(Stream(source.at(first, 0), lines, step, len(at.pixels), steps, write))
        return found

    def fetch(self, at: Places, rows: int, vectors: int = 1) -> None:
        """What stands ``rows`` rows below the pixels' vectors in maps that are read or written, into the second-level cache: what
        is written too, for a fetch into the first waits for a line there."""
        b = self._b
        for source in itertools.chain(*self._sources(at)):
            if source.moves:
                below = rows * source.layout.row * (source.layout.nbytes // source.layout.entries)
                for step, vector in itertools.product(at.pixels, range(vectors)):
                    b.prefetch(b.around(source.at(step, vector), below))

    def _store(
        self,
        sums: Sequence[Value],
        sources: tuple[list[Source], list[Source]],
        pixels: Sequence[Step],
        vector: int,
        count: int,
        overwrite: bool,
    ) -> None:
        inputs, [output] = sources
        for result, step in zip(
            self._applied(self._formula, sums, inputs, pixels, vector, count), pixels, strict=True
        ):
            self._b.store_lanes(result, output.at(step, vector), self._b.lanes if overwrite else count)

    def _applied(
        self,
        formula: Formula,
        values: Sequence[Value],
        inputs: Sequence[Source],
        pixels: Sequence[Step],
        vector: int,
        count: int,
    ) -> Iterator[Value]:
        """The formula of each pixel's value and of what ``inputs`` have there, one behind the other."""
        same = {n: s.read(pixels[0], vector, count) for n, s in enumerate(inputs) if not s.layout.batched}
        rows = (
            [value, *(same[n] if n in same else s.read(step, vector, count) for n, s in enumerate(inputs))]
            for value, step in zip(values, pixels, strict=True)
        )
        for [result] in formula.side_by_side(rows):
            yield result

    def _sources(self, at: Places) -> tuple[list[Source], list[Source]]:
        """The epilogue's inputs, and what is stored."""
        found = [self._source(pointer, layout, at, self._output) for pointer, layout in self._operands]
        return found[: self._inputs], found[self._inputs :]

    def _source(self, pointer: Value, layout: Layout, at: Places, output: Layout) -> Source:
        b = self._b
        moves = layout.batched and (layout.height, layout.width) == (output.height, output.width)
        if layout.batched:
            pointer = b.at(pointer, b.mul(at.image, layout.nbytes))
        if moves:
            inside = b.add(b.mul(at.row, layout.row), b.mul(at.col, layout.pitch))
            pointer = b.entry(pointer, inside, layout.dtype)
        if layout.channels > 1:
            pointer = b.entry(pointer, at.channel, layout.dtype)
        return Source(b, layout, pointer, moves)
