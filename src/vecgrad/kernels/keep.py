"""Random masks: Philox in vector instructions, one byte for each entry.

Words are held in 64-bit lanes, whose products of two words a machine has an instruction for. Draws belong to runs of 16
channels whatever the width of vectors, so the bits depend on neither.
"""

from __future__ import annotations

from math import gcd

from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.kernel import KeepSpec
from vecgrad.spec.machine import Machine
from vecgrad.spec.random import KEPT_LANES, MASK, MULTIPLIERS, ROUNDS, STREAM_DROPOUT, WEYL, substream

# Instructions for an entry: a round is about 14 for as many words as a vector has, and a draw gives four.
_WORK = 4


def offer(spec: KeepSpec, machine: Machine) -> Offer | Refusal:
    name, layout = "keep.philox", spec.output
    if layout.dtype != "uint8" or not layout.batched:
        return Refusal(name, "a mask is uint8 and batched")
    if missing := {"mask_step", "seed_low", "seed_high"} - set(spec.scalars):
        return Refusal(name, f"without the runtime scalars {sorted(missing)}")
    work = _WORK * layout.entries
    seconds = predicted(machine, 2 * work, layout.nbytes)
    return Offer(name, work, 0, layout.nbytes, seconds, f"{_lanes(spec, machine)} words at a time")


def _lanes(spec: KeepSpec, machine: Machine) -> int:
    """Words of a vector: as many as divide a pixel, so that every store is whole."""
    return gcd(spec.output.pitch, machine.lanes("float32"), KEPT_LANES)


def generate(spec: KeepSpec, machine: Machine) -> str:
    layout, lanes = spec.output, _lanes(spec, machine)
    b = Builder(machine)
    words = _Words(b, spec, lanes)
    per_pixel = -(-layout.channels // KEPT_LANES)
    runs = layout.height * layout.width * per_pixel
    # Vectors that the last run of a pixel has room for.
    room = (layout.pitch - (per_pixel - 1) * KEPT_LANES) // lanes

    def group(image: Value, number: Value, start: Index, count: int) -> None:
        """``count`` ≤ 4 runs from number ``start`` on, the words of one vector of draws."""
        drawn = [
            words.draw(image, number, part)
            for part in range(min(KEPT_LANES // lanes, room if per_pixel == 1 else 99))
        ]
        for word in range(count):
            run = b.add(start, word)
            place = b.mul(b.div(run, per_pixel), layout.pitch)
            within = b.rem(run, per_pixel) if per_pixel > 1 else b.int64(0)
            pointer = b.at(there, b.add(place, b.mul(within, KEPT_LANES)))
            for part, four in enumerate(drawn):
                mask = words.kept(four[word])
                if part < room:
                    b.store(mask, b.at(pointer, part * lanes), 1)
                else:
                    with b.when(b.icmp("slt", within, per_pixel - 1)):
                        b.store(mask, b.at(pointer, part * lanes), 1)

    with b.loop(0, b.images) as loop:
        there = b.at(b.operand(0), b.mul(loop.i, layout.nbytes))
        image = b.add(b.begin, loop.i)
        with b.loop(0, runs // 4) as turn:
            group(image, turn.i, b.mul(turn.i, 4), 4)
        if runs % 4:
            group(image, b.int64(runs // 4), runs - runs % 4, runs % 4)
    return b.function(spec.name)


class _Words:
    """Philox4x32-10 as ``vecgrad.spec.random.philox`` has it, on vectors of 64-bit lanes."""

    def __init__(self, b: Builder, spec: KeepSpec, lanes: int) -> None:
        self._b, self._spec, self._lanes = b, spec, lanes
        self._type = f"<{lanes} x i64>"
        self._step = self._splat(self._whole("mask_step"))
        keys = [self._whole("seed_low"), self._whole("seed_high")]
        self._keys: list[tuple[Value, ...]] = []
        for _ in range(ROUNDS):
            self._keys.append(tuple(self._splat(key) for key in keys))
            keys = [
                b.let("i64", f"and {b.add(key, weyl)}, {MASK}") for key, weyl in zip(keys, WEYL, strict=True)
            ]

    def _whole(self, name: str) -> Value:
        """A runtime scalar that is a word, exactly."""
        b = self._b
        pointer = b.at(Value("%scalars", "ptr"), 8 * self._spec.scalars.index(name))
        return b.let("i64", f"fptosi {b.load('double', pointer, 8)} to i64")

    def _splat(self, value: Value) -> Value:
        return self._b.splat(value, self._lanes)

    def _constant(self, value: int) -> Value:
        return self._b.broadcast_constant(str(value), self._type)

    def _op(self, op: str, x: Value, y: Value) -> Value:
        return self._b.let(self._type, f"{op} {x}, {y.text}")

    def draw(self, image: Value, number: Value, part: int) -> tuple[Value, ...]:
        """Four words for the lanes part · lanes … of draws number · 16 …"""
        first = part * self._lanes
        lanes = ", ".join(f"i64 {first + lane}" for lane in range(self._lanes))
        start = self._splat(self._b.mul(number, KEPT_LANES))
        x = self._b.let(self._type, f"add {start}, <{lanes}>")
        y, z = self._splat(image), self._step
        t = self._constant(substream(STREAM_DROPOUT, self._spec.mask))
        low, shift = self._constant(MASK), self._constant(32)
        for key in self._keys:
            left = self._op("mul", x, self._constant(MULTIPLIERS[0]))
            right = self._op("mul", z, self._constant(MULTIPLIERS[1]))
            x, y, z, t = (
                self._op("xor", self._op("xor", self._op("lshr", right, shift), y), key[0]),
                self._op("and", right, low),
                self._op("xor", self._op("xor", self._op("lshr", left, shift), t), key[1]),
                self._op("and", left, low),
            )
        return x, y, z, t

    def kept(self, word: Value) -> Value:
        """1 where a word is at least the threshold, as bytes."""
        b, lanes = self._b, self._lanes
        limit = self._constant(self._spec.threshold)
        condition = b.let(f"<{lanes} x i1>", f"icmp uge {word}, {limit.text}")
        return b.let(f"<{lanes} x i8>", f"zext {condition} to <{lanes} x i8>")
