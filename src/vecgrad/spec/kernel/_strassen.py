"""1 × 1 convolutions by Strassen's algorithm in Winograd's form: seven products of quadrants for eight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec, Prologue, WeightsSpec
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class StrassenTile:
    """How Strassen's products are cut. Bits do not depend on it.

    vectors × scalars: the register tile, of vectors of channels of one half by pairs of pixels. block: pairs whose sums of
    inputs are made together.
    """

    vectors: int
    scalars: int
    block: int


@dataclass(frozen=True)
class StrassenPackSpec(WeightsSpec):
    """Weights' quadrants and their sums, in the order in which a register tile meets them. Operands: w (canonical), packed.

    With W (forward) or Wᵀ (dx) in quadrants: [block of half the columns][plane][row of a half][block], and the planes
    W₁₁, W₂₁, W₂₂ − T, W₂₂ − W₁₂, W₂₁ − (W₂₂ − T), T, W₂₂ with T = W₁₂ − W₁₁. Mode *tasks*, ``tasks`` of them.
    """

    @property
    def blocks(self) -> int:
        return self.outer // 2 // self.block

    @property
    def plane(self) -> int:
        """Entries from a plane to the next."""
        return self.inner // 2 * self.block

    @property
    def block_entries(self) -> int:
        return 7 * self.plane


@dataclass(frozen=True)
class StrassenSpec(KernelSpec):
    """(2.9) of a 1 × 1 kernel by seven products for eight, then the epilogue. Operands: x, the prologue's vectors, packed weights,
    epilogue inputs, y.

    Pixels 2i and 2i + 1 of an image, in the order in which they lie, are a pair; the first ones, the second ones and the
    halves of the channels make the quadrants. Every product is one chain of multiply-adds over channels, ascending, from 0
    or from the sum that it is added to (``reference.strassen`` has their order). mode *images*: a chunk is a range of
    images. mode *blocks* (a tasks phase): task i · parts + p computes part p of the blocks of channels for image group i,
    images [i · images_per_group, (i + 1) · images_per_group) of the n = scalars[0] given.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: StrassenTile
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    parts: int = 1
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()
    prologue: Prologue | None = field(default=None, kw_only=True)

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.parts


@dataclass(frozen=True)
class StrassenDxSpec(StrassenSpec):
    """(2.30) of a 1 × 1 kernel: ``input`` is dy's layout, ``output`` dx's, sums go over k; the rest as in StrassenSpec."""
