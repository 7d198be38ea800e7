"""Dense layers with many weights, forward and data gradient: weights are brought into a tile's order where they are used.

Packed beforehand, such weights would be written and read once more in each step, and they are larger than what is computed from
them. Loops: block of output channels (a task) → section of the channels that are summed over → chunk of these: its weights into
scratch, → register tiles of images, which go on where the last chunk ended. The weights of a chunk lie in the first-level cache.
A section's sums begin at zero, and at its end the totals take them in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from vecgrad.kernels import access
from vecgrad.kernels._ahead import Ahead
from vecgrad.kernels._cases import cases
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._conv_shape import image_tiles
from vecgrad.kernels._epilogue import Places, Writer
from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels.builder import Builder, Index, Loop, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.kernels.pack import Square
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import SECTION, ConvDxSpec, ConvSpec, DenseDxSpec, DenseSpec, DenseTile, PackSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine

# Images that weights should meet: for fewer it is not worth while to bring them into order anew.
_IMAGES = 16


def cut(direct: ConvSpec | ConvDxSpec, batch: int, machine: Machine) -> DenseSpec:
    """The same product as ``direct`` for up to ``batch`` images, with its register tile, in chunks of weights that take a
    sixth of the first-level cache, or in a single one that takes half of it."""
    output, conv = direct.output, direct.conv
    lanes, item = machine.lanes(output.dtype), ITEM_BYTES[output.dtype]
    forward = isinstance(direct, ConvSpec)
    inner = conv.channels_in if forward else conv.channels_out
    line = direct.tile.vectors * lanes * item
    section = min(inner, SECTION)
    chunk = -(-inner // lanes) * lanes
    if inner > section or inner * line > machine.l1 // 2:
        chunk = _chunk(section, max(machine.l1 // 6 // line, lanes), lanes)
    tile = DenseTile(direct.tile.vectors, direct.tile.images, chunk)
    kind = DenseSpec if forward else DenseDxSpec
    return kind(conv, direct.input, output, tile, batch, direct.epilogue, direct.scalars)


def _chunk(section: int, most: int, lanes: int) -> int:
    """Whole vectors of channels, about ``most``: such that nothing of a section is left over, else in equal parts.

    >>> _chunk(512, 42, 16), _chunk(400, 85, 16)
    (32, 80)
    """
    exact = [n for n in range(lanes, most + 1, lanes) if section % n == 0 and 2 * n > most]
    even = -(-section // -(-section // most))
    return max(exact, default=-(-even // lanes) * lanes)


def serves(conv: Conv, batch: int) -> bool:
    """Whether this is such a layer, and meets images enough to bring its weights into order for them."""
    return conv.dense and batch >= _IMAGES


@dataclass(frozen=True)
class _Shape:
    """A spec in numbers of entries and bytes."""

    spec: DenseSpec
    machine: Machine

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.output.dtype]

    @property
    def block(self) -> int:
        return self.spec.tile.vectors * self.machine.lanes(self.spec.output.dtype)

    @property
    def blocks(self) -> int:
        return -(-self.spec.outer // self.block)

    @property
    def section(self) -> int:
        return min(SECTION, self.spec.inner)

    @property
    def chunk(self) -> int:
        return min(self.spec.tile.chunk, self.section)

    @property
    def single(self) -> bool:
        """Whether sums are complete after one chunk and need no memory."""
        return self.chunk == self.spec.inner

    @property
    def weights(self) -> int:
        """Bytes of a chunk's weights; whole squares are written, and a line keeps what follows off their cache sets."""
        lanes = self.machine.lanes(self.spec.output.dtype)
        return -(-self.chunk // lanes) * lanes * self.block * self.item + 64

    @property
    def sums(self) -> int:
        """Bytes of the sums of all images."""
        return 0 if self.single else self.spec.images * self.block * self.item

    @property
    def totals(self) -> int:
        """Bytes of what all sections before have added up to; 0: there is only one."""
        return self.sums if self.section < self.spec.inner else 0


def blocks(spec: DenseSpec, machine: Machine) -> int:
    """Blocks of output channels: a spec's tasks."""
    return _Shape(spec, machine).blocks


def scratch_bytes(spec: DenseSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    shape = _Shape(spec, machine)
    return shape.weights + shape.sums + shape.totals


class _Generator:
    def __init__(self, shape: _Shape) -> None:
        self.shape, self.spec = shape, shape.spec
        self.b = b = Builder(shape.machine, shape.spec.output.dtype)
        self.item = shape.item
        self.input, self.w = b.operand(0), b.operand(1)
        self.weights, self.sums = b.scratch, b.at(b.scratch, shape.weights)
        # Where the sums of a single section lie, they are the totals.
        self.totals = b.at(self.sums, shape.totals)
        self.writer = Writer(b, self.spec.epilogue, self.spec.output, self.spec.scalars, 2)
        self.block = b.begin
        self.channel = b.mul(self.block, shape.block)
        self.images = b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")

    def module(self) -> str:
        b, spec, shape = self.b, self.spec, self.shape
        if not shape.single:
            for sums in (self.sums, self.totals)[: 2 if shape.totals else 1]:
                with self._vectors() as loop:
                    b.store(b.zero(), b.at(sums, loop.i), b.lanes * self.item)
        whole = spec.inner // shape.section * shape.section
        with b.loop(0, whole, step=shape.section) as section:
            self._section(section.i, shape.section)
        if whole < spec.inner:
            self._section(b.int64(whole), spec.inner - whole)
        if not shape.single:
            self._tiles(lambda image, count: self._write(self._kept(self.totals, image, count), image))
        return b.function(spec.name)

    def _vectors(self) -> AbstractContextManager[Loop]:
        """A loop over the sums of all images, in bytes."""
        b, shape = self.b, self.shape
        return b.loop(0, b.mul(self.images, shape.block * self.item), step=b.lanes * self.item)

    def _section(self, first: Value, count: int) -> None:
        """Channels first … first + count − 1, summed up from zero where there are more of them."""
        b, shape = self.b, self.shape
        whole = count // shape.chunk * shape.chunk
        with b.loop(0, whole, step=shape.chunk) as chunk:
            self._chunk(b.add(first, chunk.i), shape.chunk)
        if whole < count:
            self._chunk(b.add(first, whole), count - whole)
        if shape.totals:
            width = b.lanes * self.item
            with self._vectors() as loop:
                sums, totals = b.at(self.sums, loop.i), b.at(self.totals, loop.i)
                b.store(b.fadd(b.load(b.vector, totals, width), b.load(b.vector, sums, width)), totals, width)
                b.store(b.zero(), sums, width)

    def _tiles(self, body: Callable[[Value, int], None]) -> None:
        """``body`` for tiles of all images, the large ones first."""
        b = self.b
        start: Index = 0
        for size in image_tiles(self.spec.tile.images):
            end = self.images if size == 1 else b.sub(self.images, b.rem(b.sub(self.images, start), size))
            with b.loop(start, end, step=size) as image:
                body(image.i, size)
            start = end

    def _chunk(self, first: Value, count: int) -> None:
        """Channels first … first + count − 1 added to all sums."""
        self._order(first, count)
        self._tiles(lambda image, images: self._add(image, images, first, count))

    def _order(self, first: Value, count: int) -> None:
        """The weights of the chunk's channels and the block's: a line of the block for each channel that is summed over."""
        b, spec, shape = self.b, self.spec, self.shape
        line = shape.block * self.item
        if isinstance(spec, DenseDxSpec):
            self._turned(first, count)
            return
        source = b.entry(self.w, b.add(b.mul(first, spec.outer), self.channel))
        rest = spec.outer - (shape.blocks - 1) * shape.block
        for channels in cases(b, self.block, shape.blocks - 1, shape.block, rest):
            with b.loop(0, count) as c:
                place = b.at(self.weights, b.mul(c.i, line))
                copy_run(b, place, b.at(source, b.mul(c.i, spec.outer * self.item)), channels)
                fill_run(b, b.at(place, channels * self.item), shape.block - channels)

    def _turned(self, first: Value, count: int) -> None:
        """The same of a data gradient: squares of a vector by a vector."""
        b, spec, shape = self.b, self.spec, self.shape
        as_pack = PackSpec(spec.conv, "dx", shape.block, dtype=spec.output.dtype)
        with b.loop(0, shape.block, step=b.lanes) as part, b.loop(0, count, step=b.lanes) as inner:
            c, k = b.add(self.channel, part.i), b.add(first, inner.i)
            square = Square(b, as_pack, b.sub(spec.outer, c), b.sub(spec.inner, k))
            source = b.entry(self.w, b.add(b.mul(c, spec.inner), k))
            target = b.entry(self.weights, b.add(b.mul(inner.i, shape.block), part.i))
            square.write(source, target, shape.block * self.item)

    def _add(self, image: Value, images: int, first: Value, count: int) -> None:
        """A chunk's products added to a tile's sums."""
        b, spec, shape = self.b, self.spec, self.shape
        if images == spec.tile.images and not shape.single and not isinstance(spec, DenseDxSpec):
            self._fetch(image, first, count)
        contraction = Contraction(
            b, [n * spec.input.nbytes for n in range(images)], spec.tile.vectors, 1, b_align=b.lanes * b.item
        )
        x = b.at(b.at(self.input, b.mul(image, spec.input.nbytes)), b.mul(first, self.item))
        sums = contraction.zeros() if shape.single else self._kept(self.sums, image, images)
        sums = contraction.run(sums, x, self.weights, [Level(count, self.item, shape.block * self.item)])
        if shape.single:
            self._write(sums, image)
            return
        for place, value in zip(
            self._places(self.sums, image, images), [value for row in sums for value in row], strict=True
        ):
            b.store(value, place, b.lanes * self.item)

    def _fetch(self, image: Value, first: Value, count: int) -> None:
        """A tile's part of the next chunk's weights, of which a block has pieces that hardware prefetchers do not foresee."""
        b, spec, shape = self.b, self.spec, self.shape
        turns = -(-spec.images // spec.tile.images)
        ahead = Ahead(count, shape.block * self.item, spec.outer * self.item, turns)
        after = b.add(b.mul(b.add(first, count), spec.outer), self.channel)
        ahead.fetch(b, b.around(self.w, b.mul(after, self.item)), b.div(image, spec.tile.images))

    def _places(self, sums: Value, image: Value, images: int) -> list[Value]:
        """Where the vectors of a tile lie in the sums or totals."""
        b, line = self.b, self.shape.block * self.item
        here = b.at(sums, b.mul(image, line))
        return [b.at(here, place) for place in range(0, images * line, b.lanes * self.item)]

    def _kept(self, sums: Value, image: Value, images: int) -> Accumulators:
        b, vectors = self.b, self.spec.tile.vectors
        found = [b.load(b.vector, place, b.lanes * self.item) for place in self._places(sums, image, images)]
        return [found[n * vectors : (n + 1) * vectors] for n in range(images)]

    def _write(self, sums: Accumulators, image: Value) -> None:
        b, spec, shape = self.b, self.spec, self.shape
        zero = b.int64(0)
        places = Places(image, zero, zero, self.channel, [(n, 0, 0) for n in range(len(sums))])
        rest = spec.outer - (shape.blocks - 1) * shape.block
        self.writer.write(sums, places, self.block, shape.blocks - 1, rest, access.whole(b, spec.output))


def generate(spec: DenseSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(_Shape(spec, machine)).module()


def offer(spec: DenseSpec, machine: Machine) -> Offer | Refusal:
    """Whatever is dense."""
    name = "conv_dx.dense" if isinstance(spec, DenseDxSpec) else "conv.dense"
    size, flops = ITEM_BYTES[spec.output.dtype], spec.conv.flops
    inputs, written = spec.epilogue.traffic(spec.output)
    read = spec.input.nbytes + inputs
    shape = _Shape(spec, machine)
    seconds = predicted(
        machine, flops, read + written, spec.output.dtype, 0.9 * spec.outer / (shape.blocks * shape.block)
    )
    return Offer(
        name,
        flops,
        read,
        written,
        seconds,
        f"{spec.inner * spec.outer * size} bytes of weights, read as they are",
    )
