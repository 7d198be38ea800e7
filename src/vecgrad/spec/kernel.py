"""Kernel specifications: each says exactly what one compiled function computes.

A spec and a ``Machine`` determine the code and nothing else does; the spec is the function's name, its
cache key and its test's id. Operands are listed in the order in which the function takes them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class FlatMapSpec(KernelSpec):
    """An update rule over the flat parameter arrays: array operands of one dtype, each read at the same entry.

    Operands: table, then ``inputs`` input arrays, then one output array for each expr (which may be an
    input's memory). A task (mode *tasks*) is record number ``begin`` of the table of 64-bit integers
    (source, slab stride, slabs, destination, length, update length), offsets in entries: it covers
    entries destination … destination + update length − 1 of every array.
    """

    exprs: tuple[Expr, ...]
    inputs: int
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
    """slab (C) = sum over the chunk's images and their pixels, in that order, of expr(inputs).

    Operands: inputs, slab (compact, C entries, the chunk's own; written even for an empty chunk).
    """

    expr: Expr
    inputs: tuple[Layout, ...]
    channels: int
    dtype: str = "float32"
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class CopySpec(KernelSpec):
    """The same entries in C order (h, w, c) with another pitch or cut into other pixels. Operands: input, output."""

    input: Layout
    output: Layout


@dataclass(frozen=True)
class MaxPoolSpec(KernelSpec):
    """(4.2) with the paper's tie rule. Operands: x, epilogue inputs, y, index.

    index: the ordinal s·R + r of the chosen cell (column-major), uint8 (int32 when the window has
    more than 255 cells), layout as y. NaN wins and stays.
    """

    window: Window
    input: Layout
    output: Layout
    index: Layout
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaxPoolDxSpec(KernelSpec):
    """(4.5), (4.6) as a gather: each input entry adds the windows that chose it, rows before columns of windows.

    Operands: dy, index, epilogue inputs, dx.
    """

    window: Window
    dy: Layout
    index: Layout
    dx: Layout
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class AvgPoolSpec(KernelSpec):
    """Mean over each window's image cells, or over all its cells. Operands: x, epilogue inputs, y."""

    window: Window
    input: Layout
    output: Layout
    count_padding: bool = False
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class AvgPoolDxSpec(KernelSpec):
    """Each input entry adds dy / count over the windows that hold it. Operands: dy, epilogue inputs, dx."""

    window: Window
    dy: Layout
    dx: Layout
    count_padding: bool = False
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tile:
    """How a convolution cuts its outputs. Bits do not depend on it.

    vectors: vectors of output channels held in registers; images × rows × cols: the pixels held with them
    (a row's remainder is spread over its tiles). row_block: rows whose inputs are staged together.
    share: neighbouring kernel columns whose weights are held too, so that they share loads of inputs.
    """

    vectors: int
    images: int = 1
    rows: int = 1
    cols: int = 1
    row_block: int = 1
    share: int = 1


@dataclass(frozen=True)
class PackSpec(KernelSpec):
    """Weights in the order in which a convolution's tiles read them. Operands: w (canonical), packed.

    forward: [group][block of K][r][c][s][block]; dx: [group][block of C][R − 1 − r][k][S − 1 − s][block].
    The last block of a group is filled with zeros. Mode *tasks*, ``tasks`` of them.
    """

    conv: Conv
    direction: Literal["forward", "dx"]
    block: int
    tasks: int = 1
    dtype: str = "float32"

    @property
    def blocks(self) -> int:
        """Blocks of output channels (dx: input channels) in each group."""
        channels = self.conv.channels_out if self.direction == "forward" else self.conv.channels_in
        return -(-(channels // self.conv.groups) // self.block)

    @property
    def block_entries(self) -> int:
        """Entries of one group's one block."""
        channels = self.conv.channels_in if self.direction == "forward" else self.conv.channels_out
        return self.conv.window.taps * (channels // self.conv.groups) * self.block

    @property
    def entries(self) -> int:
        """Entries of the packed array."""
        return self.conv.groups * self.blocks * self.block_entries


@dataclass(frozen=True)
class ConvSpec(KernelSpec):
    """(2.9), then the epilogue. Operands: x, packed weights, epilogue inputs, y. ``output`` is y's layout, also where the
    epilogue pools y.

    Every entry is one chain of multiply-adds from 0 over r, c, s ascending. mode *images*: a chunk is a
    range of images. mode *blocks* (a tasks phase of groups · blocks tasks): task g · blocks + b computes
    block b of group g for all n = scalars[0] images.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: Tile
    mode: Literal["images", "blocks"] = "images"
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvDxSpec(KernelSpec):
    """(2.30), then the epilogue. Operands: dy, weights packed for dx, epilogue inputs, dx.

    ``input`` is dy's layout, ``output`` dx's; the rest as in ConvSpec. Every entry is one chain over p,
    k, q ascending.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: Tile
    mode: Literal["images", "blocks"] = "images"
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class DwTile:
    """How a weight gradient is cut. Bits do not depend on it.

    vectors: vectors of k held in registers; rows × cols × channels: kernel rows, kernel columns and input
    channels held with them. images × row_block: rows of dy that are summed while a tile stays in
    registers. k_block, c_block: channels of a task, and of what is staged. share: neighbouring pixels whose dy
    is held too, so that they share loads of x.
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


@dataclass(frozen=True)
class ConvDwSpec(KernelSpec):
    """(2.21). Operands: x, dy, slab (canonical (R, S, C / groups, K), written completely, even for no images).

    Every entry is one chain over images, rows and columns ascending. mode *images*: a chunk is a range
    of images, with its own slab. mode *blocks*: task ((i · groups + g) · k-blocks + kb) · c-blocks + cb
    computes that block from image group i, images [i · images_per_group, (i + 1) · images_per_group) of
    the n = scalars[0] given, into the slab that lies i · slab_stride entries behind the operand.
    """

    conv: Conv
    input: Layout
    dy: Layout
    tile: DwTile
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    slab_stride: int = 0

    @property
    def k_blocks(self) -> int:
        return -(-(self.conv.channels_out // self.conv.groups) // self.tile.k_block)

    @property
    def c_blocks(self) -> int:
        return -(-(self.conv.channels_in // self.conv.groups) // self.tile.c_block)

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.conv.groups * self.k_blocks * self.c_blocks


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
class WinogradPackSpec(KernelSpec):
    """G w Gᵀ for a Winograd kernel's tiles. Operands: w (canonical), packed. Mode *tasks*, ``tasks`` of them.

    forward: [block of K][6 · i + j][c][block]; dx: [block of C][6 · i + j][k][block] of the weights turned by half. The
    36 planes of a block lie ``plane`` entries apart. Channels beyond the last one are zeros.
    """

    conv: Conv
    direction: Literal["forward", "dx"]
    block: int
    tasks: int = 1
    dtype: str = "float32"

    @property
    def inner(self) -> int:
        """Channels that are summed over."""
        return self.conv.channels_in if self.direction == "forward" else self.conv.channels_out

    @property
    def outer(self) -> int:
        """Channels that are written."""
        return self.conv.channels_out if self.direction == "forward" else self.conv.channels_in

    @property
    def blocks(self) -> int:
        return -(-self.outer // self.block)

    @property
    def plane(self) -> int:
        """Entries from a plane to the next: a line more than it has, so that planes share no cache sets."""
        return self.inner * self.block + 16

    @property
    def block_entries(self) -> int:
        return 36 * self.plane

    @property
    def entries(self) -> int:
        """Entries of the packed array."""
        return self.blocks * self.block_entries


@dataclass(frozen=True)
class WinogradSpec(KernelSpec):
    """(2.9) by F(4 × 4, 3 × 3), then the epilogue. Operands: x, packed weights, epilogue inputs, y.

    Every one of the 36 products of a 4 × 4 tile of outputs is one chain of multiply-adds from 0 over c ascending; a tile
    begins at every fourth row and column of y. mode *images*: a chunk is a range of images. mode *blocks* (a tasks
    phase): task i · parts + p computes part p of the blocks of channels for image group i, images
    [i · images_per_group, (i + 1) · images_per_group) of the n = scalars[0] given.
    """

    conv: Conv
    input: Layout
    output: Layout
    tile: WinogradTile
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    parts: int = 1
    epilogue: Epilogue = Epilogue()
    scalars: tuple[str, ...] = ()
    unpool: Unpooling | None = None

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
class WinogradDwSpec(KernelSpec):
    """(2.21) by F(4 × 4, 3 × 3). Operands: x, dy, slab (canonical (3, 3, C, K), written completely, even for no images).

    Every one of the 36 sums of a pair of channels is one chain over tiles: images, then rows, then columns of tiles.
    Modes and tasks as in ConvDwSpec; k_block and c_block are the channels of a task. With ``unpool`` operands are its dy and
    index in the place of dy.
    """

    conv: Conv
    input: Layout
    dy: Layout
    tile: WinogradTile
    k_block: int
    c_block: int
    mode: Literal["images", "blocks"] = "images"
    image_groups: int = 1
    images_per_group: int = 0
    slab_stride: int = 0
    unpool: Unpooling | None = None

    @property
    def k_blocks(self) -> int:
        return -(-self.conv.channels_out // self.k_block)

    @property
    def c_blocks(self) -> int:
        return -(-self.conv.channels_in // self.c_block)

    @property
    def tasks(self) -> int:
        """Tasks in mode *blocks*."""
        return self.image_groups * self.k_blocks * self.c_blocks


@dataclass(frozen=True)
class PeakSpec(KernelSpec):
    """The ruler: ``turns`` turns of 12 independent chains of vector multiply-adds, in registers only.

    Operands: a block of 1024 bytes, read before and written after the loop.
    """

    turns: int
    dtype: str = "float32"
