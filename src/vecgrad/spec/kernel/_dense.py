"""Dense layers with many weights: forward pass and data gradient that read the weights as they are."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class DenseTile:
    """How a product of matrices is cut. Bits do not depend on it.

    vectors × images: the register tile. chunk: channels that are summed over before the next tile has its turn; their weights
    for a block of ``vectors`` stay in the first-level cache meanwhile.
    """

    vectors: int
    images: int
    chunk: int


@dataclass(frozen=True)
class DenseSpec(KernelSpec):
    """(2.9) of a 1 × 1 convolution of one pixel, then the epilogue. Operands: x, w (canonical: C × K), epilogue inputs, y.

    Every entry is the chains of ConvSpec's dense layers. Mode *tasks*: task b computes block b of ``tile.vectors``
    vectors of channels for all n = scalars[0] images, ``images`` at most.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: DenseTile
    images: int
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()

    @property
    def inner(self) -> int:
        """Channels that are summed over."""
        return self.conv.channels_in

    @property
    def outer(self) -> int:
        """Channels that are written."""
        return self.conv.channels_out


@dataclass(frozen=True)
class DenseDxSpec(DenseSpec):
    """(2.30) of the same: ``input`` is dy's layout, ``output`` dx's, sums go over k; the rest as in DenseSpec."""

    @property
    def inner(self) -> int:
        return self.conv.channels_out

    @property
    def outer(self) -> int:
        return self.conv.channels_in
