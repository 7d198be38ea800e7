"""Thin convolutions by a sliding window of sums: packed weights, forward pass, data gradient."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec, WeightsSpec
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class SlideTile:
    """How a sliding window of sums is cut. Bits do not depend on it.

    rows: of outputs whose windows are held in registers. channels: of a block of outputs; a window is a kernel row of
    pixels of so many channels.
    """

    rows: int
    channels: int


@dataclass(frozen=True)
class SlidePackSpec(WeightsSpec):
    """Weights as a sliding window reads them. Operands: w (canonical), packed. Mode *tasks*, ``tasks`` of them.

    forward: [block of K][c][r][S − 1 − s][k of the block]; dx: [block of C][k][r][s][c of the block]. A row (s, channel) has
    ``width`` entries, zeros behind its own and where the last block has no channels.
    """

    width: int

    @property
    def block_entries(self) -> int:
        return self.inner * self.conv.window.rows.kernel * self.width


@dataclass(frozen=True)
class SlideSpec(KernelSpec):
    """(2.9) by a sliding window of sums, then the epilogue. Operands: x, packed weights, epilogue inputs, y.

    Column stride and dilation 1, one group. Every entry is one chain of multiply-adds from 0 over columns of x, then c,
    then rows of x, ascending; taps on padding are left out. A chunk is a range of images.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: SlideTile
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlideDxSpec(SlideSpec):
    """(2.30) by a sliding window of sums: ``input`` is dy's layout, ``output`` dx's. Any column stride; every entry is one
    chain over columns of dy, then k, then rows of dy; the rest as in SlideSpec."""
