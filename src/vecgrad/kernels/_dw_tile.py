"""Which tile a weight gradient gets."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from vecgrad.kernels._cost import MOST_SHARED, MOST_VECTORS, bundle_cycles, distinct, most_scalars
from vecgrad.kernels._dw_shape import far_apart
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import DwTile
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout

# A cache line of x more or less in a step, and a bundle begun: both decide between equal tiles.
_LINE_CYCLES = 0.1
_BUNDLE_CYCLES = 1.0
# To copy a vector of dy's pixel; and what a tile of kernel rows must promise, of the other's time, to be used.
_COPY_CYCLES = 5.0
_WORTH = 0.9
# To turn a sum back, once for so many images at least.
_TURN_CYCLES = 2.0
_TURN_IMAGES = 4
# Machines that read part of a vector at the price of a whole one.
_MASKS = ("avx512", "avx2")
# Channels of a task's block, the same on every machine; chunks of images may cut otherwise. One tap: longer runs of memory, and dy
# copied less often.
_K_BLOCK = 64
_VECTOR = 16
_C_BLOCK = 32
_C_BLOCK_IMAGES = 48
_C_BLOCK_DENSE = 64
# Blocks of input channels by which images are grouped, of layers with one tap and stride 1.
_C_GROUPED_DENSE = 128
# Pixels that a tile should sum while it is in registers: its sums are loaded and stored once for so many.
_PIXELS = 128
# And at least so many, if need be from the second-level cache: loading and storing sums would take as long.
_LEAST_PIXELS = 64


@functools.lru_cache(maxsize=1024)
def dw_tile(
    conv: Conv, input: Layout, dy: Layout, machine: Machine, mode: str = "images", wide: int = 1
) -> DwTile:
    """The tile with the least predicted time, and blocks that fit the caches.

    wide: how many of ``dw_blocks``'s blocks of output channels a task takes together.
    """
    lanes = machine.lanes(dy.dtype)
    if mode == "images" and not rowwise_refusal(conv):
        direct, rowwise = compared(conv, dy.dtype, machine)
        if rowwise < _WORTH * direct:
            return rowwise_tile(conv, dy.dtype, machine)
    _, best = _direct(conv, machine, lanes, mode, wide)
    return _blocked(best, conv, input, dy, machine, mode, wide)


def dw_blocks(conv: Conv) -> tuple[int, int]:
    """(blocks of output channels, blocks of input channels) of a group by which a large weight gradient's images are grouped.

    It depends on the convolution alone: groups are part of the bits. What a task takes of them is not.
    """
    k, c = conv.channels_out // conv.groups, conv.channels_in // conv.groups
    dense = _in_place(conv) and conv.window.stride == (1, 1)
    return -(-k // (_k_block(conv, 1) or k)), -(-c // _equal(c, _C_GROUPED_DENSE if dense else _C_BLOCK))


def _direct(conv: Conv, machine: Machine, lanes: int, mode: str, wide: int = 1) -> tuple[float, DwTile]:
    """The best tile whose lanes are filters, but for those that are turned; its cycles for one row of dy."""
    c_block, filters = _c_block(conv, mode), conv.channels_out // conv.groups
    found = []
    for turned in (0, filters % lanes):
        if turned and (conv.groups > 1 or machine.isa not in _MASKS):
            continue
        tiles = _candidates(conv, machine, lanes, mode, filters - turned, wide)
        cycles, best = min(
            ((_cycles(tile, conv, filters - turned, lanes, c_block), tile) for tile in tiles),
            key=lambda pair: pair[0],
        )
        if turned:
            cycles += _turned_cycles(turned, conv, machine, lanes, c_block)
        found.append((cycles, replace(best, turned=turned)))
    return min(found, key=lambda pair: pair[0])


def _turned_cycles(filters: int, conv: Conv, machine: Machine, lanes: int, c_block: int) -> float:
    """The model's cycles for one row of dy."""
    total = 0.0
    for blocks, width in _pieces(conv.channels_in, c_block):
        vectors = -(-width // lanes)
        tv, tf = turned_tile(vectors, filters, machine)
        for nv, v in _pieces(vectors, tv):
            total += blocks * nv * sum(n * _turned_bundle(f, v) for n, f in _pieces(filters, tf))
    back = _TURN_CYCLES * conv.channels_in * filters / (_TURN_IMAGES * conv.window.rows.out)
    return conv.window.taps * (conv.window.cols.out * total + back)


def _turned_bundle(filters: int, vectors: int) -> float:
    # Vectors of x that are not at whole lines, and its lines.
    return bundle_cycles(filters, vectors, 1, filters + vectors) + vectors * _LINE_CYCLES + _BUNDLE_CYCLES


@functools.lru_cache(maxsize=1024)
def turned_tile(vectors: int, filters: int, machine: Machine) -> tuple[int, int]:
    """(vectors of input channels, filters) of a register tile of turned filters."""
    found = []
    for v in range(1, min(vectors, MOST_VECTORS) + 1):
        f = min(most_scalars(machine, v, 1), filters)
        if f < 1:
            break
        cycles = sum(
            nv * nf * _turned_bundle(tf, tv)
            for nv, tv in _pieces(vectors, v)
            for nf, tf in _pieces(filters, f)
        )
        found.append((cycles, v, f))
    return min(found)[1:]


def pixelwise(conv: Conv, input: Layout, dy: Layout) -> tuple[Conv, Layout, Layout]:
    """A 1 × 1 convolution that meets every pixel, as one of a single column: blocks of rows are then blocks of any number of
    pixels. Chains are the same."""
    w = conv.window
    h, width = w.in_size
    if w.kernel != (1, 1) or w.stride != (1, 1) or w.out_size != w.in_size or width == 1:
        return conv, input, dy
    return (
        replace(conv, window=window((h * width, 1), 1)),
        replace(input, height=h * width, width=1),
        replace(dy, height=h * width, width=1),
    )


def in_sections(conv: Conv, mode: str) -> bool:
    """Whether blocks of rows are summed from zero each: tasks of a single tap meet many pixels, and a chain's error grows with the
    root of its length. Turned filters, which not all machines have, keep their chains, and so do dense layers."""
    matrices = _in_place(conv) and conv.groups == 1 and conv.window.out_size != (1, 1)
    return mode == "blocks" and matrices and conv.channels_out % _VECTOR == 0


def _section(conv: Conv) -> tuple[int, int]:
    """(rows, images) of about ``_LEAST_PIXELS`` pixels."""
    p, q = conv.window.out_size
    rows = -(-_LEAST_PIXELS // max(q, 1))
    return (-(-p // max(p // rows, 1)), 1) if p > rows else (p, -(-_LEAST_PIXELS // max(p * q, 1)))


def _in_place(conv: Conv) -> bool:
    """Whether each entry of x meets a single tap: then it is read where it lies, or of a task's copy a line of each pixel at a
    time, and no block of it has to fit the first-level cache."""
    return conv.window.kernel == (1, 1) and not any(map(any, conv.window.padding))


def rowwise_refusal(conv: Conv) -> str:
    """Why a kernel row of filters cannot be lanes; "" where it can."""
    cols = conv.window.cols
    if conv.groups > 1:
        return "channels in groups"
    return "" if cols.stride == cols.dilation == 1 and cols.kernel > 1 else "no neighbouring columns"


@functools.lru_cache(maxsize=1024)
def compared(conv: Conv, dtype: str, machine: Machine) -> tuple[float, float]:
    """Cycles of an image with the best tile: lanes that are filters, lanes that are a kernel row of them."""
    lanes, rows = machine.lanes(dtype), conv.window.rows.out
    direct, _ = _direct(conv, machine, lanes, "images")
    return direct * rows, _rowwise_cycles(rowwise_tile(conv, dtype, machine), conv, lanes) * rows


def rowwise_tile(conv: Conv, dtype: str, machine: Machine) -> DwTile:
    """The best tile whose lanes are a kernel row's. Rows of dy and x of a block fit half of L1."""
    lanes, item = machine.lanes(dtype), ITEM_BYTES[dtype]
    rows, cols = conv.window.rows, conv.window.cols
    found = []
    for v in range(1, min(-(-cols.kernel * conv.channels_out // lanes), MOST_VECTORS) + 1):
        most = most_scalars(machine, v, 1)
        for tr in range(1, min(rows.kernel, most) + 1):
            found += [
                DwTile(v, tr, 1, tc, 1, rowwise=True)
                for tc in range(1, min(conv.channels_in, most // tr) + 1)
            ]
    best = min(found, key=lambda tile: _rowwise_cycles(tile, conv, lanes))
    line = (cols.size + cols.kernel) * conv.channels_out + rows.stride * cols.size * conv.channels_in
    block = max(1, min(rows.out, machine.l1 // 2 // (line * item)))
    return replace(
        best,
        row_block=-(-rows.out // -(-rows.out // block)),
        c_block=conv.channels_in,
        k_block=conv.channels_out,
    )


def _rowwise_cycles(tile: DwTile, conv: Conv, lanes: int) -> float:
    """The model's cycles for one row of dy."""
    cols = conv.window.cols
    total = 0.0
    for nv, v in _pieces(-(-cols.kernel * conv.channels_out // lanes), tile.vectors):
        for nr, tr in _pieces(conv.window.rows.kernel, tile.rows):
            for nc, tc in _pieces(conv.channels_in, tile.channels):
                # Vectors that start at any pixel cross two lines.
                total += nv * nr * nc * (bundle_cycles(tr * tc, v, 1, tr * tc + v) + _BUNDLE_CYCLES)
    return cols.size * total + _COPY_CYCLES * cols.out * -(-conv.channels_out // lanes)


def _candidates(conv: Conv, machine: Machine, lanes: int, mode: str, k: int, wide: int) -> Iterator[DwTile]:
    """Tiles of ``k`` filters that fit the registers: channels of one tap, of part of a kernel row, of whole kernel rows."""
    r, s = conv.window.kernel
    c, k_block = conv.channels_in // conv.groups, _k_block(conv, wide)
    for v in range(1, min(max(-(-k // lanes), 1), MOST_VECTORS) + 1):
        if mode == "blocks" and k_block and k_block % (v * lanes):
            continue
        for share in range(1, min(conv.window.out_size[1], MOST_SHARED) + 1):
            # With 16 registers a bundle of three keeps one more vector alive than its steps need, and a sum is spilled.
            most = most_scalars(machine, v, share) - (machine.registers == 16 and share > 2)
            for tc in range(1, min(c, most) + 1):
                for ts in range(1, min(s, most // tc) + 1):
                    if _shares(conv, ts, share):
                        yield DwTile(v, 1, ts, tc, 1, share=share)
                for tr in range(2, min(r, most // (tc * s)) + 1):
                    if _shares(conv, s, share):
                        yield DwTile(v, tr, s, tc, 1, share=share)


def _shares(conv: Conv, columns: int, share: int) -> bool:
    """Whether so many neighbouring pixels have scalars in common: if not, they only take registers from each other."""
    axis = conv.window.cols
    return share == 1 or distinct(columns, axis.dilation, share, axis.stride) < columns * share


def _cycles(tile: DwTile, conv: Conv, k: int, lanes: int, c_block: int) -> float:
    """The model's cycles for one row of dy and ``k`` filters of each group."""
    cols, c = conv.window.cols, conv.channels_in // conv.groups
    # Blocks of input channels: each tile's turns of a width.
    across = [
        (blocks * n, tc) for blocks, width in _pieces(c, c_block) for n, tc in _pieces(width, tile.channels)
    ]
    total = 0.0
    for n, share in _pieces(cols.out, tile.share):
        for nr, tr in _pieces(conv.window.rows.kernel, tile.rows):
            for ns, ts in _pieces(cols.kernel, tile.cols):
                places = distinct(ts, cols.dilation, share, cols.stride)
                for nc, tc in across:
                    for nv, v in _pieces(-(-k // lanes), tile.vectors):
                        cycles = bundle_cycles(tr * ts * tc, v, share, places * tr * tc)
                        # Each tap of a tile reads its own cache lines of x and has its own lines of sums.
                        cycles += _LINE_CYCLES * tr * places + _BUNDLE_CYCLES
                        total += n * nr * ns * nc * nv * cycles
    return total


def _pieces(count: int, most: int) -> list[tuple[int, int]]:
    """(how many, of which width): whole tiles and what is left."""
    return [(n, width) for n, width in ((count // most, most), (1, count % most)) if n and width]


def _k_block(conv: Conv, wide: int) -> int:
    """Output channels of a task's block, in equal vectors of the widest machine; 0: all of a group's."""
    k = conv.channels_out // conv.groups
    blocks = -(-(k - _VECTOR) // (_K_BLOCK * wide))
    return -(-k // (blocks * _VECTOR)) * _VECTOR if blocks > 1 else 0


def _c_block(conv: Conv, mode: str) -> int:
    """Equal blocks of whole quadruples of channels."""
    channels = conv.channels_in // conv.groups
    most = _C_BLOCK if mode == "blocks" else _C_BLOCK_IMAGES
    if _in_place(conv):
        most = channels if mode == "images" else _C_BLOCK_DENSE
    return _equal(channels, most)


def _equal(channels: int, most: int) -> int:
    """The width of as few equal blocks as ``most`` allows."""
    return channels if channels <= most else -(-channels // -(-channels // most) // 4) * 4


def _blocked(
    tile: DwTile, conv: Conv, input: Layout, dy: Layout, machine: Machine, mode: str, wide: int
) -> DwTile:
    """Blocks of rows whose dy (one tile of k) and x (a block of channels of the rows that a tile's kernel rows meet) fit two
    thirds of L1; where x is read in place, dy alone, and with a copy of x for a task all of L1."""
    item, lanes = ITEM_BYTES[dy.dtype], machine.lanes(dy.dtype)
    p, q = conv.window.out_size
    k = conv.channels_out // conv.groups
    c_block = _c_block(conv, mode)
    k_tile = tile.vectors * lanes
    k_block = (_k_block(conv, wide) if mode == "blocks" else 0) or -(-k // k_tile) * k_tile
    if in_sections(conv, mode):
        rows, images = _section(conv)
        return replace(tile, row_block=rows, images=images, k_block=k_block, c_block=c_block)
    v, h = conv.window.stride
    met = min(v, tile.rows) * h * c_block
    room = max(1, machine.l1 * 2 // 3 // (q * (k_tile + met) * item))
    if _in_place(conv):
        room = max(1, machine.l1 * 2 // 3 // (q * k_tile * item))
        if mode == "blocks" and far_apart(input, c_block):
            room = max(1, min(room, machine.l1 // (q * (k_tile + c_block) * item)))
    least = 1 if _in_place(conv) else -(-_LEAST_PIXELS // q)
    wanted = min(max(room, least), -(-_PIXELS // q))
    exact = max((n for n in range(wanted // 2 + 1, wanted + 1) if p % n == 0), default=0)
    if _in_place(conv) and exact and wanted < p:
        return replace(tile, row_block=exact, k_block=k_block, c_block=c_block)
    if wanted < p:
        return replace(tile, row_block=-(-p // -(-p // wanted)), k_block=k_block, c_block=c_block)
    return replace(tile, row_block=p, images=max(wanted // p, 1), k_block=k_block, c_block=c_block)
