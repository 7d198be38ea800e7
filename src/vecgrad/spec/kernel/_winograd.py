"""Winograd's convolutions, F(4 × 4, 3 × 3): transformed weights, forward pass, data gradient, weight gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import (
    PLAIN,
    Epilogue,
    KernelSpec,
    Prologue,
    Unpooling,
    WeightGradientSpec,
    WeightsSpec,
)
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class WinogradTile:
    """How Winograd's F(4 × 4, 3 × 3) is cut. Bits do not depend on it.

    vectors × scalars: the register tile of its 36 products (vectors of channels written; image tiles, or for a weight
    gradient input channels). block: image tiles that are transformed, multiplied and transformed back together.
    """

    vectors: int
    scalars: int
    block: int


@dataclass(frozen=True)
class WinogradPackSpec(WeightsSpec):
    """G w Gᵀ for a Winograd kernel's tiles. Operands: w (canonical), packed. Mode *tasks*, ``tasks`` of them.

    forward: [block of K][6 · i + j][c][block]; dx: [block of C][6 · i + j][k][block] of the weights turned by half. The
    36 planes of a block lie ``plane`` entries apart. Channels beyond the last one are zeros.
    """

    @property
    def plane(self) -> int:
        """Entries from a plane to the next: a line more than it has, so that planes share no cache sets."""
        return self.inner * self.block + 16

    @property
    def block_entries(self) -> int:
        return 36 * self.plane


@dataclass(frozen=True)
class WinogradSpec(KernelSpec):
    """(2.9) by F(4 × 4, 3 × 3), then the epilogue. Operands: x, the prologue's vectors, packed weights, epilogue inputs, y.

    Every one of the 36 products of a 4 × 4 tile of outputs is one chain of multiply-adds from 0 over c ascending; a tile
    begins at every fourth row and column of y. mode *images*: a chunk is a range of images. mode *blocks* (a tasks
    phase): task i · parts + p computes part p of the blocks of channels for image group i, images
    [i · images_per_group, (i + 1) · images_per_group) of the n = scalars[0] given. mode *tiles* (a tasks phase): task t
    computes image tiles [t · block, (t + 1) · block) of those of all n images.

    chunk: 0, or, in mode *blocks*, the weights are w itself (canonical): of so many channels at a time that are summed over, the
    weights of a task go into the domain and meet ``together`` image tiles, and are never stored there. Every
    part has channels then. Bits do not depend on it.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: WinogradTile
    mode: Literal["images", "blocks", "tiles"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    parts: int = 1
    chunk: int = 0
    together: int = 0
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()
    unpool: Unpooling | None = None
    prologue: Prologue | None = field(default=None, kw_only=True)

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.parts


@dataclass(frozen=True)
class WinogradDxSpec(WinogradSpec):
    """(2.30) by F(4 × 4, 3 × 3): ``input`` is dy's layout, ``output`` dx's, sums go over k; the rest as in WinogradSpec.

    With ``unpool`` operands are its dy and index in the place of dy.
    """


@dataclass(frozen=True)
class WinogradDwSpec(WeightGradientSpec):
    """(2.21) by F(4 × 4, 3 × 3). Operands: x, the prologue's vectors, dy, slab (canonical (3, 3, C, K), written completely, even
    for no images).

    Every one of the 36 sums of a pair of channels is one chain over tiles: images, then rows, then columns of tiles.
    Modes, tasks and own as in ConvDwSpec; k_block and c_block are the channels of a task, whose output channels come in ``turns``
    where its tiles are one block: x stays in the domain for all of them. With ``unpool`` operands are its dy and index in the
    place of dy. Behind the slab are operands (R, S, C, K), ``fetched`` of them, of which a task with its own block
    brings that block near, to be written next; nothing else depends on them.
    """

    tile: WinogradTile
    k_block: int
    c_block: int
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    slab_stride: int = 0
    unpool: Unpooling | None = None
    fetched: int = 0
    turns: int = 1

    @property
    def block(self) -> tuple[int, int]:
        return self.c_block, self.k_block

    @property
    def filters(self) -> int:
        """Output channels of a turn."""
        return self.k_block // self.turns

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.k_blocks * self.c_blocks
