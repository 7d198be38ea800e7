"""Maps: expressions evaluated entry by entry, and copies between layouts."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from vecgrad.kernels import access
from vecgrad.kernels.access import Block, Carried, Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import CopyChannelsSpec, CopySpec, MapSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout

# Vectors of a pixel that are written out; beyond, a loop. Four streams of loads keep a core's ports busy.
_VECTORS = 4


def refusal(inputs: Sequence[Layout], output: Layout) -> str | None:
    """Why a map-like kernel cannot combine these operands; None when it can."""
    if output.dtype not in access.REAL:
        return f"{output.dtype} is not a real type"
    for number, layout in enumerate(inputs):
        if layout.dtype in access.REAL and layout.dtype != output.dtype:
            return f"input {number} is {layout.dtype}, the output {output.dtype}"
        pixels = (layout.height, layout.width)
        if layout.channels not in (1, output.channels):
            return f"input {number} has {layout.channels} channels, the output {output.channels}"
        if pixels not in ((1, 1), (output.height, output.width)):
            return f"input {number} has {pixels} pixels, the output {(output.height, output.width)}"
    return None


def traffic(layouts: Sequence[Layout]) -> int:
    """Bytes per image of the batched operands, padding included."""
    return sum(layout.nbytes for layout in layouts if layout.batched)


def unroll(work: int) -> int:
    """Turns of a loop to write out: more for short bodies, whose latency they hide."""
    return 4 if work <= 12 else 2 if work <= 40 else 1


def turns(formula: Formula) -> int:
    """The same for a loop that writes ``formula.side_by_side``."""
    return max(unroll(formula.cost), formula.together)


def _map_refusal(spec: MapSpec) -> str | None:
    domain = spec.outputs[0]
    for layout in spec.outputs:
        if not layout.batched or layout.shape != domain.shape or layout.dtype != domain.dtype:
            return "outputs must be batched, of one shape and one type"
    return refusal(spec.inputs, domain)


def _map_offer(kernel: str, spec: MapSpec, machine: Machine, reason: str) -> Offer:
    domain = spec.outputs[0]
    flops = cost(spec.exprs) * domain.height * domain.width * domain.channels
    read, written = traffic(spec.inputs), traffic(spec.outputs)
    return Offer(
        kernel, flops, read, written, predicted(machine, 2 * flops, read + written, domain.dtype), reason
    )


def offer_flat(spec: MapSpec, machine: Machine) -> Offer | Refusal:
    """One run over all entries of all images: for operands of one layout, and numbers."""
    name = "map.flat"
    if reason := _map_refusal(spec):
        return Refusal(name, reason)
    domain = spec.outputs[0]
    for number, layout in enumerate((*spec.inputs, *spec.outputs)):
        if layout != domain and (layout.batched or layout.shape != (1, 1, 1)):
            return Refusal(name, f"operand {number} lies otherwise than the first output")
    return _map_offer(name, spec, machine, "one contiguous run")


def generate_flat(spec: MapSpec, machine: Machine) -> str:
    domain = spec.outputs[0]
    b = Builder(machine, domain.dtype)
    formula = Formula(b, spec.exprs, spec.scalars)
    inputs = [
        access.cursor(b, n, layout, domain.height * domain.width) for n, layout in enumerate(spec.inputs)
    ]
    outputs = [b.operand(len(inputs) + n) for n in range(len(spec.outputs))]

    def body(places: list[Value], mask: Value | None) -> None:
        rows = ([c.single or access.load_run(b, b.entry(c.pointer, i), mask) for c in inputs] for i in places)
        for i, values in zip(places, formula.side_by_side(rows), strict=True):
            for pointer, value in zip(outputs, values, strict=True):
                access.store_run(b, value, b.entry(pointer, i), mask)

    total = b.mul(b.images, domain.entries)
    access.each_vector(b, total, turns(formula), domain.entries, body)
    return b.function(spec.name)


def offer_pixels(spec: MapSpec, machine: Machine) -> Offer | Refusal:
    """Pixel by pixel: operands of any layouts."""
    name = "map.pixels"
    if reason := _map_refusal(spec):
        return Refusal(name, reason)
    return _map_offer(name, spec, machine, "pixel by pixel")


def generate_pixels(spec: MapSpec, machine: Machine) -> str:
    domain = spec.outputs[0]
    pixels, count = domain.height * domain.width, len(spec.inputs)
    b = Builder(machine, domain.dtype)
    formula = Formula(b, spec.exprs, spec.scalars)
    cursors = [access.cursor(b, n, layout, pixels) for n, layout in enumerate(spec.inputs)]
    cursors += [access.cursor(b, count + n, y, pixels, ahead=False) for n, y in enumerate(spec.outputs)]
    last_exact = access.exact(b, spec.inputs, spec.outputs)

    def vectors(cursors: Sequence[Cursor], blocks: Sequence[Block]) -> None:
        rows = ([c.read(number) for c in cursors[:count]] for number in range(len(blocks)))
        for number, values in enumerate(formula.side_by_side(rows)):
            for c, value in zip(cursors[count:], values, strict=True):
                c.write(number, value)

    vectors_per_pixel = -(-domain.channels // b.lanes)
    factor = max(1, unroll(formula.cost) // vectors_per_pixel)

    def few(blocks: list[Block]) -> None:
        """Per-channel vectors stay in registers over all pixels."""
        ready = [c.over(blocks) for c in cursors]

        def pixel(there: list[Cursor], carried: Carried) -> Carried:
            vectors(there, blocks)
            return carried

        access.each_pixel(b, ready, pixels, factor, pixel)

    def many(there: list[Cursor], carried: Carried) -> Carried:
        access.each_group(
            b,
            domain.channels,
            last_exact,
            formula.together,
            lambda blocks: vectors([c.over(blocks) for c in there], blocks),
        )
        return carried

    if vectors_per_pixel <= _VECTORS:
        access.each_group(b, domain.channels, last_exact, _VECTORS, few)
    else:
        access.each_pixel(b, cursors, pixels, 1, many)
    return b.function(spec.name)


def offer_copy(spec: CopySpec, machine: Machine) -> Offer | Refusal:
    """Runs of entries that lie side by side in both layouts."""
    name = "copy.runs"
    source, target = spec.input, spec.output
    if source.dtype != target.dtype:
        return Refusal(name, f"a copy keeps the type: {source.dtype} to {target.dtype}")
    if not (source.batched and target.batched) or _size(source) != _size(target):
        return Refusal(name, f"{source.shape} and {target.shape} do not hold the same entries")
    run = gcd(*(_joined(layout).channels for layout in (source, target)))
    slow = 1.0 if run >= machine.lanes(source.dtype) else run / machine.lanes(source.dtype)
    seconds = predicted(machine, 0, source.nbytes + target.nbytes, share=slow)
    return Offer(name, 0, source.nbytes, target.nbytes, seconds, f"runs of {run} entries")


def generate_copy(spec: CopySpec, machine: Machine) -> str:
    source, target = _joined(spec.input), _joined(spec.output)
    run = gcd(source.channels, target.channels)
    b = Builder(machine, source.dtype)
    places = [(b.operand(0), source), (b.operand(1), target)]

    def copy(number: Value, carried: Carried) -> Carried:
        """Run ``number`` of an image: in each layout a part of one pixel."""
        cursors = []
        for pointer, layout in images:
            parts = layout.channels // run
            offset = b.mul(b.div(number, parts), layout.pitch)
            if parts > 1:
                offset = b.add(offset, b.mul(b.rem(number, parts), run))
            # Only a run that is a whole pixel may spill into the padding behind it.
            pitch = layout.pitch if parts == 1 else run
            part = Layout(1, 1, run, pitch, layout.dtype)
            cursors.append(Cursor(b, b.entry(pointer, offset), part, moves=False, ahead=False))

        def block(blocks: list[Block]) -> None:
            read, write = (c.over(blocks) for c in cursors)
            for part in range(len(blocks)):
                write.write(part, read.read(part))

        access.each_group(b, run, access.exact(b, (), [c.layout for c in cursors]), _VECTORS, block)
        return carried

    with b.loop(0, b.images) as loop:
        images = [(b.at(pointer, b.mul(loop.i, layout.nbytes)), layout) for pointer, layout in places]
        access.unrolled(b, _size(source) // run, 1, copy)
    return b.function(spec.name)


def offer_channels(spec: CopyChannelsSpec, machine: Machine) -> Offer | Refusal:
    """Vectors of channels; the last one masked, for what lies behind belongs to others."""
    name = "copy.channels"
    source, target = spec.input, spec.output
    if (source.dtype, source.height, source.width) != (target.dtype, target.height, target.width):
        return Refusal(name, f"{source} and {target} differ in type or pixels")
    nbytes = source.height * source.width * spec.channels * ITEM_BYTES[source.dtype]
    return Offer(name, 0, nbytes, nbytes, predicted(machine, 0, 2 * nbytes), "pixel by pixel")


def generate_channels(spec: CopyChannelsSpec, machine: Machine) -> str:
    source, target = spec.input, spec.output
    pixels = source.height * source.width
    b = Builder(machine, source.dtype)
    cursors = [access.cursor(b, n, layout, pixels, ahead=False) for n, layout in enumerate((source, target))]

    def pixel(there: list[Cursor], carried: Carried) -> Carried:
        read, write = (
            b.entry(c.pointer, first) for c, first in zip(there, (spec.first_in, spec.first_out), strict=True)
        )

        def block(blocks: list[Block]) -> None:
            for channel, lanes in blocks:
                value = access.raw_lanes(b, b.entry(read, channel), source.dtype, lanes)
                access.store_lanes(b, value, b.entry(write, channel), source.dtype, lanes)

        access.each_group(b, spec.channels, True, _VECTORS, block)
        return carried

    access.each_pixel(b, cursors, pixels, max(1, 4 // -(-spec.channels // b.lanes)), pixel)
    return b.function(spec.name)


def _joined(layout: Layout) -> Layout:
    """A map without padding as one pixel of all its entries: runs do not end with a pixel there."""
    if layout.pitch != layout.channels:
        return layout
    return Layout(1, 1, layout.entries, layout.entries, layout.dtype)


def _size(layout: Layout) -> int:
    return layout.height * layout.width * layout.channels
