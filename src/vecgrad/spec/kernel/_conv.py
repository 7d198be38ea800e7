"""Direct convolutions: packed weights, forward pass, data gradient, weight gradient; and how each is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec, WeightGradientSpec, WeightsSpec
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class Tile:
    """How a convolution cuts its outputs. Bits do not depend on it.

    vectors: vectors of output channels held in registers; images × rows × cols: the pixels held with them
    (a row's remainder is spread over its tiles). row_block: rows whose inputs are staged together.
    share: neighbouring kernel columns whose weights are held too, so that they share loads of inputs.
    staged: whether inputs are copied with the padding around them. If not, tiles have one row or all of them.
    joined: the pixels of ``images`` images are one row, of which a tile holds ``cols``, wherever an image ends.
    """

    vectors: int
    images: int = 1
    rows: int = 1
    cols: int = 1
    row_block: int = 1
    share: int = 1
    staged: bool = True
    joined: bool = False


@dataclass(frozen=True)
class PackSpec(WeightsSpec):
    """Weights in the order in which a convolution's tiles read them. Operands: w (canonical), packed.

    forward: [group][block of K][r][c][s][block]; dx: [group][block of C][R − 1 − r][k][S − 1 − s][block].
    The last block of a group is filled with zeros. Mode *tasks*, ``tasks`` of them.
    """

    @property
    def block_entries(self) -> int:
        return self.conv.window.taps * self.inner * self.block


# Channels of a dense layer that are summed up before the sum so far takes them in: rounding errors grow with the length of a chain.
SECTION = 128


@dataclass(frozen=True)
class ConvSpec(KernelSpec):
    """(2.9), then the epilogue. Operands: x, packed weights, epilogue inputs, y. ``output`` is y's layout, also where the
    epilogue pools y.

    Every entry is one chain of multiply-adds from 0 over r, c, s ascending; in a dense layer one chain for every ``SECTION``
    channels, and from 0 the sum of these, ascending. mode *images*: a chunk is a
    range of images. mode *blocks* (a tasks phase of groups · blocks tasks): task g · blocks + b computes
    block b of group g for all n = scalars[0] images. mode *rows* (a tasks phase): task i · row-blocks + j computes block j
    of ``tile.row_block`` rows of image i, if there are so many images; tiles of one image only.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: Tile
    mode: Literal["images", "blocks", "rows"] = "images"
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvDxSpec(KernelSpec):
    """(2.30), then the epilogue. Operands: dy, weights packed for dx, epilogue inputs, dx.

    ``input`` is dy's layout, ``output`` dx's; the rest as in ConvSpec. Every entry is one chain over p,
    k, q ascending, in sections of k where the layer is dense.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: Tile
    mode: Literal["images", "blocks", "rows"] = "images"
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class DwTile:
    """How a weight gradient is cut. Bits do not depend on it.

    vectors: vectors of k held in registers; rows × cols × channels: kernel rows, kernel columns and input
    channels held with them. images × row_block: rows of dy that are summed while a tile stays in
    registers. k_block, c_block: channels of a task, and of what is staged. share: neighbouring pixels whose dy
    is held too, so that they share loads of x. rowwise: lanes are (kernel column, filter) of a kernel row instead of
    filters; then mode *images*, one group, columns side by side, and cols, images and share are 1. turned: the last filters (of one
    group) whose lanes are input channels instead: they would fill little of a vector.
    """

    vectors: int
    rows: int
    cols: int
    channels: int
    row_block: int
    images: int = 1
    k_block: int = 64
    c_block: int = 64
    share: int = 1
    rowwise: bool = False
    turned: int = 0


@dataclass(frozen=True)
class ConvDwSpec(WeightGradientSpec):
    """(2.21). Operands: x, the prologue's vectors, dy, slab (canonical (R, S, C / groups, K), written completely, even for no
    images).

    Every entry is one chain over images, rows and columns ascending; with ``sections`` every block of rows
    (``tile.row_block`` of ``tile.images`` images, which are then part of the bits) is one from 0, and these are added in
    their order. mode *images*: a chunk is a range of images, with its own slab. mode *blocks*: task
    ((i · groups + g) · k-blocks + kb) · c-blocks + cb computes that block from image group i, images
    [i · images_per_group, (i + 1) · images_per_group) of the n = scalars[0] given, into the slab that lies
    i · slab_stride entries behind the operand. own: the operand is the task's own block instead, (R, S, c_block, k_block),
    of one group of all images and channels.
    """

    tile: DwTile
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    slab_stride: int = 0
    sections: bool = False

    @property
    def block(self) -> tuple[int, int]:
        return self.tile.c_block, self.tile.k_block

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.conv.groups * self.k_blocks * self.c_blocks
