"""What a kernel of Winograd's forward pass or data gradient reads, writes and keeps in scratch."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels import _winograd_steps as steps
from vecgrad.kernels._prologue_patches import ProloguePatches
from vecgrad.kernels._unpooled import UnpooledPatches
from vecgrad.kernels._winograd_grid import Grid, Needed
from vecgrad.kernels._winograd_tiles import Domain, Patches, apart
from vecgrad.spec.kernel import WinogradDxSpec, WinogradPackSpec, WinogradSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.winograd import INPUTS, OUTPUTS, TAPS

_LINE = 64


@dataclass(frozen=True)
class Shape:
    """What the generator needs to know about a spec: what is read, what is written, where scratch lies."""

    spec: WinogradSpec
    machine: Machine

    @property
    def forward(self) -> bool:
        return not isinstance(self.spec, WinogradDxSpec)

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.output.dtype]

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.spec.output.dtype)

    @property
    def pack(self) -> WinogradPackSpec:
        """The order of the weights."""
        return WinogradPackSpec(
            self.spec.conv, "forward" if self.forward else "dx", self.spec.tile.vectors * self.lanes
        )

    @property
    def vectors(self) -> int:
        """Vectors of output channels."""
        return -(-self.pack.outer // self.lanes)

    @property
    def grid(self) -> Grid:
        return Grid(self.spec.output.height, self.spec.output.width)

    @property
    def needed(self) -> Needed:
        """The number at infinity is part of a row's (column's) fourth output alone."""
        return Needed(self.grid)

    @property
    def patches(self) -> Patches:
        """Row i of a data gradient reads rows i + before − 2 … i + before of dy (2.30): it is padded by 2 − before."""
        window = self.spec.conv.window
        before = [
            axis.before if self.forward else TAPS - 1 - axis.before for axis in (window.rows, window.cols)
        ]
        place = (self.spec.input, self.grid, INPUTS, -before[0], -before[1])
        if self.spec.prologue is not None:
            return ProloguePatches(*place, steps.inputs, self.pack.inner, self.item, self.spec.prologue)
        return UnpooledPatches(*place, steps.inputs, self.pack.inner, self.item, self.spec.unpool)

    @property
    def streamed(self) -> bool:
        """Whether the weights take more than half of the second-level cache, whose other half is the tiles'."""
        return self.pack.entries * self.item > self.machine.l2 // 2

    @property
    def blocks_together(self) -> int:
        """Blocks of weights that a plane's inputs meet before the next plane's turn.

        All of them, so that inputs come from far away once and not for each block, unless the products then take more room
        than the inputs: these stay for every block, and the products of one at a time lie beside them.
        """
        return self.pack.blocks if self.pack.outer <= self.pack.inner else 1

    @property
    def in_place(self) -> bool:
        """Whether a plane's products may lie where the inputs of the plane before were."""
        return self.blocks_together == self.pack.blocks

    @property
    def inputs(self) -> Domain:
        return Domain(self.spec.tile.block, self.pack.inner, self.item, self._plane)

    @property
    def products(self) -> Domain:
        return Domain(self.spec.tile.block, self.blocks_together * self.pack.block, self.item, self._plane)

    @property
    def _plane(self) -> int:
        """From a plane to the next, of products that lie in place of inputs."""
        channels = max(self.pack.inner, self.pack.blocks * self.pack.block)
        return Domain(self.spec.tile.block, channels, self.item).plane if self.in_place else 0

    @property
    def places(self) -> tuple[int, ...]:
        """Where in scratch lie: the patches' memory, products, inputs, columns between passes; then the end."""
        sizes = (
            self.patches.scratch_bytes,
            self._plane if self.in_place else self.products.nbytes,
            self.inputs.nbytes,
            OUTPUTS * INPUTS * _LINE,
        )
        places = [0]
        for size in sizes:
            places.append(places[-1] + apart(size))
        return tuple(places)
