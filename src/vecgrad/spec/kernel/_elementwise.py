"""Elementwise kernels, sums and copies: maps, update rules, reductions; and the loop that measures the peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vecgrad.spec.kernel._base import KernelSpec, WeightBlocks
from vecgrad.spec.scalar import Expr
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class MapSpec(KernelSpec):
    """outputs[i] = exprs[i](inputs) at each entry of an H × W × C map. Operands: inputs, then outputs.

    Inputs may be batched with C or 1 channels and (H, W) or (1, 1) pixels, or not batched with
    C or 1 channels and (1, 1) pixels. Outputs are batched (H, W, C) and may be the memory of an
    input of the same layout. ``scalars`` names the runtime scalars, in the order of their entries.
    """

    exprs: tuple[Expr, ...]
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]
    scalars: tuple[str, ...] = ()


# A record of the table that flat kernels read: so many 64-bit integers (see FlatMapSpec).
RECORD_FIELDS = 9
RECORD_BYTES = 8 * RECORD_FIELDS


@dataclass(frozen=True)
class FlatMapSpec(KernelSpec):
    """An update rule over the flat parameter arrays: array operands of one dtype, entry by entry.

    Operands: table, then ``inputs`` input arrays, then one output array for each expr (which may be an
    input's memory), then, if any are ``measured``, an array of so many numbers: the scalars "measured.0", "measured.1", ….
    A task (mode *tasks*) is record number ``begin`` of the table of 64-bit integers
    (source, slab stride, slabs, destination, length, parameter, update length, rate, decay), offsets in entries: it covers
    entries parameter … parameter + update length − 1 of every array but input number ``gradient`` (None: there is none),
    which lies at destination … in memory of its own. rate and decay are the bits of float64: the scalars "group.rate" and
    "group.decay" there.

    blocks: tasks are the blocks of the parameter at record number 0 of the table; the gradient's operand is the block on its own.
    """

    exprs: tuple[Expr, ...]
    inputs: int
    gradient: int | None
    dtype: str = "float32"
    scalars: tuple[str, ...] = ()
    measured: int = 0
    blocks: WeightBlocks | None = None


@dataclass(frozen=True)
class FlatSumSpec(KernelSpec):
    """Sums over the flat arrays, gaps between parameters (zeros) included, cut into blocks of ``block`` entries.

    Operands: ``inputs`` arrays of ``entries`` entries (a multiple of 16), partials. Task t leaves in partials[k · stride + t] the
    sum of exprs[k] over its block, added up as in ReduceChannelsSpec.
    """

    exprs: tuple[Expr, ...]
    inputs: int
    entries: int
    block: int
    stride: int
    dtype: str = "float32"
    scalars: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        return -(-self.entries // self.block)


@dataclass(frozen=True)
class FlatMeasureSpec(KernelSpec):
    """numbers[i] = exprs[i](the sums of FlatSumSpec), each over ``partials`` partials. Operands: partials, numbers. One task."""

    exprs: tuple[Expr, ...]
    sums: int
    partials: int
    stride: int
    dtype: str = "float32"
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlabSumSpec(KernelSpec):
    """Partial sums meet: destination[i] = pairwise sum over ``slabs`` of source[slab · stride + i].

    Operands: table (as in FlatMapSpec), slabs, destination. The number of slabs is 1, 2, 4, 8 or 16;
    the tree is ((0+1)+(2+3))+((4+5)+(6+7))…
    """

    dtype: str = "float32"


@dataclass(frozen=True)
class ReduceChannelsSpec(KernelSpec):
    """output (H, W, 1) = sum or max over the channels of expr(inputs). Operands: inputs, output.

    Sums fold a virtual vector of 16 lanes (float64: 8): lane l adds channels l, l + 16, …, then halves fold onto
    halves; so the bits do not depend on the machine. Inputs as in MapSpec.
    """

    how: Literal["sum", "max"]
    expr: Expr
    inputs: tuple[Layout, ...]
    output: Layout
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReducePixelsSpec(KernelSpec):
    """For each of ``exprs`` slab (C) = sum over the chunk's images and their pixels, in that order, of expr(inputs).

    Operands: inputs, slabs (compact, C entries each, the chunk's own; written even for an empty chunk).
    """

    exprs: tuple[Expr, ...]
    inputs: tuple[Layout, ...]
    channels: int
    dtype: str = "float32"
    scalars: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the map that is reduced."""
        batched = [(layout.height, layout.width) for layout in self.inputs if layout.batched]
        return max(batched, key=lambda size: size[0] * size[1], default=(1, 1))


@dataclass(frozen=True)
class MomentsSpec(KernelSpec):
    """What a chunk of images knows of each channel's mean and variance, over its images, weighted, and their pixels.

    Operands: x, weight (one number per image), partial (compact, the chunk's own; written even for an empty chunk): the means,
    the sums of w (x − mean)², and N = Σ w · H · W, which makes 2 C + 1 entries.
    """

    input: Layout


@dataclass(frozen=True)
class MergeMomentsSpec(KernelSpec):
    """mean (C) and variance (C) of all images from ``partials`` of MomentsSpec, ``stride`` entries apart.

    Operands: partials, mean, variance. One task. Pairs are merged as in SlabSumSpec's tree; with N = 0 both are 0.
    """

    channels: int
    partials: int
    stride: int
    dtype: str = "float32"


@dataclass(frozen=True)
class KeepSpec(KernelSpec):
    """output (uint8): 1 where the entry's word of ``vecgrad.spec.random.kept`` is at least ``threshold``, else 0.

    Operands: output. Images are numbered from ``begin`` on. scalars: among them "mask_step", "seed_low" and "seed_high".
    """

    output: Layout
    mask: int
    threshold: int
    scalars: tuple[str, ...]


@dataclass(frozen=True)
class CopyChannelsSpec(KernelSpec):
    """``channels`` channels of each pixel, from ``first_in`` on, to those from ``first_out`` on. Operands: input, output.

    The output's other channels stay as they are.
    """

    input: Layout
    output: Layout
    first_in: int
    first_out: int
    channels: int


@dataclass(frozen=True)
class CopySpec(KernelSpec):
    """The same entries in C order (h, w, c) with another pitch or cut into other pixels. Operands: input, output."""

    input: Layout
    output: Layout


@dataclass(frozen=True)
class PeakSpec(KernelSpec):
    """The ruler: ``turns`` turns of 12 independent chains of vector multiply-adds, in registers only.

    Operands: a block of 1024 bytes, read before and written after the loop.
    """

    turns: int
    dtype: str = "float32"
