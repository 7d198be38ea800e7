"""How kernels walk over maps: a cursor per operand, vectors of channels, pixels of all images.

Rules of memory, kept here once: a tensor whose pitch holds whole vectors is read and written in whole
vectors, padding lanes included; arrays without padding, and everything that is not batched, lane by
exact lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vecgrad.kernels.builder import LLVM_TYPE, Builder, Index, Value
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.tensor import Layout

# A vector of channels: the first one, and how many of the lanes are channels.
Block = tuple[Index, int]
Carried = Sequence[Value]

REAL = ("float32", "float64")


@dataclass(frozen=True)
class Cursor:
    """Where an operand stands in a walk over images, pixels and vectors of channels.

    ``image``, ``pixel`` and ``over`` each give a cursor that stands further inside. With ``ahead`` it loads
    at once what stays the same from there on: a number, a pixel's one channel, a per-channel vector.
    ``moves``: the operand has a value for each pixel of the walk.
    """

    b: Builder
    pointer: Value
    layout: Layout
    moves: bool
    ahead: bool = True
    single: Value | None = None
    blocks: tuple[Block, ...] = ()
    vectors: tuple[Value, ...] = ()

    def image(self, number: Index) -> Cursor:
        if not self.layout.batched:
            return self
        there = replace(self, pointer=self.b.at(self.pointer, self.b.mul(number, self.layout.nbytes)))
        return there if self.moves else there._settled()

    def pixel(self, number: Index) -> Cursor:
        """At a pixel, counted from where the cursor stands: the image, or the first one of all."""
        if not self.moves:
            return self
        pitch = self.layout.pitch
        offset = number * pitch if isinstance(number, int) else self.b.mul(number, pitch)
        return replace(self, pointer=self.b.entry(self.pointer, offset, self.layout.dtype))._settled()

    def over(self, blocks: Sequence[Block]) -> Cursor:
        """With the vectors of channels that ``read`` and ``write`` number from 0."""
        there = replace(self, blocks=tuple(blocks), vectors=())
        if self.layout.batched or self.moves or not self.ahead:
            return there
        return replace(there, vectors=tuple(there.read(number) for number in range(len(blocks))))

    def read(self, number: int) -> Value:
        """Vector ``number``, as the builder's real type."""
        if self.single is not None:
            return self.single
        if self.vectors:
            return self.vectors[number]
        return converted(self.b, self.raw(number), self.layout.dtype)

    def raw(self, number: int) -> Value:
        """Vector ``number`` as it lies in memory; lanes that are no channels are 0 or undefined."""
        pointer, count = self._place(number)
        return raw_lanes(self.b, pointer, self.layout.dtype, count)

    def write(self, number: int, value: Value) -> None:
        """Stores vector ``number``; its element type is the layout's."""
        pointer, count = self._place(number)
        store_lanes(self.b, value, pointer, self.layout.dtype, count)

    def _place(self, number: int) -> tuple[Value, int]:
        """Where vector ``number`` lies and how many of its lanes may be touched."""
        channel, count = self.blocks[number]
        pointer = self.b.entry(self.pointer, channel, self.layout.dtype)
        return pointer, self.b.lanes if whole(self.b, self.layout) else count

    def _settled(self) -> Cursor:
        if self.layout.channels > 1 or not self.ahead:
            return self
        return replace(self, single=load_single(self.b, self.pointer, self.layout.dtype))


def cursor(b: Builder, operand: int, layout: Layout, pixels: int, *, ahead: bool = True) -> Cursor:
    """A cursor on an operand at the first image, in a walk over maps of ``pixels`` pixels.

    Outputs, and integers that shall stay integers, take ``ahead=False``.
    """
    moves = layout.height * layout.width == pixels and (layout.batched or pixels > 1)
    there = Cursor(b, b.operand(operand), layout, moves, ahead)
    return there if layout.batched or moves else there._settled()


