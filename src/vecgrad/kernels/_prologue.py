"""The seam on the input side: what happens to a map's entries as they are read, and rows of them that several tiles read.

A normalization and its activation are expressions of an entry and of its channel's numbers. A kernel that copies its inputs anyway,
or meets each row of them several times, computes them there, and the map that they make is neither written nor read.
"""

from __future__ import annotations

from vecgrad.kernels import access
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.expression import Formula
from vecgrad.spec.kernel import Prologue
from vecgrad.spec.tensor import Layout

_LINE = 64
# Vectors of a pixel whose channels' numbers stay in registers for all pixels of a row; and those that are written out beyond.
_HELD, _UNROLL = 4, 4


class Reader:
    """Applies a prologue, whose vectors are the operands from number ``first`` on."""

    def __init__(self, b: Builder, prologue: Prologue, first: int) -> None:
        self._b = b
        self._formula = Formula(b, [prologue.expr], ())
        self._pointers = [b.operand(first + n) for n in range(len(prologue.vectors))]

    def vectors(self, offset: Index, count: int) -> list[Value]:
        """What the prologue knows of ``count`` channels, ``offset`` bytes behind the first one."""
        return [self._b.load_lanes(self._b.at(pointer, offset), count) for pointer in self._pointers]

    def apply(self, value: Value, vectors: list[Value]) -> Value:
        """A vector of an entry's channels, behind the prologue."""
        [found] = self._formula.write([value, *vectors])
        return found

    def copy(self, target: Value, source: Value, entries: int, offset: Index = 0) -> None:
        """``entries`` channels of a pixel, the first one ``offset`` bytes behind the map's first, to ``target``."""
        b = self._b
        for start in range(0, entries, b.lanes):
            count, at = min(entries - start, b.lanes), start * b.item
            value = b.load_lanes(b.at(source, at), count)
            value = self.apply(value, self.vectors(b.add(offset, at), count))
            b.store_lanes(value, b.at(target, at), count)


def operands(prologue: Prologue | None) -> int:
    """How many operands follow the map for it."""
    return len(prologue.vectors) if prologue else 0


class Ring:
    """The last ``rows`` rows of an image behind its prologue, in scratch: row r at place r mod ``rows``, in whole vectors."""

    def __init__(self, b: Builder, reader: Reader, source: Layout, rows: int) -> None:
        self._b, self._reader, self._source, self._rows = b, reader, source, rows
        self.pixel_bytes = -(-source.channels // b.lanes) * b.lanes * b.item

    @staticmethod
    def nbytes(source: Layout, rows: int, lanes: int, item: int) -> int:
        """Of scratch."""
        return rows * _row_bytes(source, lanes, item)

    def row(self, number: Value) -> Value:
        """Where row ``number`` lies."""
        b = self._b
        apart = _row_bytes(self._source, b.lanes, b.item)
        return b.at(b.scratch, b.mul(b.rem(number, self._rows), apart))

    def reach(self, image: Value, made: Value, end: Value) -> Value:
        """Makes the image's rows from ``made`` on, before which all are, up to ``end``; from where on they are missing then."""
        b = self._b
        with b.loop(made, end, at_least_once=False) as row:
            source = b.at(image, b.mul(row.i, self._source.row * b.item))
            self._row(b.opaque(source), b.opaque(self.row(row.i)))
        return b.most(made, end)

    def _row(self, source: Value, target: Value) -> None:
        """In the order of memory, while the next row is fetched: its turn comes when this one's outputs are done.

        Whole vectors are written: what is read of channels that do not exist, nobody stores.
        """
        b, layout = self._b, self._source
        vectors = -(-layout.channels // b.lanes)
        pitch, width = layout.pitch * b.item, b.lanes * b.item
        counts = [min(layout.channels - v * b.lanes, b.lanes) for v in range(vectors)]
        whole = access.whole(b, layout)

        def move(pixel: Value, place: Value, offset: Index, known: list[Value], count: int) -> None:
            value = b.load_lanes(b.at(pixel, offset), b.lanes if whole else count)
            b.prefetch(b.around(b.at(pixel, offset), layout.row * b.item))
            b.store(self._reader.apply(value, known), b.at(place, offset), b.item)

        if vectors <= _HELD:
            known = [self._reader.vectors(v * width, count) for v, count in enumerate(counts)]
            with b.loop(0, layout.width) as col:
                pixel, place = b.at(source, b.mul(col.i, pitch)), b.at(target, b.mul(col.i, self.pixel_bytes))
                for v, count in enumerate(counts):
                    move(pixel, place, v * width, known[v], count)
            return
        looped = (vectors - (counts[-1] < b.lanes)) // _UNROLL * _UNROLL
        with b.loop(0, layout.width) as col:
            pixel, place = b.at(source, b.mul(col.i, pitch)), b.at(target, b.mul(col.i, self.pixel_bytes))
            with b.loop(0, looped * width, step=_UNROLL * width) as channel:
                for n in range(_UNROLL):
                    offset = b.add(channel.i, n * width)
                    move(pixel, place, offset, self._reader.vectors(offset, b.lanes), b.lanes)
            for v in range(looped, vectors):
                move(pixel, place, v * width, self._reader.vectors(v * width, counts[v]), counts[v])


def _row_bytes(source: Layout, lanes: int, item: int) -> int:
    """From a row to the next: a line more than it has, so that rows share no cache sets."""
    return source.width * -(-source.channels // lanes) * lanes * item + _LINE
