"""Winograd or direct: the algorithm of a weight gradient, and how it is cut into groups of images and blocks of channels.

Both are part of the bits, so they follow from shapes and the batch alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from vecgrad.kernels import _winograd_cost as cost
from vecgrad.kernels import choose
from vecgrad.kernels._dw_tile import dw_blocks
from vecgrad.kernels._winograd_tiles import Grid
from vecgrad.kernels.reasons import Algorithm, asked_for, comparison, note
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import ConvDwSpec, WinogradDwSpec, WinogradTile
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

_Dw = TypeVar("_Dw", ConvDwSpec, WinogradDwSpec)

# Tiles that a group of images of a weight gradient should have: each pays for 36 sums of every pair of channels.
_GROUP_TILES = 128
# A task takes two blocks of output channels, so that x is transformed for both, while so many tasks are left. Where its tiles
# are one block it takes four, in turns: the sums of one and both sides in the domain fit the second-level cache.
_WINOGRAD_TASKS = 16
# Tiles of one block.
_TILES = 32
# Pixels that a direct weight gradient's group should have: a sum's way to its slab and from there into the gradient costs as much
# as several dozen products.
_PIXELS = 1024
# And at most: a chain of additions gathers rounding errors with the square root of its length. Only weights so small get
# more groups for it that their slabs do not outgrow the activations.
_CHAIN = 1024
_SLAB_ENTRIES = 1024 * 1024
# Blocks of output channels that a task of a direct weight gradient takes, so that x is copied once for all of them, while so many
# tasks are left.
_TOGETHER = (4, 2, 1)
_DW_TASKS = 32


@dataclass(frozen=True)
class Summed:
    """A weight gradient's kernel, and what was not chosen, with the reason."""

    spec: ConvDwSpec | WinogradDwSpec
    refused: tuple[str, ...] = ()


def weight_gradient(
    conv: Conv, input: Layout, dy: Layout, machine: Machine, *,
    images: int, batch: int, groups: Callable[[int, int, int], int] | None, algorithm: Algorithm,
) -> Summed:  # fmt: skip
    """The kernel for chunks of ``images`` images; or for tasks, whose slabs' stride the planner still has to fill in, where
    ``groups`` says how many groups of images to make: of so many blocks, with so many images at least and so many at most
    (0: any number).

    Groups are larger where 8 tasks are left: each of Winograd's pays for 36 sums of all its channels, and each direct one reads,
    writes and at last adds up as many sums as there are weights.
    """
    reason = cost.refusal(conv, dy.dtype) or asked_for(algorithm)
    if not reason:
        spec = winograd_dw_spec(conv, input, dy, machine, images=images, by_blocks=groups is not None)
        if groups is not None:
            least = -(-_GROUP_TILES // Grid(dy.height, dy.width).tiles)
            spec = at_groups(spec, groups(spec.k_blocks * spec.c_blocks, least, 0), batch)
            images = spec.images_per_group
            few = Grid(dy.height, dy.width).tiles * images <= _TILES
            for wide in (4, 2) if few else (2,):
                if spec.k_blocks % wide == 0 and spec.tasks >= wide * _WINOGRAD_TASKS:
                    spec = replace(spec, k_block=wide * spec.k_block, turns=wide if few else 1)
                    break
            spec = replace(spec, tile=_dw_tile(spec, images, machine))
        cycles, direct_cycles = cost.dw_cycles(conv, images), cost.direct_cycles(conv, "dw")
        if cost.worth(cycles, conv, "dw"):
            return Summed(spec, (f"conv_dw.direct: {comparison(direct_cycles, cycles)}",))
        reason = comparison(cycles, direct_cycles)
    if groups is None:
        direct = choose.dw_spec(conv, input, dy, machine)
    else:
        direct = _direct_tasks(conv, input, dy, machine, batch, groups)
    return Summed(direct, note("conv_dw.winograd", conv, reason))


def _direct_tasks(
    conv: Conv,
    input: Layout,
    dy: Layout,
    machine: Machine,
    batch: int,
    groups: Callable[[int, int, int], int],
) -> ConvDwSpec:
    """Groups of images by blocks of channels; then tasks of as many of these blocks as leave tasks enough."""
    p, q = conv.window.out_size
    r, s, c, k = conv.weight_shape
    short = r * s * c * k <= _SLAB_ENTRIES
    most = max(_CHAIN // (p * q), 1) if short else 0
    found = groups(conv.groups * math.prod(dw_blocks(conv)), -(-_PIXELS // (p * q)), most)
    for wide in _TOGETHER:
        spec = choose.dw_spec(conv, input, dy, machine, mode="blocks", wide=wide)
        spec = at_groups(spec, found, batch)
        if spec.tasks >= _DW_TASKS:
            break
    return spec


def winograd_dw_spec(
    conv: Conv, input: Layout, dy: Layout, machine: Machine, *, images: int, by_blocks: bool
) -> WinogradDwSpec:
    """Winograd's weight gradient: all channels at once for chunks of images, or tasks of blocks of channels."""
    c, k = conv.channels_in, conv.channels_out
    c_block, k_block = (cost.dw_block(c), cost.dw_block(k)) if by_blocks else (c, -(-k // 16) * 16)
    mode: choose.Mode = "blocks" if by_blocks else "images"
    spec = WinogradDwSpec(conv, input, dy, WinogradTile(1, 1, 1), k_block, c_block, mode)
    return replace(spec, tile=_dw_tile(spec, images, machine))


def _dw_tile(spec: WinogradDwSpec, images: int, machine: Machine) -> WinogradTile:
    tiles = Grid(spec.dy.height, spec.dy.width).tiles * images
    return cost.dw_tile(spec.c_block, spec.filters, tiles, machine)


def at_groups(spec: _Dw, groups: int, batch: int, stride: int = 0) -> _Dw:
    """A spec of tasks with ``batch`` images cut into ``groups``, whose slabs lie ``stride`` entries apart."""
    return replace(spec, image_groups=groups, images_per_group=-(-batch // groups), slab_stride=stride)
