"""What the direct weight gradient's generator needs to know about a spec."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels._frame import Frame
from vecgrad.kernels.taps import GatherAxis, gather_axes
from vecgrad.spec.kernel import ConvDwSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout

# Pixels of x or dy this many bytes apart share few cache sets: worth a compact copy. At a quarter of it a copy of dy is worth its
# price where each of its vectors has so many products.
_FAR, _PRODUCTS = 1024, 64
# Rows of products must shrink to this part of all where those with padding are left out.
_FEWER = 0.97


def far_apart(input: Layout, c_block: int) -> bool:
    """Whether a block of x's channels lies in pixels so far apart that they share few cache sets."""
    return input.pitch * ITEM_BYTES[input.dtype] >= _FAR and c_block < input.pitch


@dataclass(frozen=True)
class DwShape:
    """A spec on a machine: its axes, what is copied, where it lies in scratch."""

    spec: ConvDwSpec
    machine: Machine
    rows: GatherAxis
    cols: GatherAxis

    @classmethod
    def of(cls, spec: ConvDwSpec, machine: Machine) -> DwShape:
        return cls(spec, machine, *gather_axes(spec.conv.window, "forward"))

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.spec.dy.dtype)

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.dy.dtype]

    @property
    def channels(self) -> int:
        """Input channels of a group."""
        return self.spec.conv.channels_in // self.spec.conv.groups

    @property
    def filters(self) -> int:
        """Output channels of a group."""
        return self.spec.conv.channels_out // self.spec.conv.groups

    @property
    def straight(self) -> int:
        """Output channels of a group that are lanes."""
        return self.filters - self.spec.tile.turned

    @property
    def k_tile(self) -> int:
        return self.spec.tile.vectors * self.lanes

    @property
    def k_tiles(self) -> int:
        """Of a group, the last one's remainder included."""
        return -(-self.straight // self.k_tile)

    @property
    def tiles_per_block(self) -> int:
        return self.spec.tile.k_block // self.k_tile

    @property
    def row_block(self) -> int:
        return min(self.spec.tile.row_block, self.rows.count)

    @property
    def images(self) -> int:
        """Images of a block of rows: several only where it is the whole image, else their rows would come before
        the first one's last."""
        return self.spec.tile.images if self.row_block == self.rows.count else 1

    @property
    def x_staged(self) -> bool:
        """Copied where there is padding, or where pixels of which only some channels are wanted lie far apart and are read
        again, by several taps or for a task's other tiles of k."""
        if not (self.rows.inside and self.cols.inside):
            return True
        again = self.spec.conv.window.taps > 1 or self.spec.mode == "blocks"
        return again and far_apart(self.spec.input, self.spec.tile.c_block)

    def rows_met(self, first: int, count: int) -> tuple[int, int]:
        """The rows of dy, first and end, that meet rows of the image through kernel rows ``first`` … first + count − 1."""
        axis = self.spec.conv.window.rows
        low = -(-(axis.before - axis.dilation * (first + count - 1)) // axis.stride)
        end = (axis.size - 1 + axis.before - axis.dilation * first) // axis.stride + 1
        low = min(max(low, 0), axis.out)
        return low, min(max(end, low), axis.out)

    @property
    def leaves_out(self) -> bool:
        """Whether enough of a tile's rows meet padding alone for a count that is known at run time only."""
        kernel, most = self.spec.conv.window.rows.kernel, self.spec.tile.rows
        tiles = [(r, min(most, kernel - r)) for r in range(0, kernel, most)]
        met = sum(tr * (end - low) for r, tr in tiles for low, end in (self.rows_met(r, tr),))
        return met < _FEWER * kernel * self.rows.count

    def frame(self, channels: int) -> Frame:
        """The rows of x that a block of dy's rows meets."""
        return Frame(
            self.rows, self.cols, self.spec.input, channels, self.images, self.row_block, self.x_staged
        )

    @property
    def frame_bytes(self) -> int:
        """Of x, and a vector that may reach beyond it."""
        found = self.frame(min(self.spec.tile.c_block, self.channels)).scratch_bytes
        return found + self.lanes * self.item if found and self.spec.tile.turned else found

    @property
    def dy_staged(self) -> bool:
        """Copied where whole vectors of k cannot be read in place, or lie far apart."""
        dy = self.spec.dy
        last = self.spec.conv.channels_out - self.filters + -(-self.straight // self.lanes) * self.lanes
        many = self.spec.conv.window.taps * min(self.spec.tile.c_block, self.channels) >= _PRODUCTS
        far = self.k_tile < dy.pitch and dy.pitch * self.item >= (_FAR // 4 if many else _FAR)
        return last > dy.pitch or far

    def dy_passes(self, count: int) -> bool:
        """Whether the copy of ``count`` output channels is made by the first tile that reads them.

        A copy costs as much as the products of some channels with a single tap; its loads are then hidden behind products.
        """
        one = self.spec.conv.window.taps == 1 and not self.leaves_out
        return self.dy_staged and one and count % self.lanes == 0

    @property
    def dy_bytes(self) -> int:
        if not self.dy_staged:
            return 0
        return self.images * self.row_block * self.cols.count * self.k_tile * self.item

    @property
    def turned_line(self) -> int:
        """Entries of a block of input channels in whole vectors."""
        return -(-min(self.spec.tile.c_block, self.channels) // self.lanes) * self.lanes

    @property
    def turned_block(self) -> int:
        """Bytes of the sums of a block's turned filters: taps × filters × input channels."""
        return self.spec.conv.window.taps * self.spec.tile.turned * self.turned_line * self.item

    @property
    def places(self) -> tuple[int, int, int]:
        """Where dy and the sums of turned filters lie in scratch, behind x, and its end."""
        dy, sums = self.frame_bytes, self.frame_bytes + self.dy_bytes
        blocks = self.spec.c_blocks if self.spec.mode == "images" else 1
        return dy, sums, sums + blocks * self.turned_block
