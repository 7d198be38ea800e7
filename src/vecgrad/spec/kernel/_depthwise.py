"""Depthwise convolutions, each channel with a filter of its own: forward pass and data gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec, Prologue
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class DepthwiseTile:
    """How a depthwise convolution is cut. Bits do not depend on it.

    rows × cols: neighbouring outputs whose sums are held in registers, for a vector of channels. held: so are all weights;
    otherwise those of one kernel row after the other, for a single row of outputs.
    """

    rows: int
    cols: int
    held: bool


@dataclass(frozen=True)
class DepthwiseSpec(KernelSpec):
    """(2.9) with as many groups as channels read and written, then the epilogue. Operands: x, the prologue's vectors,
    w (canonical: R × S × 1 × C), epilogue inputs, y.

    Every entry is one chain of multiply-adds from 0 over r, then s, ascending; taps on padding are left out. A chunk is a
    range of images.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: DepthwiseTile
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()
    prologue: Prologue | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class DepthwiseDxSpec(DepthwiseSpec):
    """(2.30) of the same: ``input`` is dy's layout, ``output`` dx's, chains go over p, then q; the rest as in DepthwiseSpec."""
