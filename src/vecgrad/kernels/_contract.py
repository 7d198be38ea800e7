"""The register tile: a block of accumulators to which a loop nest adds outer products.

accumulators[p][v] += a[offset_p] · B_v, where a is a scalar broadcast and B_v a vector. Forward and data
gradient walk rows of taps, channels, taps (a: pixels, B: packed weights); the weight gradient walks pixels
(a: taps and channels of x, B: vectors of dy). One generator serves them all.

Steps of the innermost loop come in bundles whose B vectors are all held in registers. Where windows
overlap, one scalar then serves several steps: pixel p at tap s + 1 is pixel p + 1 at tap s. It is loaded
once, which is what thin layers need: with one vector of channels every product would cost a load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vecgrad.kernels._ahead import Stream
from vecgrad.kernels.builder import Builder, Index, Value

Accumulators = list[list[Value]]

# Multiply-adds in the body of the innermost loop: enough to hide the loop, 2 KB of code on AVX-512.
_BODY = 200
_RUNTIME_TURNS = 4  # of a loop whose count is known at run time only: the rest is done one by one
_TURNS = 16  # and no more steps than this: tiles of few pixels wait for their sums anyway


@dataclass(frozen=True)
class Level:
    """One loop of the nest: turns, and the bytes by which a and B move from a turn to the next."""

    count: Index
    a_step: int
    b_step: int


_ONCE = Level(1, 0, 0)


def merged(levels: Sequence[Level]) -> list[Level]:
    """The same walk in as few loops as possible: a loop of one turn goes, contiguous ones are joined.

    >>> merged([Level(3, 400, 96), Level(3, 16, 32), Level(4, 4, 8)])
    [Level(count=3, a_step=400, b_step=96), Level(count=12, a_step=4, b_step=8)]
    """
    result: list[Level] = []
    for level in reversed(levels):
        if level.count == 1:
            continue
        inner = result[0] if result else None
        if (
            inner is not None
            and isinstance(inner.count, int)
            and isinstance(level.count, int)
            and level.a_step == inner.count * inner.a_step
            and level.b_step == inner.count * inner.b_step
        ):
            result[0] = Level(level.count * inner.count, inner.a_step, inner.b_step)
        else:
            result.insert(0, level)
    return result


def unrolled(count: int, most: int) -> int:
    """How many turns of ``count`` to write out: all of them, else the largest exact divisor that is not far below.

    >>> unrolled(9, 12), unrolled(64, 9), unrolled(51, 8), unrolled(17, 8)
    (9, 8, 8, 8)
    """
    if count <= most:
        return count
    exact = [u for u in range((most + 1) // 2, most + 1) if count % u == 0]
    return max(exact, default=max(most, 1))


def room(scalars: int, vectors: int) -> int:
    """Steps that make a body of a tile.

    >>> room(6, 4), room(11, 2), room(2, 1)
    (8, 9, 16)
    """
    return max(min(_BODY // (scalars * vectors), _TURNS), 1)


class Contraction:
    """A register tile on a builder.

    offsets: the bytes that place its scalars. vectors: of B. share: steps in a bundle. b_align: of B's loads.
    live: for each step of the innermost loop, whose steps are then all written out, the scalars that take part; None: all.
    streams: what to fetch meanwhile. last: entries of B's last vector that may be read (0: all).
    kept: where B's vectors are copied to on their way, in the order of the steps; None: nowhere.
    hidden: loops whose length is known at run time only hide their pointers from the optimiser, which else keeps one for each
    scalar.
    """

    def __init__(
        self,
        b: Builder,
        offsets: Sequence[int],
        vectors: int,
        share: int,
        b_align: int,
        live: Sequence[Sequence[int]] | None = None,
        *,
        streams: Sequence[Stream] = (),
        last: int = 0,
        kept: Value | None = None,
        hidden: bool = False,
    ) -> None:
        self.b = b
        self.live = live
        self.offsets = list(offsets)
        self.vectors = vectors
        self.share = share
        self.b_align = b_align
        self.streams = list(streams)
        self.last = last
        self.kept = kept
        self.hidden = hidden

    def zeros(self) -> Accumulators:
        return [[self.b.zero() for _ in range(self.vectors)] for _ in self.offsets]

    def run(
        self, accumulators: Accumulators, a: Value, b_pointer: Value, levels: Sequence[Level]
    ) -> Accumulators:
        """The accumulators after the whole walk."""
        flat = [value for row in accumulators for value in row] + [stream.start for stream in self.streams]
        flat += [self.kept] if self.kept is not None else []
        self._bounds = [stream.bound(self.b) for stream in self.streams]
        levels = merged(levels) if self.live is None else [*merged(levels[:-1]), levels[-1]]
        if not levels:
            levels = [_ONCE]
        flat = self._nest(flat, a, b_pointer, levels)
        v = self.vectors
        return [flat[p * v : (p + 1) * v] for p in range(len(self.offsets))]

    def in_sections(
        self, totals: Accumulators, a: Value, b_pointer: Value, level: Level, section: int
    ) -> Accumulators:
        """The totals after the walk, when every ``section`` turns are summed up from zero and added at their end."""
        b, v = self.b, self.vectors
        assert isinstance(level.count, int)
        whole = level.count // section
        flat = [value for row in totals for value in row]

        def more(flat: list[Value], a: Value, w: Value, count: int) -> list[Value]:
            sums = self.run(self.zeros(), a, w, [replace(level, count=count)])
            return [b.fadd(x, y) for x, y in zip(flat, (y for row in sums for y in row), strict=True)]

        with b.loop(0, whole, carried=[*flat, a, b_pointer]) as loop:
            *start, a_now, w_now = loop.carried
            done = more(start, a_now, w_now, section)
            loop.again(*done, b.at(a_now, section * level.a_step), b.at(w_now, section * level.b_step))
        *flat, a, b_pointer = loop.results
        if level.count % section:
            flat = more(flat, a, b_pointer, level.count % section)
        return [flat[p * v : (p + 1) * v] for p in range(len(self.offsets))]

    def _room(self) -> int:
        """Steps that make a body."""
        return room(len(self.offsets), self.vectors)

    def _nest(self, flat: list[Value], a: Value, w: Value, levels: list[Level]) -> list[Value]:
        outer, inner = levels[0], levels[-1]
        if len(levels) == 1:
            return (
                self._straight(flat, a, w, _ONCE, inner, 1) if self.live else self._alone(flat, a, w, inner)
            )
        if len(levels) == 2 and isinstance(inner.count, int) and (self.live or inner.count <= self._room()):
            return self._turns(flat, a, w, outer, inner)
        with self.b.loop(0, outer.count, carried=[*flat, a, w]) as loop:
            *start, a_now, w_now = loop.carried
            done = self._nest(start, a_now, w_now, levels[1:])
            loop.again(*done, self.b.at(a_now, outer.a_step), self.b.at(w_now, outer.b_step))
        return loop.results[:-2]

    def _alone(self, flat: list[Value], a: Value, w: Value, level: Level) -> list[Value]:
        """One loop: turns of one bundle each, then what is left."""
        if not isinstance(level.count, int):
            return self._turns(flat, a, w, level, _ONCE)
        share = min(self.share, level.count)
        whole = level.count // share
        outer = Level(whole, share * level.a_step, share * level.b_step)
        flat = self._turns(flat, a, w, outer, replace(level, count=share))
        a, w = self.b.at(a, whole * outer.a_step), self.b.at(w, whole * outer.b_step)
        return self._straight(flat, a, w, _ONCE, replace(level, count=level.count - whole * share), 1)

    def _turns(self, flat: list[Value], a: Value, w: Value, outer: Level, inner: Level) -> list[Value]:
        """A loop over ``outer``, several turns written out, all of ``inner`` in each of them."""
        assert isinstance(inner.count, int)
        most = max(self._room() // inner.count, 1)
        if isinstance(outer.count, int):
            count = unrolled(outer.count, most)
            flat, a, w = self._loop(flat, a, w, outer, inner, outer.count // count, count)
            return self._straight(flat, a, w, outer, inner, outer.count % count)
        count = min(most, _RUNTIME_TURNS)
        flat, a, w = self._loop(flat, a, w, outer, inner, self.b.div(outer.count, count), count)
        if count > 1:
            flat, a, w = self._loop(flat, a, w, outer, inner, self.b.rem(outer.count, count), 1)
        return flat

    def _loop(
        self, flat: list[Value], a: Value, w: Value, outer: Level, inner: Level, turns: Index, count: int
    ) -> tuple[list[Value], Value, Value]:
        """``turns`` turns with ``count`` of the level's turns written out in each; where the pointers stand then."""
        b = self.b
        a_step, w_step = count * outer.a_step, count * outer.b_step
        if turns == 1:
            return self._body(flat, a, w, outer, inner, count), b.at(a, a_step), b.at(w, w_step)
        with b.loop(0, turns, carried=[*flat, a, w]) as loop:
            *start, a_now, w_now = loop.carried
            if not isinstance(turns, int) and self.hidden:
                a_now, w_now = b.opaque(a_now), b.opaque(w_now)
            done = self._body(start, a_now, w_now, outer, inner, count)
            loop.again(*done, b.at(a_now, a_step), b.at(w_now, w_step))
        return loop.results[:-2], loop.results[-2], loop.results[-1]

    def _body(
        self, flat: Sequence[Value], a: Value, w: Value, outer: Level, inner: Level, count: int
    ) -> list[Value]:
        """As ``_straight``, and what its steps are to fetch."""
        assert isinstance(inner.count, int)
        result = self._straight(flat, a, w, outer, inner, count)
        for n, stream in enumerate(self.streams, len(self.offsets) * self.vectors):
            bound = self._bounds[n - len(self.offsets) * self.vectors]
            result[n] = stream.fetch(self.b, result[n], bound, count * inner.count)
        return result

    def _straight(
        self, flat: Sequence[Value], a: Value, w: Value, outer: Level, inner: Level, count: int
    ) -> list[Value]:
        """``count`` turns of ``outer`` without a loop, bundle by bundle."""
        assert isinstance(inner.count, int)
        result = list(flat)
        pixel = self.vectors * self.b.lanes * self.b.item
        for turn in range(count):
            for first in range(0, inner.count, self.share):
                steps = range(first, min(first + self.share, inner.count))
                a_steps = [turn * outer.a_step + step * inner.a_step for step in steps]
                b_steps = [turn * outer.b_step + step * inner.b_step for step in steps]
                live = None if self.live is None else [self.live[step] for step in steps]
                self._bundle(result, a, w, a_steps, b_steps, live)
                if self.kept is not None:
                    result[-1] = self.b.at(result[-1], len(steps) * pixel)
        return result

    def _bundle(
        self, sums: list[Value], a: Value, w: Value, a_steps: list[int], b_steps: list[int],
        live: Sequence[Sequence[int]] | None,
    ) -> None:  # fmt: skip
        """Steps that share scalars: each scalar is loaded once and meets its steps in their order."""
        b = self.b
        width = b.lanes * b.item
        held: dict[int, list[Value]] = {}
        uses: dict[int, list[tuple[int, int]]] = {}
        for step, moved in enumerate(a_steps):
            for p in range(len(self.offsets)) if live is None else live[step]:
                uses.setdefault(self.offsets[p] + moved, []).append((p, step))
        for place in sorted(uses) if len(a_steps) > 1 else uses:
            scalar = b.load_splat(b.at(a, place))
            touched = []
            for p, step in uses[place]:
                if step not in held:
                    held[step] = [
                        self._vector(b.at(w, b_steps[step] + v * width), v) for v in range(self.vectors)
                    ]
                    if self.kept is not None:
                        line = b.at(sums[-1], step * self.vectors * width)
                        for v, vector in enumerate(held[step]):
                            b.store(vector, b.at(line, v * width), width)
                for v, vector in enumerate(held[step]):
                    n = p * self.vectors + v
                    sums[n] = b.fma(scalar, vector, sums[n])
                    touched.append(n)
            for n, value in zip(touched, b.pinned([sums[n] for n in touched]), strict=True):
                sums[n] = value

    def _vector(self, pointer: Value, number: int) -> Value:
        """B's vector of that number."""
        if self.last and number == self.vectors - 1:
            return self.b.load_lanes(pointer, self.last)
        return self.b.load(self.b.vector, pointer, self.b_align)
