"""Weight gradient of a depthwise convolution: lanes are channels, a sum for each tap stays in registers for a row of dy.

dy's pixels of a tile are held too, so that each vector of x is loaded once for the kernel columns it meets. Where taps are too many
for the registers, kernel rows are taken in groups. The chain of an entry is the direct kernel's.

Loops: images → group of kernel rows → rows → vector of channels → tile of columns. Sums lie in the slab between rows; taken
row by row, x and dy are read in the order in which they lie in memory, and three rows of x stay near. Of large images the next row
is fetched meanwhile. Behind a prologue rows of x are made once and stay in a ring of as many as a row of dy meets.
"""

from __future__ import annotations

from collections.abc import Iterator

from vecgrad.kernels import access
from vecgrad.kernels._ahead import FAR
from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._depthwise_tile import Run, free, lines, near, refusal
from vecgrad.kernels._prologue import Reader, Ring, operands
from vecgrad.kernels._runs import fill_run
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.geometry import Conv
from vecgrad.spec.kernel import ConvDwSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine

# Pixels of dy that a tile holds at least, where kernel rows can be cut for it, and at most.
_LEAST, _MOST = 4, 6
# Sums of taps: (kernel row, kernel column).
_Sums = dict[tuple[int, int], Value]
# Where rows of x begin, counted from the first one that a row of dy meets: that one alone, or each where they are in a ring.
_Rows = dict[int, Value]


def offer(spec: ConvDwSpec, machine: Machine) -> Offer | Refusal:
    """One filter for each channel, in chunks of images."""
    reason = refusal(spec.conv)
    if not reason and spec.mode != "images":
        reason = "channels of depthwise convolutions are not cut into blocks"
    if not reason and spec.prologue is not None and not _in_a_ring(spec.conv, machine):
        reason = "rows of inputs behind a prologue exceed the first-level cache, or taps the registers"
    if reason:
        return Refusal("conv_dw.depthwise", reason if spec.conv.depthwise else "")
    flops, read = spec.conv.flops, spec.input.nbytes + spec.dy.nbytes
    seconds = predicted(machine, flops, read, spec.dy.dtype, 0.6)
    return Offer("conv_dw.depthwise", flops, read, 0, seconds, "a sum for each tap in registers")


