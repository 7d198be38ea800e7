"""What the direct convolution's generator needs to know about a spec, and how pixels are cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vecgrad.kernels._frame import Frame
from vecgrad.kernels._rim import exact
from vecgrad.kernels.taps import GatherAxis, gather_axes
from vecgrad.spec.geometry import window
from vecgrad.spec.kernel import ConvDxSpec, ConvSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine

GatherSpec = ConvSpec | ConvDxSpec


@dataclass(frozen=True)
class Gather:
    """A spec in the words that both directions share: what is read, what is written, by which taps."""

    spec: GatherSpec
    machine: Machine
    rows: GatherAxis
    cols: GatherAxis
    channels_in: int
    channels_out: int

    @property
    def groups(self) -> int:
        return self.spec.conv.groups

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.output.dtype]

    @property
    def block(self) -> int:
        """Output channels of a block."""
        return self.spec.tile.vectors * self.machine.lanes(self.spec.output.dtype)

    @property
    def blocks(self) -> int:
        """Blocks in a group."""
        return -(-self.channels_out // self.block)

    @property
    def row_block(self) -> int:
        return min(self.spec.tile.row_block, self.rows.count)

    @property
    def weights_first(self) -> bool:
        """Whether one block of weights meets all images before the next one does: in tasks of blocks, and where the
        weights are too large for L2 to hold them for the next image. Then rows are staged for every block."""
        nbytes = self.spec.conv.window.taps * self.channels_in * self.blocks * self.block * self.item
        if self.spec.mode != "images":
            return self.spec.mode == "blocks"
        return nbytes * self.groups > self.machine.l2 // 2

    @property
    def staged(self) -> bool:
        """Whether inputs are copied: not where no output reads padding or, if the tile says so, no product with it is left."""
        if self.rows.inside and self.cols.inside:
            return False
        high = self.row_block if self.row_block < self.rows.count else 0
        return self.spec.tile.staged or not exact(self.rows, self.cols, self.spec.tile.rows, high)

    def together(self, images: int) -> Gather:
        """The same of ``images`` images whose pixels are one row."""
        pixels = window((1, images * self.rows.count * self.cols.count), 1)
        rows, cols = gather_axes(pixels, "forward")
        return replace(self, rows=rows, cols=cols)

    @property
    def frame(self) -> Frame:
        channels = self.channels_in if self.weights_first else self.channels_in * self.groups
        return Frame(
            self.rows,
            self.cols,
            self.spec.input,
            channels,
            self.spec.tile.images,
            self.row_block,
            self.staged,
        )


def gather(spec: GatherSpec, machine: Machine) -> Gather:
    """``spec`` as a gather. channels_in and channels_out count one group's, on the side read and written."""
    conv = spec.conv
    rows, cols = gather_axes(conv.window, "forward" if isinstance(spec, ConvSpec) else "dx")
    if spec.epilogue.pool is not None:
        down, right = spec.epilogue.pool.covered
        rows, cols = rows.only(down), cols.only(right)
    c, k = conv.channels_in // conv.groups, conv.channels_out // conv.groups
    return Gather(spec, machine, rows, cols, *((c, k) if isinstance(spec, ConvSpec) else (k, c)))


def balanced(count: int, most: int, unit: int = 1) -> list[tuple[int, int, int]]:
    """``count`` pixels in the fewest tiles of at most ``most``, as equal as can be in whole units: (first, end, width) of
    each run.

    >>> balanced(32, 6), balanced(8, 8), balanced(10, 6, 2)
    ([(0, 12, 6), (12, 32, 5)], [(0, 8, 8)], [(0, 6, 6), (6, 10, 4)])
    """
    if unit > 1:
        return [(a * unit, b * unit, n * unit) for a, b, n in balanced(count // unit, most // unit)]
    tiles = -(-count // most)
    wide = -(-count // tiles)
    end = (count - tiles * (wide - 1)) * wide
    return [(0, end, wide), (end, count, wide - 1)] if end < count else [(0, end, wide)]


def image_tiles(images: int) -> list[int]:
    """Image counts of the tiles that share a batch among them, largest first: the last takes one image each.

    >>> image_tiles(12), image_tiles(1)
    ([12, 4, 1], [1])
    """
    return sorted({images, max(images // 3, 1), 1}, reverse=True)
