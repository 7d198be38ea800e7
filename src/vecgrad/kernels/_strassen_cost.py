"""When Strassen's algorithm is worth it, and how its products are cut.

Whether it is used is part of the bits, so that question is answered in cycles of one fixed processor (vectors of 16 lanes, two
multiply-adds a cycle), from shapes alone; only the tile depends on the machine at hand.
"""

from __future__ import annotations

import functools

from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._cost import bundle_cycles, most_scalars
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import StrassenTile
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import size

_LANES = 16
# Halves of channels are whole vectors of any machine, and two of the widest.
_HALVES = 2 * 2 * _LANES
# The share of two multiply-adds a cycle that products reach, as the direct kernel's do.
_SHARE = 0.9
# Cycles for a vector of a pair's sums of inputs, four of them; for a vector of weights in a quadrant after an update, beyond a
# direct pack's: three more vectors are written, far away.
_SUMS, _PACK = 14.0, 48.0
# It must promise so much less to be used, and chains of halves of fewer input channels are over before they pay.
WORTH = 0.95
LEAST_INNER = 128
# Pairs of a register tile, at most: they lie powers of two apart, where more lines than eight share a set of the first-level
# cache. And of a block, at least: it reads all weights.
_MOST, _LEAST = 8, 32
# As much longer weights take from beyond the second-level cache.
_FAR = 3.0
# Scratch for a pair and an input channel: of both pixels in a cache, and four sums of half of the channels.
_PAIR_BYTES = 2 * 4 + 4 * 2


def refusal(conv: Conv, dtype: str) -> str:
    """Why the algorithm does not apply; "" where it does."""
    window = conv.window
    if window.kernel != (1, 1):
        return f"a kernel of {window.kernel[0]} × {window.kernel[1]}, not 1 × 1"
    if window.stride != (1, 1):
        return "stride must be 1"
    if conv.groups != 1:
        return "channels in groups"
    if window.in_size != window.out_size:
        return "padding"
    if size(window.in_size) % 2:
        return "an odd number of pixels"
    if conv.channels_in % _HALVES or conv.channels_out % _HALVES:
        return f"channels are no multiples of {_HALVES}"
    if dtype != "float32":
        return f"{dtype} is for exact work"
    return ""


def cycles(conv: Conv, direction: str, batch: int, parts: int = 1) -> float:
    """Of an image, forward or data gradient, where a task makes one of ``parts`` of the outputs."""
    c, k = conv.channels_in, conv.channels_out
    inner, outer = (c, k) if direction == "forward" else (k, c)
    pairs = size(conv.window.in_size) // 2
    products = 7 * pairs * (inner // 2) * (outer // 2 // _LANES) / 2 / _SHARE
    sums = _SUMS * pairs * (inner // 2 // _LANES) * parts
    return products + sums + _PACK * (inner // 2) * (outer // 2 // _LANES) / batch


def direct_cycles(conv: Conv) -> float:
    """Of an image, by the direct kernel."""
    return size(conv.window.in_size) * conv.channels_in * (conv.channels_out // _LANES) / 2 / _SHARE


@functools.lru_cache(maxsize=1024)
def tile(inner: int, outer: int, pairs: int, machine: Machine) -> StrassenTile:
    """The cut of ``pairs`` pairs: the least predicted time of the products, and sums of inputs that the second-level cache holds
    beside the weights of a block of channels."""
    width = machine.lanes("float32") * 4
    half = outer // 2 // machine.lanes("float32")
    block = max(machine.l2 // 3 // (_PAIR_BYTES * inner), _LEAST)
    block = -(-pairs // -(-pairs // block))
    found = []
    for vectors in (v for v in range(1, min(half, 4) + 1) if half % v == 0):
        weights = 7 * (inner // 2) * vectors * width
        beyond = 0 if weights <= machine.l2 else _FAR * vectors * width
        for scalars in range(1, min(most_scalars(machine, vectors, 1), block, _MOST) + 1):
            total = sum(
                (end - first) // wide * bundle_cycles(wide, vectors, 1, wide, beyond)
                for first, end, wide in balanced(block, scalars)
            )
            found.append((total / vectors, -vectors, StrassenTile(vectors, scalars, block)))
    return min(found, key=lambda each: each[:2])[2]
