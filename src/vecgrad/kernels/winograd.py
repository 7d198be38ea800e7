"""Winograd's F(4 × 4, 3 × 3), forward and data gradient: 36 small matrix products in place of 144 taps.

Weights come packed, in the domain (``_winograd_gather``), or as they are, and tasks transform them (``_winograd_wide``).
"""

from __future__ import annotations

from vecgrad.kernels._prologue_patches import refusal as left
from vecgrad.kernels._winograd_cost import Wide, gather_cycles, refusal, seconds
from vecgrad.kernels._winograd_gather import Generator
from vecgrad.kernels._winograd_shape import Shape
from vecgrad.kernels._winograd_tiles import Grid
from vecgrad.kernels._winograd_wide import WideGenerator, WideShape
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.kernel import WinogradDxSpec, WinogradPackSpec, WinogradSpec
from vecgrad.spec.machine import Machine


def pack(spec: WinogradSpec, machine: Machine) -> WinogradPackSpec:
    """The order of a kernel's packed weights."""
    return Shape(spec, machine).pack


def scratch_bytes(spec: WinogradSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return (WideShape if spec.chunk else Shape)(spec, machine).places[-1]


def offer(spec: WinogradSpec, machine: Machine) -> Offer | Refusal:
    """3 × 3 kernels, stride 1, one group, float32."""
    direction = "dx" if isinstance(spec, WinogradDxSpec) else "forward"
    name = "conv.winograd" if direction == "forward" else "conv_dx.winograd"
    reason = refusal(spec.conv, spec.output.dtype) or left(spec.prologue, spec.parts, machine)
    if reason:
        return Refusal(name, reason)
    inputs, written = spec.epilogue.traffic(spec.output)
    images = spec.images_per_group or max(
        1, spec.tile.block // Grid(spec.output.height, spec.output.width).tiles
    )
    batch = images * spec.image_groups
    if spec.chunk:
        cycles = Wide.of(spec.conv, direction, batch).cycles
        note = f"weights of {spec.chunk} channels transformed together"
    else:
        cycles = gather_cycles(spec.conv, direction, images, batch, spec.parts)
        note = f"{pack(spec, machine).entries * 4} bytes of weights"
    return Offer(
        name,
        spec.conv.flops,
        (spec.unpool or spec.input).nbytes + inputs,
        written,
        seconds(cycles, machine),
        f"36 products for 144, {note}",
    )


def generate(spec: WinogradSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    if spec.chunk:
        return WideGenerator(WideShape(spec, machine)).module()
    return Generator(Shape(spec, machine)).module()
