"""What all specifications share: their names, and what happens to an entry before it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Literal

from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr, Operand
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class KernelSpec:
    """Base of all specifications."""

    @property
    def kind(self) -> str:
        """The operation's short name: conv, map, max_pool, …"""
        name = type(self).__name__.removesuffix("Spec")
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")

    @property
    def name(self) -> str:
        """A symbol name that is the same for equal specs, on every run."""
        text = ";".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{self.kind}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Pooling:
    """Max pooling (4.2) of a map that is never stored, as MaxPoolSpec has it, then ``expr`` of Operand(0), a window's largest
    entry, and of Operand(1…), the entries of ``inputs`` at the same place of ``output``.

    The windows lie side by side within the map (stride = kernel, no padding). index: None where nobody reads it.
    """

    window: Window
    output: Layout
    index: Layout | None
    expr: Expr = Operand(0)  # noqa: RUF009 - frozen
    inputs: tuple[Layout, ...] = ()

    @property
    def covered(self) -> tuple[int, int]:
        """Rows and columns of the map that windows cover."""
        rows, cols = self.window.rows, self.window.cols
        return rows.out * rows.kernel, cols.out * cols.kernel

    @property
    def outputs(self) -> tuple[Layout, ...]:
        return (self.output,) if self.index is None else (self.output, self.index)


@dataclass(frozen=True)
class Unpooling:
    """A gradient that is un-pooled (4.5) where it is read and never stored: the pooled one and the index of its windows, which lie
    side by side as in ``Pooling``."""

    window: Window
    dy: Layout
    index: Layout

    @property
    def nbytes(self) -> int:
        """What is read for each image."""
        return self.dy.nbytes + self.index.nbytes


@dataclass(frozen=True)
class Prologue:
    """What happens to each entry of a kernel's map as it is read: ``expr`` of Operand(0), the entry itself, and of Operand(1…), the
    entries of ``vectors``, per-channel vectors (1, 1, C), at the same channel.

    The map that it makes is never stored; padding is zeros of that map. The vectors follow the map among the kernel's operands.
    """

    expr: Expr
    vectors: tuple[Layout, ...]


@dataclass(frozen=True)
class Epilogue:
    """What happens to each entry before it is stored: ``expr`` of Operand(0), the entry itself, and of
    Operand(1…), the entries of ``inputs`` at the same place.

    An input is batched with the output's (H, W) and C or 1 channels, or not batched: a per-channel
    vector (1, 1, C) or a single number (1, 1, 1). With a ``pool``, which convolutions take, entries are not stored but
    pooled: operands are then ``inputs``, the pooling's inputs, its output and its index.
    """

    expr: Expr = Operand(0)  # noqa: RUF009 - frozen
    inputs: tuple[Layout, ...] = ()
    pool: Pooling | None = None

    @property
    def trivial(self) -> bool:
        return self.expr == Operand(0) and self.pool is None

    @property
    def unit(self) -> tuple[int, int]:
        """Rows and columns of entries that are stored together: those of a pooling's window."""
        return self.pool.window.kernel if self.pool else (1, 1)

    def covered(self, output: Layout) -> tuple[int, int]:
        """Rows and columns of the map ``output`` that something is stored from."""
        return self.pool.covered if self.pool else (output.height, output.width)

    def traffic(self, output: Layout) -> tuple[int, int]:
        """(bytes read, bytes written) for each image, with ``output`` what the entries make."""
        inputs = self.inputs + (self.pool.inputs if self.pool else ())
        outputs = self.pool.outputs if self.pool else (output,)
        return sum(i.nbytes for i in inputs if i.batched), sum(o.nbytes for o in outputs)


# Nothing happens: the default wherever an epilogue may be given.
PLAIN = Epilogue()


@dataclass(frozen=True)
class WeightsSpec(KernelSpec):
    """Base of what puts weights into the order in which a convolution reads them, block by block of the channels it writes.

    block: channels of a block; the last one of a group is filled with zeros. Mode *tasks*, ``tasks`` of them.
    """

    conv: Conv
    direction: Literal["forward", "dx"]
    block: int
    tasks: int = field(default=1, kw_only=True)
    dtype: str = field(default="float32", kw_only=True)

    @property
    def inner(self) -> int:
        """Channels of a group that are summed over."""
        channels = self.conv.channels_in if self.direction == "forward" else self.conv.channels_out
        return channels // self.conv.groups

    @property
    def outer(self) -> int:
        """Channels of a group that are written."""
        channels = self.conv.channels_out if self.direction == "forward" else self.conv.channels_in
        return channels // self.conv.groups

    @property
    def blocks(self) -> int:
        """Blocks of a group."""
        return -(-self.outer // self.block)

    @property
    def block_entries(self) -> int:
        """Entries of one group's one block."""
        raise NotImplementedError

    @property
    def entries(self) -> int:
        """Entries of the packed array."""
        return self.conv.groups * self.blocks * self.block_entries


@dataclass(frozen=True)
class WeightBlocks:
    """Weights (R, S, C, K), of ``taps`` = R · S, as blocks of their channels.

    Block t covers input channels [c · c_block, (c + 1) · c_block) and output channels [k · k_block, (k + 1) · k_block), as far
    as they exist, with c = t mod (blocks of C) and k = t div (blocks of C). On its own it is (R, S, c_block, k_block).
    """

    taps: int
    channels_in: int
    channels_out: int
    c_block: int
    k_block: int

    @property
    def c_blocks(self) -> int:
        return -(-self.channels_in // self.c_block)

    @property
    def k_blocks(self) -> int:
        return -(-self.channels_out // self.k_block)

    @property
    def entries(self) -> int:
        """Entries of a block on its own."""
        return self.taps * self.c_block * self.k_block


@dataclass(frozen=True)
class WeightGradientSpec(KernelSpec):
    """Base of what sums products of x, behind its prologue, and dy over images into a slab: (R, S, C / groups, K), or each task's
    own block of it."""

    conv: Conv
    input: Layout
    dy: Layout
    own: bool = field(default=False, kw_only=True)
    prologue: Prologue | None = field(default=None, kw_only=True)

    @property
    def block(self) -> tuple[int, int]:
        """(input channels, output channels) of a task in mode *blocks*."""
        raise NotImplementedError

    @property
    def blocks(self) -> WeightBlocks:
        """A group's weights as tasks cut them."""
        filters = self.conv.channels_out // self.conv.groups
        return WeightBlocks(self.conv.window.taps, self.conv.weight_shape[2], filters, *self.block)

    @property
    def slab_shape(self) -> tuple[int, int]:
        """(input channels, output channels) of a tap in the slab."""
        return self.block if self.own else (self.blocks.channels_in, self.conv.channels_out)

    @property
    def k_blocks(self) -> int:
        return self.blocks.k_blocks

    @property
    def c_blocks(self) -> int:
        return self.blocks.c_blocks
