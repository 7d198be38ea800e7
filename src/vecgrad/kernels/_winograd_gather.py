"""The generator of Winograd's forward pass and data gradient, with packed weights.

Loops: blocks of tiles (which may cross images) → into the Winograd domain → plane → block of output channels → register
tiles of tiles × channels → input channels; then the block's tiles come back, and their epilogue stores them. Where there are
more output channels than input channels a block of them goes all the way before the next. All between input and output
stays in scratch that fits the second-level cache.
"""

from __future__ import annotations

from vecgrad.kernels import _winograd_steps as steps
from vecgrad.kernels import access
from vecgrad.kernels._ahead import Ahead, Stream
from vecgrad.kernels._cases import cases
from vecgrad.kernels._contract import Contraction, Level
from vecgrad.kernels._epilogue import Places
from vecgrad.kernels._pooled import writer
from vecgrad.kernels._prologue import operands
from vecgrad.kernels._winograd_grid import PLANES
from vecgrad.kernels._winograd_shape import Shape
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.spec.tensor import Layout
from vecgrad.spec.winograd import INPUTS, OUTPUTS

_LINE = 64
# Tiles from one whose epilogue is computed to the one whose places are fetched.
_SOON = 2
_Fetching = list[tuple[Ahead, Value]]


class Generator:
    """Writes the kernel of a shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.spec = shape, shape.spec
        self.b = Builder(shape.machine, shape.spec.output.dtype)
        read = 2 if self.spec.unpool else 1 + operands(self.spec.prologue)
        self.input = tuple(self.b.operand(n) for n in range(read))
        self.weights = self.b.operand(read)
        self.first = read + 1
        self.writer = writer(self.b, self.spec.epilogue, self.spec.output, self.spec.scalars, self.first)
        self.maps = self._maps()
        self.memory = [self.b.at(self.b.scratch, place) for place in shape.places[:-1]]

    def module(self) -> str:
        b, s, spec = self.b, self.shape, self.spec
        s.patches.prepare(b, self.memory[0])
        blocks = s.pack.blocks
        if spec.mode == "images":
            self._tiles(b.int64(0), b.mul(b.images, s.grid.tiles), 0, blocks)
            return b.function(spec.name)
        n = b.let("i64", f"fptosi {b.load('double', Value('%scalars', 'ptr'), 8)} to i64")
        if spec.mode == "tiles":
            start = b.mul(b.begin, spec.tile.block)
            end = b.least(b.mul(n, s.grid.tiles), b.add(start, spec.tile.block))
            self._tiles(start, end, 0, blocks)
        else:
            part, group = b.rem(b.begin, spec.parts), b.div(b.begin, spec.parts)
            start = b.mul(group, spec.images_per_group)
            end = b.least(n, b.add(start, spec.images_per_group))
            first = b.div(b.mul(part, blocks), spec.parts)
            last = b.div(b.mul(b.add(part, 1), blocks), spec.parts)
            self._tiles(b.mul(start, s.grid.tiles), b.mul(end, s.grid.tiles), first, last)
        return b.function(spec.name)

    def _tiles(self, start: Value, end: Value, first: Index, last: Index) -> None:
        """Tiles start … end of all images', a block at a time; blocks first … last of their channels."""
        b, s = self.b, self.shape
        with b.loop(start, end, step=self.spec.tile.block) as loop:
            count = b.least(self.spec.tile.block, b.sub(end, loop.i))
            s.patches.transform(
                b, self.memory[0], self.input, 0, loop.i, count, self.memory[2], s.inputs, s.needed
            )
            counts = s.needed.between(b, loop.i, b.add(loop.i, count))
            ahead = self._ahead(loop.i)
            with b.loop(first, last, step=s.blocks_together) as here:
                following = b.least(last, b.add(here.i, s.blocks_together))
                with b.loop(0, PLANES) as plane:
                    self._multiply(counts, plane.i, here.i, following, ahead)
                vectors = s.pack.block // b.lanes
                all_vectors: Index = vectors
                if s.blocks_together > 1:
                    all_vectors = b.mul(b.sub(following, here.i), vectors)
                self._write(loop.i, count, b.mul(here.i, vectors), all_vectors)

    def _ahead(self, first: Value) -> _Fetching:
        """What to fetch while the block from tile ``first`` on is multiplied: the next one's pixels, this one's places.

        Nothing where weights are fetched, which need the same line buffers.
        """
        s, spec = self.shape, self.spec
        if s.streamed:
            return []
        turns = PLANES * (spec.tile.block // spec.tile.scalars)
        source, unit = spec.input, (1, 1)
        if spec.unpool:
            source, unit = spec.unpool.dy, spec.unpool.window.kernel
        following = self.b.add(first, spec.tile.block)
        pixels = self._pixels(self.input[0], source, unit, following)
        found: _Fetching = [self._fetching(pixels, source.pitch, turns * s.pack.blocks)]
        for n, (pointer, layout, each) in enumerate(self.maps):
            width = min(s.pack.block, layout.pitch)
            last = n == len(self.maps) - 1
            found.append(self._fetching(self._pixels(pointer, layout, each, first), width, turns, last))
        return found

    def _maps(self) -> list[tuple[Value, Layout, tuple[int, int]]]:
        """Where a tile's outputs have a place: the maps that the epilogue reads, at last the one that it writes.

        Behind each the pixels of the grid that make one of it."""
        s, spec = self.shape, self.spec
        layouts = list(spec.epilogue.inputs)
        whole = (s.grid.height, s.grid.width)
        found = [
            (self.b.operand(self.first + n), layout, (1, 1))
            for n, layout in enumerate(layouts)
            if layout.batched and (layout.height, layout.width) == whole and layout.channels == s.pack.outer
        ]
        pool = spec.epilogue.pool
        behind = self.first + len(layouts) + (len(pool.inputs) if pool else 0)
        return [*found, (self.b.operand(behind), pool.output if pool else spec.output, spec.epilogue.unit)]

    def _pixels(
        self, pointer: Value, layout: Layout, unit: tuple[int, int], first: Value
    ) -> tuple[Value, int, Layout]:
        """Where a block's pixels of a map begin, and how many they are, where ``unit`` pixels of the grid are one of the map."""
        b, s = self.b, self.shape
        image, row, _ = s.grid.place(b, first)
        place = b.add(b.mul(image, layout.nbytes), b.mul(b.div(row, unit[0]), layout.row * s.item))
        count = self.spec.tile.block * OUTPUTS * OUTPUTS // (unit[0] * unit[1])
        return b.around(pointer, place), count, layout

    def _fetching(
        self, pixels: tuple[Value, int, Layout], channels: int, turns: int, write: bool = False
    ) -> tuple[Ahead, Value]:
        start, count, layout = pixels
        item = self.shape.item
        return Ahead(count, channels * item, layout.pitch * item, turns, write), start

    def _multiply(
        self, counts: dict[int, Value], plane: Value, first: Value, last: Value, ahead: _Fetching
    ) -> None:
        """A plane's products with blocks first … last of the weights.

        The last register tile may multiply what no tile has left there, and nobody reads it.
        """
        b, s, tile = self.b, self.shape, self.spec.tile
        width = b.lanes * s.item
        offsets = [n * s.inputs.tile for n in range(tile.scalars)]
        levels = [Level(s.pack.inner, s.item, s.pack.block * s.item)]
        groups = self._groups(counts)
        most = tile.block // tile.scalars
        a = b.at(self.memory[2], b.mul(plane, s.inputs.plane))
        m = b.at(self.memory[1], b.mul(plane, s.products.plane))
        with b.loop(first, last) as block:
            w = self._packed(block.i, plane)
            more = b.icmp("slt", b.add(block.i, 1), last)
            following = self._packed(
                b.select(more, b.add(block.i, 1), first),
                b.select(more, plane, b.rem(b.add(plane, 1), PLANES)),
            )
            channel = b.mul(block.i, s.pack.block * s.item)
            products = b.at(m, b.mul(b.sub(block.i, first), s.pack.block * s.item))
            visit = (
                b.add(b.mul(plane, s.pack.blocks), block.i)
                if s.in_place
                else b.add(b.mul(block.i, PLANES), plane)
            )
            with b.loop(0, s.needed.of_plane(b, plane, groups)) as group:
                turn = b.add(b.mul(plane, most), group.i)
                for n, (place, start) in enumerate(ahead):
                    if n == 0:
                        place.fetch(b, start, b.add(b.mul(visit, most), group.i))
                    else:
                        place.fetch(b, b.around(start, channel), turn)
                here = b.at(a, b.mul(group.i, tile.scalars * s.inputs.tile))
                there = b.at(products, b.mul(group.i, tile.scalars * s.products.tile))
                contraction = Contraction(
                    b, offsets, tile.vectors, 1, b.lanes * b.item, streams=self._following(following, group.i)
                )
                sums = contraction.run(contraction.zeros(), here, w, levels)
                for n, row in enumerate(sums):
                    for v, value in enumerate(row):
                        b.store(value, b.at(there, n * s.products.tile + v * width), s.item)

    def _packed(self, block: Value, plane: Value) -> Value:
        """A plane of a block of weights."""
        b, pack = self.b, self.shape.pack
        entries = b.add(b.mul(block, pack.block_entries), b.mul(plane, pack.plane))
        return b.around(self.weights, b.mul(entries, self.shape.item))

    def _groups(self, counts: dict[int, Value]) -> dict[int, Value]:
        """For each kind of planes, the register tiles that so many tiles make."""
        b, scalars = self.b, self.spec.tile.scalars
        return {kind: b.div(b.add(count, scalars - 1), scalars) for kind, count in counts.items()}

    def _following(self, weights: Value, group: Value) -> list[Stream]:
        """The share of a group of tiles in fetching the weights that come next, a block's plane at ``weights``, where all of
        them are too many for the second-level cache.

        What is further away comes at a third of the pace, and the first group would wait for it alone. Shares are such that
        planes which need fewer tiles get through: elsewhere the last groups fetch from the plane behind.
        """
        b, s, tile = self.b, self.shape, self.spec.tile
        if not s.streamed:
            return []
        lines = -(-s.pack.inner * s.pack.block * s.item // _LINE)
        fewest = min(s.needed.tiles(kind) or s.grid.tiles for kind in s.needed.kinds if kind != 3)
        share = -(-lines // max(tile.block * fewest // s.grid.tiles // tile.scalars, 1))
        start = b.mul(group, share * _LINE)
        return [Stream(b.around(weights, start), 1, _LINE, share, s.pack.inner)]

    def _write(self, first: Value, count: Value, start: Value, vectors: Index) -> None:
        """Vectors ``start`` … of the channels of the tiles back from the Winograd domain, to the output."""
        b, s = self.b, self.shape
        rows = self.spec.epilogue.covered(self.spec.output)[0]
        whole = isinstance(vectors, int) and s.vectors % vectors == 0
        here = vectors if whole else b.least(vectors, b.sub(s.vectors, start))
        with b.loop(0, count) as each:
            image, row, col = s.grid.place(b, b.add(first, each.i))
            height = b.least(OUTPUTS, b.sub(rows, row))
            places = self._places(first, each.i)
            coming = self._coming(b.add(first, each.i))
            with b.loop(0, here) as vector:
                moved = b.mul(vector.i, b.lanes * s.item)
                self._columns({kind: b.at(place, moved) for kind, place in places.items()})
                with b.loop(0, height, step=self.spec.epilogue.unit[0]) as line:
                    place = (image, b.add(row, line.i), col)
                    self._fetch(coming, line.i, b.add(start, vector.i))
                    self._lines(line.i, place, b.add(start, vector.i))

    def _coming(self, tile: Value) -> list[Value]:
        """Where the pixels of a tile shortly behind ``tile`` lie in each of the ``maps``.

        Where weights are streamed nothing else is fetched while products are formed. A tile's places are then far away, and
        an epilogue of a hundred instructions a vector leaves the processor no room to ask for more than a few at once.
        """
        b, s = self.b, self.shape
        if not s.streamed:
            return []
        image, row, col = s.grid.place(b, b.add(tile, _SOON))
        found = []
        for pointer, layout, unit in self.maps:
            pixel = b.add(b.mul(b.div(row, unit[0]), layout.width), b.div(col, unit[1]))
            place = b.add(b.mul(image, layout.nbytes), b.mul(pixel, layout.pitch * s.item))
            found.append(b.around(pointer, place))
        return found

    def _fetch(self, coming: list[Value], line: Value, vector: Value) -> None:
        """A vector of channels of a line of the pixels at ``coming``, as if all were read: see ``Writer.fetch``."""
        b, s = self.b, self.shape
        moved = b.mul(vector, b.lanes * s.item)
        for start, (_, layout, unit) in zip(coming, self.maps, strict=False):
            here = b.around(b.around(start, moved), b.mul(b.div(line, unit[0]), layout.row * s.item))
            for pixel in range(OUTPUTS // unit[1]):
                b.prefetch(b.around(here, pixel * layout.pitch * s.item))

    def _places(self, first: Value, number: Value) -> dict[int, Value]:
        """Where the products of tile ``first`` + ``number`` lie in each kind of planes, from a plane's beginning on.

        In planes that do not need the tile another one's lie there, and come into outputs that the map does not have.
        """
        b, s = self.b, self.shape
        block = b.sub(number, b.rem(number, self.spec.tile.block))
        before = s.needed.between(b, b.add(first, block), b.add(first, number))
        return {
            kind: b.at(self.memory[1], b.mul(b.add(block, count), s.products.tile))
            for kind, count in before.items()
        }

    def _columns(self, sources: dict[int, Value]) -> None:
        b, s = self.b, self.shape
        for j in range(INPUTS):
            planes = [i * INPUTS + j for i in range(INPUTS)]
            places = [b.at(sources[s.needed.kind(plane)], plane * s.products.plane) for plane in planes]
            column = [b.load(b.vector, place, s.item) for place in places]
            for r, value in enumerate(steps.outputs(b, column)):
                b.store(value, b.at(self.memory[3], (r * INPUTS + j) * _LINE), s.item)

    def _lines(self, line: Value, place: tuple[Value, Value, Value], vector: Value) -> None:
        """The rows of a tile that are stored together: up to four pixels of each."""
        b, s, epilogue = self.b, self.shape, self.spec.epilogue
        image, row, col = place
        source = b.at(self.memory[3], b.mul(line, INPUTS * _LINE))
        values = [
            steps.outputs(
                b, [b.load(b.vector, b.at(source, (r * INPUTS + j) * _LINE), s.item) for j in range(INPUTS)]
            )
            for r in range(epilogue.unit[0])
        ]
        last = s.grid.cols - 1
        overwrite = access.whole(b, self.spec.output)
        rest = s.pack.outer - (s.vectors - 1) * b.lanes
        left = epilogue.covered(self.spec.output)[1] - last * OUTPUTS
        for width in cases(b, b.div(col, OUTPUTS), last, OUTPUTS, max(left, 0)):
            pixels = [(0, r, n) for r in range(len(values)) for n in range(width)]
            places = Places(image, row, col, b.mul(vector, b.lanes), pixels)
            sums = [[values[r][n]] for _, r, n in pixels]
            self.writer.write(sums, places, vector, s.vectors - 1, rest, overwrite)
