"""Un-pooling (4.5) where a gradient is read: tiles take dy and the index of a max pooling in place of the larger map."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from vecgrad.kernels import access
from vecgrad.kernels._ahead import Pixels
from vecgrad.kernels._winograd_steps import PAIRS, at_all
from vecgrad.kernels._winograd_tiles import Inside, Lines, Patches
from vecgrad.kernels.builder import LLVM_TYPE, Builder, Value
from vecgrad.spec.kernel import Unpooling
from vecgrad.spec.winograd import INPUTS

_LINE = 64
# Registers of which a transform takes most.
_FEW = 16


@dataclass(frozen=True)
class UnpooledPatches(Patches):
    """``source`` is the layout of the map that is never stored; read are ``unpool.dy`` and ``unpool.index``."""

    unpool: Unpooling | None = None

    @property
    def width(self) -> int:
        return self.unpool.window.out_size[1] * self.unpool.window.kernel[1] if self.unpool else super().width

    @property
    def scratch_bytes(self) -> int:
        """Behind the line of zeros a vector of channels of the lines."""
        return super().scratch_bytes + INPUTS * self.size * _LINE

    def _windows(self, axis: int) -> range:
        """Rows (columns) of windows that a patch meets, counted from those where its tile begins."""
        assert self.unpool is not None
        first, kernel = (self.top, self.left)[axis], self.unpool.window.kernel[axis]
        return range(first // kernel, (first + self.size - 1) // kernel + 1)

    def rows(
        self, b: Builder, zeros: Value, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> list[Value]:
        """Of rows of windows: the pooled gradients, behind them the indices."""
        if self.unpool is None:
            return super().rows(b, zeros, source, image, row, col)
        window, dy = self.unpool.window, self.unpool.dy
        (tall, wide_), (height, _) = window.kernel, window.out_size
        begin = b.mul(b.add(b.div(col, wide_), self._windows(1).start), dy.pitch)
        entries = b.add(b.mul(image, dy.entries), begin)
        gradients, indices = [], []
        for number in self._windows(0):
            line = b.add(b.div(row, tall), number)
            inside = b.icmp("ult", line, height)
            entry = b.add(entries, b.mul(line, dy.row))
            gradients.append(b.select(inside, b.around(source[0], b.mul(entry, self.item)), zeros))
            indices.append(b.select(inside, b.around(source[1], entry), zeros))
        return [*gradients, *indices]

    def coming(
        self, b: Builder, source: tuple[Value, ...], image: Value, row: Value, col: Value
    ) -> list[Pixels]:
        if self.unpool is None:
            return super().coming(b, source, image, row, col)
        dy, (tall, wide_) = self.unpool.dy, self.unpool.window.kernel
        rows, cols = self._windows(0), self._windows(1)
        entry = b.mul(b.add(b.div(row, tall), rows.start), dy.row)
        entry = b.add(entry, b.mul(b.add(b.div(col, wide_), cols.start), dy.pitch))
        entry = b.add(b.mul(image, dy.entries), entry)
        return [
            Pixels(
                b.around(place, b.mul(entry, item)),
                len(rows),
                len(cols),
                dy.row * item,
                dy.pitch * item,
                b.lanes * item,
            )
            for place, item in zip(source, (self.item, 1), strict=True)
        ]

    def lines(
        self, b: Builder, scratch: Value, rows: list[Value], columns: list[Inside], vector: Value, lanes: int
    ) -> Lines:
        """Un-pooling twice would cost more than memory does: where registers do not hold the patch, lines are stored."""
        if self.unpool is None:
            return super().lines(b, scratch, rows, columns, vector, lanes)
        pixels = self._unpooled(b, rows, columns, vector, lanes)
        inside = [column for column, there in enumerate(columns) if there is not False]
        if self.size * self.size <= b.machine.registers // 2:
            # Zeros where windows lie outside: no column needs to be asked again.
            patch = {column: pixels(column) for column in inside}
            known: list[Inside] = [there is not False for there in columns]
            return self.down(b, lambda column: patch[column].__getitem__, known)
        place = b.at(scratch, super().scratch_bytes)

        def at(row: int, column: int) -> Value:
            return b.at(place, (row * self.size + column) * _LINE)

        for column in inside:
            for row, value in enumerate(at_all(self.step, b, pixels(column).__getitem__)):
                b.store(value, at(row, column), self.item)
        return lambda pair, rows: [
            [
                b.load(b.vector, at(PAIRS[pair][row], column), self.item) if column in inside else b.zero()
                for column in range(self.size)
            ]
            for row in rows
        ]

    def _unpooled(
        self, b: Builder, rows: list[Value], columns: list[Inside], vector: Value, lanes: int
    ) -> Callable[[int], list[Value]]:
        """The pixels of a column of the patch: a window's gradient where its index says so, else 0."""
        assert self.unpool is not None
        tall, wide_ = self.unpool.window.kernel
        top, left = self._windows(0).start, self._windows(1).start
        entry = b.mul(vector, b.lanes)
        half = len(rows) // 2
        gradients = [b.opaque(b.around(row, b.mul(entry, self.item))) for row in rows[:half]]
        indices = [b.opaque(b.around(row, entry)) for row in rows[half:]]
        ordinals = f"<{b.lanes} x {LLVM_TYPE[self.unpool.index.dtype]}>"
        nothing = [b.zero()] * half + [b.zero(ordinals)] * half

        def read(number: int) -> list[Value]:
            """A column of windows: the gradients, behind them the indices."""
            assert self.unpool is not None
            moved, dtype = (number - left) * self.unpool.dy.pitch, self.unpool.index.dtype
            pooled = [b.load_lanes(b.around(place, moved * self.item), lanes) for place in gradients]
            which = [access.raw_lanes(b, b.around(place, moved), dtype, lanes) for place in indices]
            return [*pooled, *which]

        def windows(number: int) -> tuple[Inside, Callable[[], list[Value]]]:
            """Whether a column of windows lies in the map, as its columns do; what reads it."""
            return columns[max(number * wide_ - self.left, 0)], functools.partial(read, number)

        @functools.cache
        def held(number: int) -> list[Value]:
            inside, make = windows(number)
            return b.either(inside, make, nothing) if isinstance(inside, Value) else make()

        def chosen(column: int, met: list[Value]) -> list[Value]:
            found = []
            for row in range(self.size):
                window_row, r = divmod(self.top + row, tall)
                dy, which = met[window_row - top], met[half + window_row - top]
                # Compared as they are stored: as wide as the lanes, their constants would take registers.
                number = b.broadcast_constant(str((self.left + column) % wide_ * tall + r), ordinals)
                here = b.let(f"<{b.lanes} x i1>", f"icmp eq {which}, {number.text}")
                found.append(b.select(here, dy, b.zero()))
            return found

        def pixels(column: int) -> list[Value]:
            number = (self.left + column) // wide_
            if b.machine.registers > _FEW:
                return chosen(column, held(number))
            # Windows, transform and constants do not fit side by side: each column reads its windows again.
            inside, make = windows(number)
            if isinstance(inside, Value):
                return b.either(inside, lambda: chosen(column, make()), [b.zero()] * self.size)
            return chosen(column, make())

        return pixels