def whole(b: Builder, layout: Layout) -> bool:
    """Whether every vector of a pixel's channels may be read and written in full."""
    return layout.batched and layout.pitch >= -(-layout.channels // b.lanes) * b.lanes


def exact(b: Builder, inputs: Sequence[Layout], outputs: Sequence[Layout] = ()) -> bool:
    """Whether the last vector of channels must stop at the last channel for one of the operands."""
    vectors = [layout for layout in inputs if layout.channels > 1]
    return not all(whole(b, layout) for layout in (*vectors, *outputs))


def raw_lanes(b: Builder, pointer: Value, dtype: str, count: int) -> Value:
    """The first ``count`` lanes of a vector of ``dtype``, the others 0 and not touched."""
    type_ = f"<{b.lanes} x {LLVM_TYPE[dtype]}>"
    if count >= b.lanes:
        return b.load(type_, pointer, ITEM_BYTES[dtype])
    if count == 1:
        single = b.load(LLVM_TYPE[dtype], pointer, ITEM_BYTES[dtype])
        return b.let(type_, f"insertelement {type_} zeroinitializer, {single}, i64 0")
    return b.load_masked(pointer, b.first_lanes(count), ITEM_BYTES[dtype], type_)


def store_lanes(b: Builder, value: Value, pointer: Value, dtype: str, count: int) -> None:
    """The first ``count`` lanes to memory of ``dtype``, which is also the value's type."""
    if count >= value.lanes:
        b.store(value, pointer, ITEM_BYTES[dtype])
    elif count == 1:
        # A mask of one lane on a truncated vector makes LLVM 22 store the lane before it was truncated.
        b.store(b.let(value.element, f"extractelement {value}, i64 0"), pointer, ITEM_BYTES[dtype])
    else:
        b.store_masked(value, pointer, b.first_lanes(count, value.lanes), ITEM_BYTES[dtype])


def load_single(b: Builder, pointer: Value, dtype: str) -> Value:
    """One entry in every lane, as the builder's real type."""
    return b.splat(converted(b, b.load(LLVM_TYPE[dtype], pointer, ITEM_BYTES[dtype]), dtype))


def converted(b: Builder, value: Value, dtype: str) -> Value:
    """Entries of ``dtype`` as the builder's real type."""
    if dtype == b.dtype:
        return value
    type_ = value.type.replace(LLVM_TYPE[dtype], b.real)
    return b.let(type_, f"{'uitofp' if dtype == 'uint8' else 'sitofp'} {value} to {type_}")


def each_group(
    b: Builder, channels: int, last_exact: bool, size: int, body: Callable[[list[Block]], None]
) -> None:
    """``body`` for all channels in turn, at most ``size`` vectors at a time; a loop where there are many."""
    total = -(-channels // b.lanes)
    blocks: list[Block] = [(number * b.lanes, b.lanes) for number in range(total)]
    if last_exact:
        blocks[-1] = ((total - 1) * b.lanes, channels - (total - 1) * b.lanes)
    full = total - 1 if blocks[-1][1] < b.lanes else total
    turns = full // size
    start = 0
    if turns > 1:
        with b.loop(0, turns * size * b.lanes, size * b.lanes) as loop:
            body([(b.add(loop.i, number * b.lanes), b.lanes) for number in range(size)])
        start = turns * size
    while start < total:
        body(blocks[start : start + size])
        start += size


def unrolled(
    b: Builder,
    total: Index,
    factor: int,
    body: Callable[[Value, Carried], Carried],
    carried: Carried = (),
    unit: int = 1,
) -> Carried:
    """``body(i, carried)`` for i = 0 … total − 1, ``factor`` turns of the loop written out.

    ``unit`` is known to divide ``total``: where ``factor`` divides it too, no turn is left over.
    """

    def several(numbers: list[Value], values: Carried) -> Carried:
        for number in numbers:
            values = body(number, values)
        return values

    return in_turns(b, total, factor, several, carried, unit)


def in_turns(
    b: Builder,
    total: Index,
    factor: int,
    body: Callable[[list[Value], Carried], Carried],
    carried: Carried = (),
    unit: int = 1,
) -> Carried:
    """``body([i, …], carried)`` for i = 0 … total − 1, ``factor`` of them at a time and the last ones singly."""

    def turns(start: Index, stop: Index, step: int, carried: Carried) -> Carried:
        with b.loop(start, stop, step, carried) as loop:
            loop.again(*body([b.add(loop.i, number) for number in range(step)], loop.carried))
        return loop.results

    if isinstance(total, int):
        factor, unit = min(factor, max(total, 1)), total
    if unit % factor == 0:
        return turns(0, total, factor, carried)
    main = total - total % factor if isinstance(total, int) else b.sub(total, b.rem(total, factor))
    return turns(main, total, 1, turns(0, main, factor, carried))


def each_pixel(
    b: Builder,
    cursors: Sequence[Cursor],
    pixels: int,
    factor: int,
    body: Callable[[list[Cursor], Carried], Carried],
    carried: Carried = (),
) -> Carried:
    """``body`` with all cursors at each pixel of each image, in order.

    One loop over the pixels of all images, unless an operand has one pixel per image, or pixels but no images.
    """

    def at(cursors: Sequence[Cursor], number: Index, carried: Carried) -> Carried:
        return body([c.pixel(number) for c in cursors], carried)

    if all(c.moves == c.layout.batched for c in cursors):
        total = b.mul(b.images, pixels)
        return unrolled(b, total, factor, lambda i, values: at(cursors, i, values), carried, pixels)
    with b.loop(0, b.images, 1, carried) as loop:
        there = [c.image(loop.i) for c in cursors]
        loop.again(*unrolled(b, pixels, factor, lambda i, values: at(there, i, values), loop.carried))
    return loop.results


def dynamic_lanes(b: Builder, count: Value) -> Value:
    """A mask whose first ``count`` lanes are on, ``count`` a 64-bit integer known at run time."""
    lane = f"<{b.lanes} x i32>"
    wanted = b.splat(b.let("i32", f"trunc i64 {count.text} to i32"))
    numbers = ", ".join(f"i32 {number}" for number in range(b.lanes))
    return b.let(f"<{b.lanes} x i1>", f"icmp slt {lane} <{numbers}>, {wanted.text}")


def each_vector(
    b: Builder, total: Value, factor: int, unit: int, body: Callable[[list[Value], Value | None], None]
) -> None:
    """``body(first entries, mask)`` for the vectors of a run of ``total`` entries, in order, ``factor`` at a time.

    The mask is None, but for a last vector that the run does not fill: there it says which lanes are
    entries. ``unit`` is known to divide ``total``.
    """

    def full(numbers: list[Value], carried: Carried) -> Carried:
        body([b.mul(number, b.lanes) for number in numbers], None)
        return carried

    vectors = b.div(total, b.lanes)
    filled = unit % b.lanes == 0
    in_turns(b, vectors, factor, full, unit=unit // b.lanes if filled else 1)
    if not filled:
        done = b.mul(vectors, b.lanes)
        rest = b.sub(total, done)
        with b.when(b.icmp("sgt", rest, 0)):
            body([done], dynamic_lanes(b, rest))


def load_run(b: Builder, pointer: Value, mask: Value | None) -> Value:
    """A vector of a run, as ``each_vector`` asks for it."""
    return b.load(b.vector, pointer, b.item) if mask is None else b.load_masked(pointer, mask)


def store_run(b: Builder, value: Value, pointer: Value, mask: Value | None) -> None:
    """A vector to a run, as ``each_vector`` asks for it."""
    if mask is None:
        b.store(value, pointer, b.item)
    else:
        b.store_masked(value, pointer, mask)
