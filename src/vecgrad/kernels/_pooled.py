"""Max pooling in the epilogue of a convolution: a tile's sums are pooled in registers, and only what wins is stored."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from vecgrad.kernels import access
from vecgrad.kernels._ahead import Stream
from vecgrad.kernels._choice import largest, narrow
from vecgrad.kernels._epilogue import Places, Source, Step, Writer
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula
from vecgrad.spec.geometry import Axis, Window
from vecgrad.spec.kernel import Epilogue, Pooling
from vecgrad.spec.tensor import Layout
from vecgrad.spec.winograd import OUTPUTS

# A window's cells are accumulators of a register tile: of so many there are enough on every machine.
_MOST_CELLS = 9


def refusal(window: Window, winograd: bool) -> str:
    """Why a convolution cannot pool by these windows; "" if it can.

    >>> from vecgrad.spec.geometry import window
    >>> refusal(window((8, 8), 2, 2), True), refusal(window((9, 9), 3, 3), True)
    ('', 'windows of 3 × 3 do not divide tiles of 4 × 4')
    """
    if not all(map(_side_by_side, (window.rows, window.cols))):
        return "windows that overlap, leave gaps or reach into padding"
    rows, cols = window.kernel
    if winograd and (OUTPUTS % rows or OUTPUTS % cols):
        return f"windows of {rows} × {cols} do not divide tiles of {OUTPUTS} × {OUTPUTS}"
    if not winograd and rows * cols > _MOST_CELLS:
        return f"windows of {rows} × {cols} have too many cells for a register tile"
    return ""


def _side_by_side(axis: Axis) -> bool:
    dense = axis.kernel == axis.stride and (axis.dilation == 1 or axis.kernel == 1)
    return dense and axis.before == 0 and axis.out * axis.kernel <= axis.size


def writer(b: Builder, epilogue: Epilogue, output: Layout, scalars: tuple[str, ...], first: int) -> Writer:
    """What stores the tiles of a convolution; arguments as for ``Writer``."""
    if epilogue.pool is None:
        return Writer(b, epilogue, output, scalars, first)
    return PooledWriter(b, epilogue, epilogue.pool, output, scalars, first)


class PooledWriter(Writer):
    """Pools tiles of whole windows. Operands ``first`` … are the epilogue's inputs, the pooling's, its output, its index."""

    def __init__(
        self,
        b: Builder,
        epilogue: Epilogue,
        pool: Pooling,
        output: Layout,
        scalars: tuple[str, ...],
        first: int,
    ) -> None:
        super().__init__(b, epilogue, output, scalars, first)
        self._pool = pool
        behind = first + len(epilogue.inputs)
        self._behind = [
            (b.operand(behind + n), layout) for n, layout in enumerate((*pool.inputs, *pool.outputs))
        ]
        self._pooled_formula = Formula(b, [pool.expr], scalars)
        self._whole = all(access.whole(b, layout) for layout in pool.outputs)

    def _sources(self, at: Places) -> tuple[list[Source], list[Source]]:
        b, (rows, cols) = self._b, self._pool.window.kernel
        there = Places(at.image, b.div(at.row, rows), b.div(at.col, cols), at.channel, ())
        found = [self._source(pointer, layout, there, self._pool.output) for pointer, layout in self._behind]
        return super()._sources(at)[0], found

    def streams(self, at: Places, vectors: int, steps: int | Fraction) -> list[Stream]:
        """Nothing: what is pooled is a quarter of a map or less."""
        return []

    def _store(
        self,
        sums: Sequence[Value],
        sources: tuple[list[Source], list[Source]],
        pixels: Sequence[Step],
        vector: int,
        count: int,
        overwrite: bool,
    ) -> None:
        b, pool, (inputs, behind) = self._b, self._pool, sources
        rows, cols = pool.window.kernel
        others, outputs = behind[: len(pool.inputs)], behind[len(pool.inputs) :]
        entries = dict(
            zip(pixels, self._applied(self._formula, sums, inputs, pixels, vector, count), strict=True)
        )
        corners = [(n, r, c) for n, r, c in pixels if r % rows == 0 and c % cols == 0]
        chosen = [
            largest(b, [entries[n, r + i, c + j] for i, j in pool.window.taps_column_major()])
            for n, r, c in corners
        ]
        steps = [(n, r // rows, c // cols) for n, r, c in corners]
        best = [value for value, _ in chosen]
        results = self._applied(self._pooled_formula, best, others, steps, vector, count)
        lanes = b.lanes if overwrite and self._whole else count
        for step, result, (_, which) in zip(steps, results, chosen, strict=True):
            b.store_lanes(result, outputs[0].at(step, vector), lanes)
            if pool.index is not None:
                index = narrow(b, which, pool.index.dtype)
                access.store_lanes(b, index, outputs[1].at(step, vector), pool.index.dtype, lanes)
