"""The kernels of a convolution's three directions, with the tile each gets: a static function of geometry
and machine, never of a timing."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vecgrad.kernels._conv_shape import gather
from vecgrad.kernels._dw_tile import dw_tile, in_sections, pixelwise
from vecgrad.kernels._gather_tile import gather_tile
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import ConvDwSpec, ConvDxSpec, ConvSpec, Epilogue, PackSpec, Tile
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout

Mode = Literal["images", "blocks"]

# A packed array is cut into at most so many tasks, of 16 KB or more: enough for the threads of a laptop.
_PACK_TASKS = 16
_PACK_ENTRIES = 4096
_PLAIN = Epilogue()


def forward_spec(
    conv: Conv,
    input: Layout,
    output: Layout,
    machine: Machine,
    *,
    epilogue: Epilogue = _PLAIN,
    scalars: tuple[str, ...] = (),
    mode: Mode = "images",
    images: int = 1,
) -> tuple[ConvSpec, PackSpec]:
    """The forward kernel for a convolution and the pack of its weights.

    images: how many images a chunk usually has (mode "blocks": the batch); tiles of small maps cover several.

    >>> from vecgrad.spec.geometry import window
    >>> from vecgrad.spec.machine import AVX512
    >>> conv, layout = Conv(window((32, 32), 3, padding="same"), 64, 64), Layout(32, 32, 64, 64)
    >>> spec, pack = forward_spec(conv, layout, layout, AVX512)
    >>> spec.tile.vectors * spec.tile.cols, pack.entries
    (22, 36864)
    """
    tile = gather_tile(conv, "forward", input, output, machine, images, epilogue.pool)
    spec = ConvSpec(conv, input, output, tile, mode, epilogue, scalars)
    return spec, _pack(conv, "forward", tile, output, machine)


def dx_spec(
    conv: Conv,
    dy: Layout,
    dx: Layout,
    machine: Machine,
    *,
    epilogue: Epilogue = _PLAIN,
    scalars: tuple[str, ...] = (),
    mode: Mode = "images",
    images: int = 1,
) -> tuple[ConvDxSpec, PackSpec]:
    """The data gradient's kernel and the pack of its weights; arguments as in ``forward_spec``."""
    tile = gather_tile(conv, "dx", dy, dx, machine, images)
    spec = ConvDxSpec(conv, dy, dx, tile, mode, epilogue, scalars)
    return spec, _pack(conv, "dx", tile, dx, machine)


def blocks(spec: ConvSpec | ConvDxSpec, machine: Machine) -> int:
    """Tasks of a kernel in mode "blocks"."""
    found = gather(spec, machine)
    return found.groups * found.blocks


def dw_spec(
    conv: Conv,
    input: Layout,
    dy: Layout,
    machine: Machine,
    *,
    mode: Mode = "images",
    image_groups: int = 1,
    images_per_group: int = 0,
    slab_stride: int = 0,
    wide: int = 1,
) -> ConvDwSpec:
    """The weight gradient's kernel; the last four arguments are those of mode "blocks".

    ``k_blocks`` and ``c_blocks`` of the result depend on the convolution and ``wide`` alone.
    """
    conv, input, dy = pixelwise(conv, input, dy)
    tile, sections = dw_tile(conv, input, dy, machine, mode, wide), in_sections(conv, mode)
    return ConvDwSpec(conv, input, dy, tile, mode, image_groups, images_per_group, slab_stride, sections)


def _pack(
    conv: Conv, direction: Literal["forward", "dx"], tile: Tile, output: Layout, machine: Machine
) -> PackSpec:
    spec = PackSpec(conv, direction, tile.vectors * machine.lanes(output.dtype), dtype=output.dtype)
    return replace(spec, tasks=max(1, min(_PACK_TASKS, spec.entries // _PACK_ENTRIES)))
