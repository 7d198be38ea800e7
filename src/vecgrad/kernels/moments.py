"""Mean and variance of each channel: chunks of images apart, then together.

A chunk is read twice, for its mean and for the squares of what differs from it, while it is in the cache; chunks are merged by
the formula of Chan, Golub and LeVeque (``reference.normalization.merged``), so no difference of large sums is ever taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vecgrad.kernels import access
from vecgrad.kernels.access import Block, Carried, Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import MergeMomentsSpec, MomentsSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Layout

# Sums of a channel, for the pixels 0, 4, 8 …, 1, 5, 9 …: shorter chains for the latency and for the rounding.
_CHAINS = 4
# Vectors of channels at a time: with their chains they fit the 16 registers of SSE and AVX.
_VECTORS = 2


def offer(spec: MomentsSpec, machine: Machine) -> Offer | Refusal:
    name, layout = "moments.pixels", spec.input
    if not layout.batched:
        return Refusal(name, "the input is not batched")
    flops = 5 * layout.height * layout.width * layout.channels
    seconds = predicted(machine, 2 * flops, 2 * layout.nbytes, layout.dtype)
    return Offer(name, flops, layout.nbytes, 0, seconds, "pixel by pixel")


def generate(spec: MomentsSpec, machine: Machine) -> str:
    layout = spec.input
    pixels, channels = layout.height * layout.width, layout.channels
    b = Builder(machine, layout.dtype)
    one = Layout(1, 1, 1, 1, layout.dtype)
    cursors = [access.cursor(b, 0, layout, pixels), access.cursor(b, 1, one, pixels)]
    partial = b.operand(2)
    with b.loop(0, b.images, 1, [b.number(0.0, b.real)]) as loop:
        weight = b.load(b.real, b.entry(b.operand(1), loop.i), b.item)
        loop.again(b.fadd(loop.carried[0], weight))
    count = b.fmul(loop.results[0], b.number(float(pixels), b.real))
    b.store(count, b.entry(partial, 2 * channels), b.item)
    inverse = b.splat(_inverse(b, count))

    def summed(blocks: Sequence[Block], mean: Sequence[Value] | None) -> list[Value]:
        """Σ w x, or Σ w (x − mean)², of each block."""
        ready = [c.over(blocks) for c in cursors]

        def pixel(there: list[Cursor], carried: Carried) -> Carried:
            # The chain whose turn it is stands first; the turns go round.
            x, weight = there
            now, later = carried[: len(blocks)], carried[len(blocks) :]
            sums = []
            for number, total in enumerate(now):
                value, factor = x.read(number), weight.read(number)
                if mean is not None:
                    value = b.fsub(value, mean[number])
                    factor = b.fmul(factor, value)
                sums.append(b.fma(factor, value, total))
            return [*later, *sums]

        start = [b.zero()] * (_CHAINS * len(blocks))
        chains = access.each_pixel(b, ready, pixels, _CHAINS, pixel, start)
        rounds = [chains[i : i + len(blocks)] for i in range(0, len(chains), len(blocks))]
        while len(rounds) > 1:
            half = len(rounds) // 2
            rounds = [
                [b.fadd(p, q) for p, q in zip(rounds[i], rounds[i + half], strict=True)] for i in range(half)
            ]
        return list(rounds[0])

    def group(blocks: list[Block]) -> None:
        mean = [b.fmul(total, inverse) for total in summed(blocks, None)]
        squares = summed(blocks, mean)
        for place, values in ((partial, mean), (b.entry(partial, channels), squares)):
            for (channel, lanes), value in zip(blocks, values, strict=True):
                access.store_lanes(b, value, b.entry(place, channel), layout.dtype, lanes)

    access.each_group(b, channels, True, _VECTORS, group)
    return b.function(spec.name)


def offer_merge(spec: MergeMomentsSpec, machine: Machine) -> Offer | Refusal:
    read = spec.partials * spec.stride * ITEM_BYTES[spec.dtype]
    flops = 10 * spec.partials * spec.channels
    return Offer("moments.merge", flops, read, 0, predicted(machine, 2 * flops, read, spec.dtype), "pairs")


def generate_merge(spec: MergeMomentsSpec, machine: Machine) -> str:
    b = Builder(machine, spec.dtype)
    partials, results = b.operand(0), (b.operand(1), b.operand(2))
    starts = [b.entry(partials, number * spec.stride) for number in range(spec.partials)]
    counts = [b.load(b.real, b.entry(start, 2 * spec.channels), b.item) for start in starts]

    def group(blocks: list[Block]) -> None:
        for channel, lanes in blocks:

            def known(first: int, end: int, channel: Any = channel, lanes: int = lanes) -> _Known:
                if end - first == 1:
                    mean = b.entry(starts[first], channel)
                    values = (b.load_lanes(p, lanes) for p in (mean, b.entry(mean, spec.channels)))
                    return _Known(b, b.splat(counts[first]), *values)
                half = (first + end) // 2
                return known(first, half).merged(known(half, end))

            whole = known(0, spec.partials)
            variance = b.fmul(whole.squares, _inverse(b, whole.count))
            for place, value in zip(results, (whole.mean, variance), strict=True):
                access.store_lanes(b, value, b.entry(place, channel), spec.dtype, lanes)

    access.each_group(b, spec.channels, True, 1, group)
    return b.function(spec.name)


@dataclass(frozen=True)
class _Known:
    """N, mean and Σ w (x − mean)² of a vector of channels."""

    b: Builder
    count: Value
    mean: Value
    squares: Value

    def merged(self, other: _Known) -> _Known:
        b = self.b
        count = b.fadd(self.count, other.count)
        share = b.fmul(other.count, _inverse(b, count))
        step = b.fsub(other.mean, self.mean)
        between = b.fmul(b.fmul(step, step), b.fmul(self.count, share))
        return _Known(
            b, count, b.fma(step, share, self.mean), b.fadd(b.fadd(self.squares, other.squares), between)
        )


def _inverse(b: Builder, count: Value) -> Value:
    """1 / N; 0 for N = 0."""
    some = b.fcmp("ogt", count, b.number(0.0, count.type))
    return b.select(some, b.fdiv(b.number(1.0, count.type), count), b.number(0.0, count.type))
