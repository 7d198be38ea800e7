"""What max and average pooling share: refusals, prices, the pixel behind a tap."""

from __future__ import annotations

from collections.abc import Sequence

from vecgrad.kernels import maps
from vecgrad.kernels.access import Block, Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.kernels.windows import Cells, Span, has_empty, inside, row
from vecgrad.spec.geometry import Window
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

# Taps (gathers: taps and pixels of a cell) that are written out; beyond, loops. About 6 instructions each
# keep such a body within a thousand, which compile in about 15 ms.
WRITTEN_OUT = 50
# A pixel of the rim, with its loops, costs about so many inner ones.
_RIM = 3


def refusal(
    g: Window, x: Layout, y: Layout, inputs: Sequence[Layout], output: Layout, empty: bool = False
) -> str | None:
    """Why pooling kernels cannot serve: ``x`` and ``y`` are the maps before and behind the windows, either
    of them the ``output`` with which the epilogue's ``inputs`` must agree. empty: windows may lie in the padding."""
    if x.shape != (*g.in_size, x.channels) or y.shape != (*g.out_size, x.channels):
        return f"windows from {g.in_size} to {g.out_size} do not join {x.shape} and {y.shape}"
    if x.dtype != y.dtype:
        return f"{x.dtype} and {y.dtype} do not mix"
    if not (x.batched and y.batched):
        return "both maps must be batched"
    if not empty and (has_empty(g.rows) or has_empty(g.cols)):
        return "a window holds no cell of the image"
    return maps.refusal(inputs, output)


def offer(
    kernel: str,
    machine: Machine,
    output: Layout,
    work: int,
    inner: float,
    reads: Sequence[Layout],
    writes: Sequence[Layout],
) -> Offer:
    """work: additions per entry of ``output``. inner: the share of its pixels that written-out code makes."""
    flops = work * output.height * output.width * output.channels
    read, written = maps.traffic(reads), maps.traffic(writes)
    slow = inner + _RIM * (1 - inner)
    seconds = predicted(machine, 2 * slow * flops, read + written, output.dtype)
    return Offer(kernel, flops, read, written, seconds, f"{inner:.0%} of the pixels without tests")


def inner_outputs(g: Window) -> float:
    """The share of outputs that are made by written-out code."""
    if g.taps > WRITTEN_OUT:
        return 0.0
    spans = inside(g.rows), inside(g.cols)
    return _area(*spans) / (g.out_size[0] * g.out_size[1])


def inner_inputs(g: Window, cells: tuple[Cells, Cells] | None) -> float:
    """The share of input pixels that are made by written-out code."""
    return _area(cells[0].rows, cells[1].rows) / (g.in_size[0] * g.in_size[1]) if cells else 0.0


def cells(g: Window, rows: Span, cols: Span) -> tuple[Cells, Cells] | None:
    """The cells of a gather from these outputs, or None where their code would be too long."""
    if g.taps + g.stride[0] * g.stride[1] > WRITTEN_OUT:
        return None
    return Cells(g.rows, rows), Cells(g.cols, cols)


def source(b: Builder, g: Window, p: Value, q: Value, r: Value, s: Value) -> Value:
    """The number of the input pixel that output (p, q) reads through tap (r, s)."""
    return b.add(b.mul(row(b, g.rows, p, r), g.cols.size), row(b, g.cols, q, s))


def total(b: Builder, terms: Sequence[Value]) -> Value:
    """The sum, from left to right; 0 of nothing."""
    result = terms[0] if terms else b.zero()
    for term in terms[1:]:
        result = b.fadd(result, term)
    return result


def store(formula: Formula, places: Sequence[Cursor], blocks: Sequence[Block], entry: Value) -> None:
    """The epilogue of one vector, stored: ``places`` stand at its pixel, the epilogue's inputs before the output."""
    *others, output = (c.over(blocks) for c in places)
    output.write(0, formula.write([entry, *(c.read(0) for c in others)])[0])


def _area(rows: Span, cols: Span) -> int:
    return (rows[1] - rows[0]) * (cols[1] - cols[0])
