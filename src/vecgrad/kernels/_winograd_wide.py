"""Winograd's F(4 × 4, 3 × 3) for wide layers: weights go into the domain where they are used, and are never stored there.

In the domain a layer's weights are four times as large. Where few tiles meet them, writing and reading them costs more than
the transform itself. Loops: part of the output channels (a task) → tiles that stay together → chunk of input channels: its
weights into the domain, → block of tiles into the domain → plane → register tiles, which go on where the last chunk ended.
Weights, inputs and products of a task lie in the second-level cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels._winograd_gather import Generator
from vecgrad.kernels._winograd_shape import Shape
from vecgrad.kernels._winograd_tiles import PLANES, Domain, Patches, apart
from vecgrad.kernels.builder import Index, Value
from vecgrad.kernels.winograd_pack import Packing
from vecgrad.kernels.winograd_pack import scratch_bytes as packing_bytes
from vecgrad.spec.kernel import WinogradPackSpec


@dataclass(frozen=True)
class WideShape(Shape):
    """What a generator needs to know about a spec with chunks."""

    @property
    def part(self) -> int:
        """Output channels of a task."""
        total = -(-super().pack.outer // self.lanes)
        return -(-total // self.spec.parts) * self.lanes

    @property
    def pack(self) -> WinogradPackSpec:
        """Its blocks are the parts."""
        return WinogradPackSpec(self.spec.conv, "forward" if self.forward else "dx", self.part)

    @property
    def weight_plane(self) -> int:
        """Entries from a plane of a chunk's weights to the next."""
        return self.spec.chunk * self.part + 16

    @property
    def patches(self) -> Patches:
        return replace(super().patches, channels=self.spec.chunk)

    @property
    def inputs(self) -> Domain:
        return Domain(self.spec.tile.block, self.spec.chunk, self.item)

    @property
    def in_place(self) -> bool:
        """Products are added to for every chunk."""
        return False

    @property
    def products(self) -> Domain:
        return Domain(self.spec.together, self.part, self.item)

    @property
    def places(self) -> tuple[int, ...]:
        """As a shape's; before the end a chunk's weights and the scratch of their transform."""
        places = list(super().places)
        for size in (PLANES * self.weight_plane * self.item, packing_bytes(self.pack, self.machine)):
            places.append(places[-1] + apart(size))
        return tuple(places)


class WideGenerator(Generator):
    """The kernel of a spec with chunks."""

    def __init__(self, shape: WideShape) -> None:
        super().__init__(shape)
        self.wide = shape
        weights = (self.weights, self.memory[5])
        self.packing = Packing(self.b, shape.pack, *weights, plane=shape.weight_plane)

    def _tiles(self, start: Value, end: Value, first: Index, last: Index) -> None:
        """Tiles start … end; the part of the channels that this task computes."""
        b, s = self.b, self.wide
        part = b.rem(b.begin, self.spec.parts)
        chunk = self.spec.chunk
        with b.loop(start, end, step=self.spec.together) as loop:
            count = b.least(self.spec.together, b.sub(end, loop.i))
            fill_run(b, self.memory[1], s.products.nbytes // s.item)
            with b.loop(0, s.pack.inner, step=chunk) as channel:
                here: Index = chunk
                if s.pack.inner % chunk:
                    here = b.least(chunk, b.sub(s.pack.inner, channel.i))
                self._transform_weights(part, channel.i, here)
                with b.loop(0, count, step=self.spec.tile.block) as block:
                    tiles = b.least(self.spec.tile.block, b.sub(count, block.i))
                    tile = b.add(loop.i, block.i)
                    s.patches.transform(
                        b,
                        self.memory[0],
                        self.input,
                        channel.i,
                        tile,
                        tiles,
                        self.memory[2],
                        s.inputs,
                        s.needed,
                    )
                    products = b.at(self.memory[1], b.mul(block.i, s.products.tile))
                    self._add(s.needed.between(b, tile, b.add(tile, tiles)), here, products)
            vectors = s.part // b.lanes
            self._write(loop.i, count, b.mul(part, vectors), vectors)

    def _transform_weights(self, part: Value, channel: Value, here: Index) -> None:
        """Channels ``channel`` … of the part's weights into the domain, to the start of their memory."""
        b, s = self.b, self.wide
        size = 1 if s.forward else b.lanes
        first = b.div(channel, size)
        turns = here if size == 1 else b.div(b.add(here, size - 1), size)
        with b.loop(first, b.add(first, turns)) as unit:
            self.packing.unit(part, unit.i, self.memory[4], channel)

    def _add(self, counts: dict[int, Value], here: Index, products: Value) -> None:
        """A chunk's 36 products, added to what the chunks before it gave."""
        b, s, tile = self.b, self.wide, self.spec.tile
        width = b.lanes * s.item
        contraction = Contraction(
            b, [n * s.inputs.tile for n in range(tile.scalars)], tile.vectors, 1, b.lanes * b.item
        )
        levels = [Level(here, s.item, s.part * s.item)]
        groups = self._groups(counts)
        with b.loop(0, PLANES) as plane:
            a = b.at(self.memory[2], b.mul(plane.i, s.inputs.plane))
            w = b.at(self.memory[4], b.mul(plane.i, s.weight_plane * s.item))
            m = b.at(products, b.mul(plane.i, s.products.plane))
            with b.loop(0, s.needed.of_plane(b, plane.i, groups)) as group:
                left = b.at(a, b.mul(group.i, tile.scalars * s.inputs.tile))
                there = b.at(m, b.mul(group.i, tile.scalars * s.products.tile))
                with b.loop(0, s.part * s.item, step=tile.vectors * width) as k:
                    place = b.at(there, k.i)
                    at = [
                        [n * s.products.tile + v * width for v in range(tile.vectors)]
                        for n in range(tile.scalars)
                    ]
                    sums: Accumulators = [
                        [b.load(b.vector, b.at(place, each), s.item) for each in row] for row in at
                    ]
                    sums = contraction.run(sums, left, b.at(w, k.i), levels)
                    for row, values in zip(at, sums, strict=True):
                        for each, value in zip(row, values, strict=True):
                            b.store(value, b.at(place, each), s.item)