def scratch_bytes(spec: ConvDwSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses: the ring of rows behind a prologue."""
    if spec.prologue is None:
        return 0
    dtype = spec.input.dtype
    return Ring.nbytes(spec.input, _rows(spec.conv), machine.lanes(dtype), ITEM_BYTES[dtype])


def _rows(conv: Conv) -> int:
    """Rows of x that a row of dy meets, those between them included."""
    return conv.window.rows.extent


def _in_a_ring(conv: Conv, machine: Machine) -> bool:
    return len(cut(conv, machine)[0]) == 1 and near(conv, False, machine)


def generate(spec: ConvDwSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(spec, machine).module()


def cut(conv: Conv, machine: Machine) -> tuple[list[range], int]:
    """Groups of kernel rows, and the pixels of dy that a tile holds."""
    kernel_rows, kernel_cols = conv.window.kernel
    most = min(kernel_rows, max((free(machine) - _LEAST) // kernel_cols, 1))
    groups = [
        range(start, start + size)
        for first, end, size in balanced(kernel_rows, most)
        for start in range(first, end, size)
    ]
    left = free(machine) - max(map(len, groups)) * kernel_cols
    return groups, max(1, min(left, _MOST))


class _Generator:
    def __init__(self, spec: ConvDwSpec, machine: Machine) -> None:
        self.spec = spec
        self.b = b = Builder(machine, spec.dy.dtype)
        self.item = ITEM_BYTES[spec.dy.dtype]
        read = 1 + operands(spec.prologue)
        self.x, self.dy, self.slab = (b.operand(n) for n in (0, read, read + 1))
        self.x_pixel, self.ring = spec.input.pitch * self.item, None
        if spec.prologue is not None:
            self.ring = Ring(b, Reader(b, spec.prologue, 1), spec.input, _rows(spec.conv))
            self.x_pixel = self.ring.pixel_bytes
        self.rows, self.cols = lines(spec.conv, dx=False)
        self.groups, self.wide = cut(spec.conv, machine)

    def module(self) -> str:
        b, conv = self.b, self.spec.conv
        fill_run(b, self.slab, conv.window.taps * conv.channels_in)
        with b.loop(0, b.images) as image:
            for group in self.groups:
                self._image(image.i, group)
        return b.function(self.spec.name)

    def _image(self, image: Value, group: range) -> None:
        """An image, with the taps of some kernel rows."""
        b, spec = self.b, self.spec
        x = b.at(self.x, b.mul(image, spec.input.nbytes))
        dy = b.at(self.dy, b.mul(image, spec.dy.nbytes))
        rest = spec.conv.channels_in % b.lanes
        full = spec.conv.channels_in - rest
        made = b.int64(0)
        for run in self.rows.runs(1, group):
            if not run.meetings:
                continue
            with b.loop(0, run.count, carried=[made] if self.ring else []) as row:
                moved = b.add(b.mul(row.i, run.advance), run.source)
                if self.ring:
                    row.again(self.ring.reach(x, row.carried[0], b.add(moved, run.inputs[-1] + 1)))
                    here = {i: self.ring.row(b.add(moved, i)) for i in run.inputs}
                else:
                    here = {0: b.at(x, b.mul(moved, spec.input.row * self.item))}
                there = b.at(dy, b.mul(b.add(row.i, run.first), spec.dy.row * self.item))
                with b.loop(0, full, step=b.lanes) as channel:
                    self._channels(run, group, here, there, channel.i, b.lanes)
                if rest:
                    self._channels(run, group, here, there, b.int64(full), rest)
            if self.ring:
                made = row.results[0]

    def _channels(self, run: Run, group: range, x: _Rows, dy: Value, channel: Value, count: int) -> None:
        """``count`` channels of a row of dy: sums lie in the slab between rows."""
        b = self.b
        slab = b.entry(self.slab, channel)
        met = {m.tap for m in run.meetings}
        places = {tap: b.at(slab, at) for tap, at in self._places(group) if tap[0] in met}
        sums = {tap: b.load_lanes(place, count) for tap, place in places.items()}
        rows = {i: b.entry(place, channel) for i, place in x.items()}
        sums = self._row(sums, run, rows, b.entry(dy, channel), count)
        for tap, place in places.items():
            b.store_lanes(sums[tap], place, count)

    def _places(self, group: range) -> Iterator[tuple[tuple[int, int], int]]:
        """Each tap of the group, and where its sums lie in the slab."""
        kernel = self.spec.conv.window.cols.kernel
        for r in group:
            for s in range(kernel):
                yield (r, s), (r * kernel + s) * self.spec.conv.channels_in * self.item

    def _row(self, sums: _Sums, down: Run, x: _Rows, dy: Value, count: int) -> _Sums:
        b, spec = self.b, self.spec
        dy_pixel = spec.dy.pitch * self.item
        for right in self.cols.runs(self.wide):
            if not right.meetings:
                continue
            with b.loop(0, right.count, carried=list(sums.values())) as tile:
                moved = b.mul(b.add(b.mul(tile.i, right.advance), right.source), self.x_pixel)
                here = {i: b.at(place, moved) for i, place in x.items()}
                there = b.at(dy, b.mul(b.add(b.mul(tile.i, right.size), right.first), dy_pixel))
                now = dict(zip(sums, tile.carried, strict=True))
                here, there = {i: b.opaque(place) for i, place in here.items()}, b.opaque(there)
                if spec.input.nbytes >= FAR:
                    self._fetch(down, right, here, there)
                tile.again(*self._tile(now, down, right, here, there, count).values())
            sums = dict(zip(sums, tile.results, strict=True))
        return sums

    def _fetch(self, down: Run, right: Run, x: _Rows, dy: Value) -> None:
        """A tile's part of what only the next row of dy meets: a walk over one vector of channels of each pixel, which
        hardware prefetchers do not foresee. (A ring's rows are made in the order of memory.)
        """
        b, spec = self.b, self.spec
        for i in range(1, 1 if self.ring else self.rows.axis.stride + 1):
            line = b.around(x[0], (down.inputs[-1] + i) * spec.input.row * self.item)
            for j in right.inputs[: right.advance or None]:
                b.prefetch(b.around(line, j * self.x_pixel))
        behind = b.around(dy, spec.dy.row * self.item)
        for u in sorted({m.t for m in right.meetings}):
            b.prefetch(b.around(behind, u * spec.dy.pitch * self.item))

    def _tile(self, sums: _Sums, down: Run, right: Run, x: _Rows, dy: Value, count: int) -> _Sums:
        b, spec, sums = self.b, self.spec, dict(sums)
        x_count = b.lanes if self.ring or access.whole(b, spec.input) else count
        dy_count = b.lanes if access.whole(b, spec.dy) else count
        row = spec.input.row * self.item
        held = {
            u: b.load_lanes(b.at(dy, u * spec.dy.pitch * self.item), dy_count)
            for u in sorted({m.t for m in right.meetings})
        }
        for j in right.inputs:
            for i in down.inputs:
                met = [((d.tap, m.tap), m.t) for d in down.at(i) for m in right.at(j)]
                line = x[i] if self.ring else b.at(x[0], i * row)
                vector = b.load_lanes(b.at(line, j * self.x_pixel), x_count)
                for tap, u in met:
                    sums[tap] = b.fma(vector, held[u], sums[tap])
                taps = [tap for tap, _ in met]
                for tap, value in zip(taps, b.pinned([sums[tap] for tap in taps]), strict=True):
                    sums[tap] = value
        return sums
