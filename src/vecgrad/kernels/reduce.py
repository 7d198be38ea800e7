"""Reductions: over the channels of each pixel, and over the pixels of a chunk of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vecgrad.kernels import access, functions
from vecgrad.kernels.access import Block, Carried, Cursor
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.maps import refusal, traffic, unroll
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import ReduceChannelsSpec, ReducePixelsSpec
from vecgrad.spec.machine import ITEM_BYTES, VIRTUAL_BITS, Machine
from vecgrad.spec.tensor import Layout

# Virtual vectors of a pixel that are written out; beyond, a loop.
_WRITTEN_OUT = 4
# Accumulators of one pass over the pixels: with their addends they fit the 16 registers of SSE and AVX.
_CHAINS = 8


def offer_channels(spec: ReduceChannelsSpec, machine: Machine) -> Offer | Refusal:
    name, output = "reduce.channels", spec.output
    if not output.batched or output.channels != 1:
        return Refusal(name, "the output must be batched and of one channel")
    domain = _domain((output.height, output.width), _widest(spec.inputs), output.dtype)
    if reason := refusal(spec.inputs, domain):
        return Refusal(name, reason)
    return _offer(name, machine, cost([spec.expr]) + 1, domain, traffic(spec.inputs), output.nbytes)


def generate_channels(spec: ReduceChannelsSpec, machine: Machine) -> str:
    b = Builder(machine, spec.output.dtype)
    fold = Fold(b, spec.how, _widest(spec.inputs))
    formula = Formula(b, [spec.expr], spec.scalars)
    pixels = spec.output.height * spec.output.width
    cursors = [access.cursor(b, n, layout, pixels) for n, layout in enumerate(spec.inputs)]
    cursors.append(access.cursor(b, len(spec.inputs), spec.output, pixels, ahead=False))

    def pixel(there: list[Cursor], carried: Carried) -> Carried:
        def values(blocks: list[Block]) -> list[Value]:
            ready = [c.over(blocks) for c in there[:-1]]
            return [formula.write([c.read(number) for c in ready])[0] for number in range(len(blocks))]

        b.store(fold.over_channels(values), there[-1].pointer, b.item)
        return carried

    access.each_pixel(b, cursors, pixels, unroll(cost([spec.expr])) // 2 or 1, pixel)
    return b.function(spec.name)


class Fold:
    """Sum or maximum over the channels of one pixel, in an order that no machine's vector width shows in."""

    def __init__(self, b: Builder, how: str, channels: int) -> None:
        self._b = b
        self._channels = channels
        self._virtual = VIRTUAL_BITS // (8 * b.item)
        self._join = b.fadd if how == "sum" else lambda x, y: functions.maximum(b, x, y)
        self._neutral = b.zero() if how == "sum" else b.number(float("-inf"))

    def over_channels(self, values: Callable[[list[Block]], list[Value]]) -> Value:
        """A scalar; ``values`` gives the expression at vectors of channels."""
        b, wide = self._b, self._virtual
        full, rest = divmod(self._channels, wide)
        total: list[Value] = values(self._blocks(0, wide)) if full else []
        if full > _WRITTEN_OUT:
            with b.loop(wide, full * wide, wide, total) as loop:
                loop.again(*self._joined(loop.carried, values(self._blocks(loop.i, wide))))
            total = loop.results
        else:
            for number in range(1, full):
                total = self._joined(total, values(self._blocks(number * wide, wide)))
        if rest:
            last = self._last(values, full * wide, rest)
            total = self._joined(total, last) if full else last
        return self._lanes(total)

    def _blocks(self, first: Index, count: int) -> list[Block]:
        """The vectors of one virtual vector that hold some of its first ``count`` channels."""
        lanes = self._b.lanes
        return [
            (self._b.add(first, at) if not isinstance(first, int) else first + at, min(lanes, count - at))
            for at in range(0, count, lanes)
        ]

    def _last(self, values: Callable[[list[Block]], list[Value]], first: int, count: int) -> list[Value]:
        """A virtual vector of which only ``count`` lanes are channels, the others neutral."""
        b = self._b
        blocks = self._blocks(first, count)
        result = [
            value if lanes == b.lanes else b.select(b.first_lanes(lanes), value, self._neutral)
            for value, (_, lanes) in zip(values(blocks), blocks, strict=True)
        ]
        return result + [self._neutral] * (self._virtual // b.lanes - len(result))

    def _joined(self, left: Sequence[Value], right: Sequence[Value]) -> list[Value]:
        return [self._join(x, y) for x, y in zip(left, right, strict=True)]

    def _lanes(self, vectors: list[Value]) -> Value:
        """Halves onto halves, first of the virtual vector, then of one vector, down to one lane."""
        b = self._b
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = self._joined(vectors[:half], vectors[half:])
        value, half = vectors[0], b.lanes // 2
        while half:
            order = ", ".join(
                f"i32 {lane + half}" if lane < half else "i32 poison" for lane in range(b.lanes)
            )
            upper = b.let(
                value.type, f"shufflevector {value}, {value.type} poison, <{b.lanes} x i32> <{order}>"
            )
            value, half = self._join(value, upper), half // 2
        return b.let(b.real, f"extractelement {value}, i64 0")


def offer_pixels(spec: ReducePixelsSpec, machine: Machine) -> Offer | Refusal:
    name, domain = "reduce.pixels", _pixels_domain(spec)
    if not any(layout.batched for layout in spec.inputs):
        return Refusal(name, "no input is batched")
    if reason := refusal(spec.inputs, domain):
        return Refusal(name, reason)
    written = len(spec.exprs) * spec.channels * ITEM_BYTES[spec.dtype]
    work = cost(spec.exprs) + len(spec.exprs)
    return _offer(name, machine, work, domain, traffic(spec.inputs), written)


def generate_pixels(spec: ReducePixelsSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    formula = Formula(b, spec.exprs, spec.scalars)
    pixels = spec.size[0] * spec.size[1]
    cursors = [access.cursor(b, n, layout, pixels) for n, layout in enumerate(spec.inputs)]
    slab = Layout(1, 1, spec.channels, spec.channels, spec.dtype, batched=False)
    targets = [
        access.cursor(b, len(spec.inputs) + n, slab, pixels, ahead=False) for n in range(len(spec.exprs))
    ]

    def group(blocks: list[Block]) -> None:
        def pixel(there: list[Cursor], carried: Carried) -> Carried:
            terms = [
                term
                for number in range(len(blocks))
                for term in formula.write([c.read(number) for c in there])
            ]
            return [b.fadd(total, term) for total, term in zip(carried, terms, strict=True)]

        ready = [c.over(blocks) for c in cursors]
        factor = max(1, unroll(cost(spec.exprs)) // len(blocks))
        begin = [b.zero()] * (len(blocks) * len(spec.exprs))
        totals = access.each_pixel(b, ready, pixels, factor, pixel, begin)
        for n, target in enumerate(targets):
            place = target.over(blocks)
            for number, total in enumerate(totals[n :: len(targets)]):
                place.write(number, total)

    chains = max(_CHAINS // len(spec.exprs), 1)
    access.each_group(b, spec.channels, access.exact(b, spec.inputs, [slab]), chains, group)
    return b.function(spec.name)


def _pixels_domain(spec: ReducePixelsSpec) -> Layout:
    return _domain(spec.size, spec.channels, spec.dtype)


def _domain(size: tuple[int, int], channels: int, dtype: str) -> Layout:
    """The map that is reduced, as the expression sees it; it lies nowhere in memory."""
    return Layout(*size, channels, channels, dtype)


def _widest(inputs: Sequence[Layout]) -> int:
    return max((layout.channels for layout in inputs), default=1)


def _offer(name: str, machine: Machine, work: int, domain: Layout, read: int, written: int) -> Offer:
    flops = work * domain.height * domain.width * domain.channels
    seconds = predicted(machine, 2 * flops, read + written, domain.dtype)
    return Offer(name, flops, read, written, seconds, "pixel by pixel")
