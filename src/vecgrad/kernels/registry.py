"""The kernels there are, in one ordered list: who may serve a spec, and who does."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecgrad.kernels import (
    avg_pool,
    conv,
    conv_dw,
    conv_dw_rows,
    dense,
    depthwise,
    depthwise_dw,
    flat,
    keep,
    maps,
    max_pool,
    measure,
    moments,
    pack,
    peak,
    reduce,
    slide,
    slide_pack,
    strassen,
    strassen_pack,
    winograd,
    winograd_dw,
    winograd_pack,
)
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec import kernel as specs
from vecgrad.spec.errors import CompileError
from vecgrad.spec.kernel import KernelSpec
from vecgrad.spec.machine import Machine


def no_scratch(spec: KernelSpec, machine: Machine) -> int:
    """Most kernels need no memory of their own."""
    return 0


@dataclass(frozen=True)
class Kernel:
    """One way to compute one kind of spec: its offer, its generator and its scratch bytes take (spec, machine)."""

    name: str
    spec: type[KernelSpec]
    offer: Callable[[Any, Machine], Offer | Refusal]
    generate: Callable[[Any, Machine], str]
    scratch: Callable[[Any, Machine], int] = no_scratch


# Of equally cheap offers the first in this list wins.
KERNELS: tuple[Kernel, ...] = (
    Kernel("map.flat", specs.MapSpec, maps.offer_flat, maps.generate_flat),
    Kernel("map.pixels", specs.MapSpec, maps.offer_pixels, maps.generate_pixels),
    Kernel("copy.runs", specs.CopySpec, maps.offer_copy, maps.generate_copy),
    Kernel("copy.channels", specs.CopyChannelsSpec, maps.offer_channels, maps.generate_channels),
    Kernel("flat.map", specs.FlatMapSpec, flat.offer_map, flat.generate_map),
    Kernel("flat.sum", specs.FlatSumSpec, measure.offer_sum, measure.generate_sum),
    Kernel("flat.measure", specs.FlatMeasureSpec, measure.offer, measure.generate),
    Kernel("flat.slabs", specs.SlabSumSpec, flat.offer_slabs, flat.generate_slabs),
    Kernel("reduce.channels", specs.ReduceChannelsSpec, reduce.offer_channels, reduce.generate_channels),
    Kernel("reduce.pixels", specs.ReducePixelsSpec, reduce.offer_pixels, reduce.generate_pixels),
    Kernel("moments.pixels", specs.MomentsSpec, moments.offer, moments.generate),
    Kernel("moments.merge", specs.MergeMomentsSpec, moments.offer_merge, moments.generate_merge),
    Kernel("keep.philox", specs.KeepSpec, keep.offer, keep.generate),
    Kernel("max_pool.windows", specs.MaxPoolSpec, max_pool.offer, max_pool.generate),
    Kernel("max_pool.gather", specs.MaxPoolDxSpec, max_pool.offer_dx, max_pool.generate_dx),
    Kernel("avg_pool.windows", specs.AvgPoolSpec, avg_pool.offer, avg_pool.generate),
    Kernel("avg_pool.gather", specs.AvgPoolDxSpec, avg_pool.offer_dx, avg_pool.generate_dx),
    Kernel("conv.direct", specs.ConvSpec, conv.offer, conv.generate, conv.scratch_bytes),
    Kernel("conv_dx.direct", specs.ConvDxSpec, conv.offer, conv.generate, conv.scratch_bytes),
    Kernel("conv.dense", specs.DenseSpec, dense.offer, dense.generate, dense.scratch_bytes),
    Kernel("conv_dx.dense", specs.DenseDxSpec, dense.offer, dense.generate, dense.scratch_bytes),
    Kernel(
        "conv.depthwise", specs.DepthwiseSpec, depthwise.offer, depthwise.generate, depthwise.scratch_bytes
    ),
    Kernel("conv_dx.depthwise", specs.DepthwiseDxSpec, depthwise.offer, depthwise.generate),
    Kernel(
        "conv_dw.depthwise",
        specs.ConvDwSpec,
        depthwise_dw.offer,
        depthwise_dw.generate,
        depthwise_dw.scratch_bytes,
    ),
    Kernel("conv_dw.direct", specs.ConvDwSpec, conv_dw.offer, conv_dw.generate, conv_dw.scratch_bytes),
    Kernel(
        "conv_dw.rows",
        specs.ConvDwSpec,
        conv_dw_rows.offer,
        conv_dw_rows.generate,
        conv_dw_rows.scratch_bytes,
    ),
    Kernel("conv.slide", specs.SlideSpec, slide.offer, slide.generate),
    Kernel("conv_dx.slide", specs.SlideDxSpec, slide.offer, slide.generate),
    Kernel("conv.winograd", specs.WinogradSpec, winograd.offer, winograd.generate, winograd.scratch_bytes),
    Kernel(
        "conv_dx.winograd", specs.WinogradDxSpec, winograd.offer, winograd.generate, winograd.scratch_bytes
    ),
    Kernel(
        "conv_dw.winograd",
        specs.WinogradDwSpec,
        winograd_dw.offer,
        winograd_dw.generate,
        winograd_dw.scratch_bytes,
    ),
    Kernel(
        "winograd.pack",
        specs.WinogradPackSpec,
        winograd_pack.offer,
        winograd_pack.generate,
        winograd_pack.scratch_bytes,
    ),
    Kernel("conv.strassen", specs.StrassenSpec, strassen.offer, strassen.generate, strassen.scratch_bytes),
    Kernel(
        "conv_dx.strassen", specs.StrassenDxSpec, strassen.offer, strassen.generate, strassen.scratch_bytes
    ),
    Kernel("strassen.pack", specs.StrassenPackSpec, strassen_pack.offer, strassen_pack.generate),
    Kernel("slide.pack", specs.SlidePackSpec, slide_pack.offer, slide_pack.generate),
    Kernel("conv.pack", specs.PackSpec, pack.offer, pack.generate),
    Kernel("peak.chains", specs.PeakSpec, peak.offer, peak.generate),
)


def candidates(spec: KernelSpec, machine: Machine) -> list[Offer | Refusal]:
    """What every kernel for this kind of spec answers, in the order of the list."""
    return [kernel.offer(spec, machine) for kernel in KERNELS if type(spec) is kernel.spec]


def chosen(spec: KernelSpec, machine: Machine) -> Offer:
    """The cheapest offer, the first of equals. Raises CompileError with all refusals when there is none."""
    return cheapest(candidates(spec, machine), spec, machine)


def cheapest(answers: list[Offer | Refusal], spec: KernelSpec, machine: Machine) -> Offer:
    """``chosen`` for who has asked the ``candidates`` already."""
    offers = [answer for answer in answers if isinstance(answer, Offer)]
    if offers:
        return min(offers, key=lambda offer: offer.seconds)
    reasons = "; ".join(f"{a.kernel}: {a.reason}" for a in answers if isinstance(a, Refusal))
    raise CompileError(f"no kernel computes {spec.kind} on {machine.isa}: {reasons or 'none is known'}")


def generate(spec: KernelSpec, machine: Machine) -> str:
    """LLVM IR of a module whose function, named ``spec.name``, computes the spec. Raises CompileError as ``chosen``."""
    return kernel_for(spec, machine).generate(spec, machine)


def identity(spec: KernelSpec, machine: Machine) -> str:
    """What determines ``generate(spec, machine)``: the two records, and the text of the generators themselves."""
    return f"{_generators()};{spec!r};{machine!r}"


@functools.cache
def _generators() -> str:
    """A digest of the source files of this room and of the vocabulary, the only ones that generators import."""
    digest = hashlib.sha256()
    for room in ("kernels", "spec"):
        for path in sorted((Path(__file__).parent.parent / room).rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def scratch_bytes(spec: KernelSpec, machine: Machine) -> int:
    """Bytes of scratch that the chosen kernel uses. Raises CompileError as ``chosen``."""
    return kernel_for(spec, machine).scratch(spec, machine)


def kernel_for(spec: KernelSpec, machine: Machine) -> Kernel:
    """The kernel whose offer is ``chosen``."""
    return kernel_of(chosen(spec, machine), spec)


def kernel_of(offer: Offer, spec: KernelSpec) -> Kernel:
    """The kernel that made an offer for ``spec``."""
    return next(k for k in KERNELS if k.name == offer.kernel and k.spec is type(spec))
