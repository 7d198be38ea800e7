"""When Winograd's algorithm is worth it, and how its products are cut.

Whether it is used is part of the bits. So that question is answered in cycles of one fixed processor (vectors of 16
lanes, two multiply-adds a cycle), from shapes alone; only the tile depends on the machine at hand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._cost import bundle_cycles, most_scalars
from vecgrad.kernels._winograd_grid import PLANES, Grid, Needed
from vecgrad.kernels._winograd_tiles import Domain
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import WinogradTile
from vecgrad.spec.machine import Machine

_LANES = 16
# Cycles for a vector of channels of a tile into and out of the domain, and the share of two multiply-adds a cycle that
# the 36 products reach (bench/conv.py).
_IN, _OUT, _SHARE = 90.0, 80.0, 0.75
_DIRECT_SHARE = 0.85
# Bytes of weights a cycle: from the second-level cache, from further away; and how many of them the former holds.
_NEAR, _FAR, _HELD = 24.0, 8.0, 1024 * 1024
# Tiles that meet a vector of weights while it is at hand, at most.
_TOGETHER = 32
# Cycles for a vector of a weight gradient's sums: cleared, moved for each block of tiles, back from the domain.
_SUMS = 450.0
# Cycles for a vector of weights into the domain after an update, beyond a direct pack's; where all of them fit the second
# cache, and where not.
_PACK_NEAR, _PACK_FAR = 250.0, 600.0
# The parts of a register tile's loads, beside what every tile is charged with, and of the weights that come to it from further
# away than the first-level cache that take time of their own (from measurements of a dozen tiles on 32 to 256 channels).
_LOADS, _FETCHED = 0.25, 0.3
# Scalars of a register tile of a single vector, at most: with more of them products are no slower, but whole layers are.
_ALONE = 16
# Tiles of a block, at most; where many inputs make many weights, which are read for each block, and the caches have room.
_BLOCK, _LARGE_BLOCK = 32, 36
# It must promise so much less to be used: direct kernels are exact on integers, and cost no transformed weights.
_WORTH = 0.85


def refusal(conv: Conv, dtype: str) -> str:
    """Why the algorithm does not apply; "" where it does."""
    window = conv.window
    if window.kernel != (3, 3):
        return f"a kernel of {window.kernel[0]} × {window.kernel[1]}, not 3 × 3"
    if window.stride != (1, 1) or window.dilation != (1, 1):
        return "stride and dilation must be 1"
    if conv.groups != 1:
        return "channels in groups"
    if min(conv.channels_in, conv.channels_out) < _LANES:
        return f"fewer than {_LANES} channels"
    if dtype != "float32":
        return f"{dtype} is for exact work"
    return ""


def _vectors(channels: int) -> int:
    return -(-channels // _LANES)


def gather_cycles(conv: Conv, direction: str, images: int, batch: int, parts: int = 1) -> float:
    """Of an image, forward or data gradient, where a chunk or task has ``images`` images and one of ``parts`` of the outputs.

    The weights are taken to change with every batch: a program that trains decides for its predictions too.
    """
    c, k = conv.channels_in, conv.channels_out
    inner, outer = (c, k) if direction == "forward" else (k, c)
    height, width = conv.window.out_size if direction == "forward" else conv.window.in_size
    needed = Needed(Grid(height, width))
    tiles = images * needed.grid.tiles
    near = PLANES * inner * outer * 4 <= _HELD
    read = -(-tiles // _TOGETHER) * 4 * _LANES / (_NEAR if near else _FAR)
    planes = [images * needed.tiles(needed.kind(plane)) for plane in range(PLANES)]
    products = inner * _vectors(outer) * sum(max(here / 2 / _SHARE, read) for here in planes if here)
    total = products + tiles * (_IN * _vectors(inner) * parts + _OUT * _vectors(outer))
    pack = (_PACK_NEAR if near else _PACK_FAR) * inner * _vectors(outer)
    return total / images + pack / batch


# A wide layer's tasks (winograd_wide): output channels of each, cycles for a vector of weights and of inputs into the domain
# within the second-level cache; the tiles of a task, at most about, and how many tasks there should be at least.
_PART, _WEIGHTS, _INPUTS, _WIDE_TILES, _WIDE_TASKS = 64, 300.0, 350.0, 128, 8


@dataclass(frozen=True)
class Wide:
    """How a batch is cut where tasks take the weights into the domain themselves, and the cycles of an image then.

    groups of ``images`` images; parts of ``part`` output channels each.
    """

    groups: int
    images: int
    parts: int
    part: int
    cycles: float

    @classmethod
    def of(cls, conv: Conv, direction: str, batch: int) -> Wide:
        """The cut of a batch: a function of shapes alone.

        >>> from vecgrad.spec.geometry import window
        >>> cut = Wide.of(Conv(window((8, 8), 3, padding="same"), 512, 256), "forward", 48)
        >>> cut.groups, cut.images, cut.parts, cut.part
        (2, 24, 4, 64)
        """
        c, k = conv.channels_in, conv.channels_out
        inner, outer = (c, k) if direction == "forward" else (k, c)
        height, width = conv.window.out_size if direction == "forward" else conv.window.in_size
        needed = Needed(Grid(height, width))
        each = needed.grid.tiles
        total = _vectors(outer)
        parts = -(-total * _LANES // _PART)
        part = -(-total // parts) * _LANES
        parts = -(-total * _LANES // part)
        groups = max(1, -(-_WIDE_TASKS // parts), round(batch * each / _WIDE_TILES))
        images = -(-batch // groups)
        groups = -(-batch // images)
        tiles = images * each
        products = inner * total * images * needed.products / 2 / 0.9
        weights, inputs = _WEIGHTS * inner * total, _INPUTS * tiles * _vectors(inner) * parts
        cycles = (products + weights + inputs + 2 * _OUT * tiles * total) / images
        return cls(groups, images, parts, part, cycles)


def direct_cycles(conv: Conv, direction: str) -> float:
    """Of an image, by the direct kernel."""
    c, k = conv.channels_in, conv.channels_out
    inner, outer = (k, c) if direction == "dx" else (c, k)
    p, q = conv.window.out_size
    inner //= conv.groups
    return p * q * conv.window.taps * inner * _vectors(outer) / 2 / _DIRECT_SHARE


def seconds(cycles: float, machine: Machine) -> float:
    """Cycles of the fixed processor, predicted for a machine."""
    return cycles * 4 * _LANES / (machine.gflops * 1e9)


@functools.lru_cache(maxsize=1024)
def gather_tile(inner: int, outer: int, tiles: int, machine: Machine) -> WinogradTile:
    """The cut of ``tiles`` tiles: the least predicted time of the products, then a block that the caches hold."""
    lanes = machine.lanes("float32")
    total = -(-outer // lanes)
    plane = inner * total * lanes * 4
    streamed = _FETCHED * plane / _FAR if PLANES * plane > machine.l2 // 2 else 0.0
    found = []
    for vectors in range(1, min(total, 4) + 1):
        most = most_scalars(machine, vectors, 1)
        most = min(most, max(tiles, 1), _ALONE if vectors == 1 else most)
        for scalars in range(1, most + 1):
            block = _block(inner, tiles, scalars, machine)
            blocks, rest = divmod(tiles, block)
            groups = blocks * (block // scalars) + -(-rest // scalars)
            one = inner * _step_cycles(inner, scalars, vectors, machine) + 2 * scalars * vectors
            cycles = groups * one * -(-total // vectors) + (blocks + bool(rest)) * streamed
            found.append((cycles, -vectors, WinogradTile(vectors, scalars, block)))
    return min(found, key=lambda each: each[:2])[2]


def _step_cycles(inner: int, scalars: int, vectors: int, machine: Machine) -> float:
    """Of a register tile's step in a sum over ``inner`` channels: its arithmetic, and what of its loads does not hide behind it.

    A block's weights and a register tile's inputs are taken to stay in the first-level cache as far as they fill half of it,
    and weights to be all gone before the next register tile where both would fill the whole.
    """
    width = machine.lanes("float32") * 4
    half = machine.l1 // 2
    beyond = (vectors * width + scalars * 4) * inner - half
    far = min(max(beyond / half, 0.0), 1.0) * vectors * width
    loads = _LOADS * (scalars + vectors) / 2
    return bundle_cycles(scalars, vectors, 1, scalars, far) + loads + _FETCHED * far / _NEAR


def wide_tile(vectors: int, tiles: int, machine: Machine) -> tuple[WinogradTile, int, int]:
    """For parts of ``vectors`` vectors: the cut, the channels whose weights are transformed together, the tiles that these meet.

    These are all of a task's: products that are added to chunk by chunk come in order, and may come from the third-level cache;
    weights into the domain again cost more.
    """
    found = []
    for wide in (v for v in range(1, min(vectors, 4) + 1) if vectors % v == 0):
        for scalars in range(1, min(most_scalars(machine, wide, 1), max(tiles, 1)) + 1):
            cycles = bundle_cycles(scalars, wide, 1, scalars) + scalars * wide / 16
            found.append((cycles * -(-min(tiles, 32) // scalars) / wide, -wide, scalars))
    _, wide, scalars = min(found)
    block = max(min(tiles, 32) // scalars, 1) * scalars
    # Of 64 channels weights and a block of inputs take 0.9 MB.
    chunk = 64 if machine.l2 >= 1 << 20 else 32
    return WinogradTile(-wide, scalars, block), chunk, -(-tiles // block) * block


def _block(inner: int, tiles: int, scalars: int, machine: Machine) -> int:
    """Tiles of a block, in whole register tiles."""
    room = Domain(_LARGE_BLOCK, inner, 4).nbytes <= machine.l2 * 3 // 4
    most = max((_LARGE_BLOCK if inner > 128 and room else _BLOCK) // scalars, 1) * scalars
    whole = -(-tiles // scalars) * scalars
    if whole <= most:
        return whole
    return balanced(whole // scalars, most // scalars)[0][2] * scalars


def dw_cycles(conv: Conv, images: int) -> float:
    """Of an image, weight gradient, where a slab covers ``images`` images."""
    c, k = conv.channels_in, conv.channels_out
    both = _IN * (_vectors(c) * -(-k // _DW_BLOCK) + _vectors(k) * -(-c // _DW_BLOCK))
    needed = Needed(Grid(*conv.window.out_size))
    products = needed.products * c * _vectors(k) / 2 / _SHARE
    return products + needed.grid.tiles * both + _SUMS * c * _vectors(k) / images


# Channels of a task's block, both in and out: with 36 sums for each pair 590 KB of a second-level cache. The same on
# every machine, for it fixes how many tasks there are.
_DW_BLOCK = 64


def dw_block(channels: int) -> int:
    """Equal blocks in whole vectors of any machine.

    >>> dw_block(80), dw_block(512), dw_block(17)
    (48, 64, 32)
    """
    vectors = _vectors(channels)
    return -(-vectors // -(-channels // _DW_BLOCK)) * _LANES


@functools.lru_cache(maxsize=1024)
def dw_tile(c_block: int, k_block: int, tiles: int, machine: Machine) -> WinogradTile:
    """The cut of a block of channels, each of whose tasks or chunks covers ``tiles`` tiles."""
    total = k_block // machine.lanes("float32")
    found = []
    for vectors in (v for v in range(1, min(total, 4) + 1) if total % v == 0):
        for scalars in range(1, min(most_scalars(machine, vectors, 1), c_block) + 1):
            cycles = sum(
                (end - first) // wide * bundle_cycles(wide, vectors, 1, wide)
                for first, end, wide in balanced(c_block, scalars)
            )
            found.append((cycles * (total // vectors), -vectors, WinogradTile(vectors, scalars, 1)))
    best = min(found, key=lambda each: each[:2])[2]
    return WinogradTile(
        best.vectors, best.scalars, min(max(tiles, 1), 64 if c_block * k_block <= 2048 else 32)
    )


def worth(cycles: float, conv: Conv, direction: str) -> bool:
    """Whether so many cycles an image are few enough."""
    return cycles <= _WORTH * direct_cycles(conv, direction)
