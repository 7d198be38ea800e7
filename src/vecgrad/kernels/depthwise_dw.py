"""Weight gradient of a depthwise convolution: lanes are channels, a sum for each tap stays in registers for a row of dy.

dy's pixels of a tile are held too, so that each vector of x is loaded once for the kernel columns it meets. Where taps are too many
for the registers, kernel rows are taken in groups. The chain of an entry is the direct kernel's.

Loops: images → group of kernel rows → rows → vector of channels → tile of columns. Sums lie in the slab between rows; taken
row by row, x and dy are read in the order in which they lie in memory, and three rows of x stay near. Of large images the next row
is fetched meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from vecgrad.kernels import access
from vecgrad.kernels._ahead import FAR
from vecgrad.kernels._conv_shape import balanced
from vecgrad.kernels._depthwise_tile import Run, free, lines, refusal
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


def offer(spec: ConvDwSpec, machine: Machine) -> Offer | Refusal:
    """One filter for each channel, in chunks of images."""
    reason = refusal(spec.conv)
    if not reason and spec.mode != "images":
        reason = "channels of depthwise convolutions are not cut into blocks"
    if reason:
        return Refusal("conv_dw.depthwise", reason if spec.conv.depthwise else "")
    flops, read = spec.conv.flops, spec.input.nbytes + spec.dy.nbytes
    seconds = predicted(machine, flops, read, spec.dy.dtype, 0.6)
    return Offer("conv_dw.depthwise", flops, read, 0, seconds, "a sum for each tap in registers")


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
        self.x, self.dy, self.slab = (b.operand(n) for n in range(3))
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
        for run in self.rows.runs(1, group):
            if not run.meetings:
                continue
            with b.loop(0, run.count) as row:
                moved = b.add(b.mul(row.i, run.advance), run.source)
                here = b.at(x, b.mul(moved, spec.input.row * self.item))
                there = b.at(dy, b.mul(b.add(row.i, run.first), spec.dy.row * self.item))
                with b.loop(0, full, step=b.lanes) as channel:
                    self._channels(run, group, here, there, channel.i, b.lanes)
                if rest:
                    self._channels(run, group, here, there, b.int64(full), rest)

    def _channels(self, run: Run, group: range, x: Value, dy: Value, channel: Value, count: int) -> None:
        """``count`` channels of a row of dy: sums lie in the slab between rows."""
        b = self.b
        slab = b.entry(self.slab, channel)
        met = {m.tap for m in run.meetings}
        places = {tap: b.at(slab, at) for tap, at in self._places(group) if tap[0] in met}
        sums = {tap: b.load_lanes(place, count) for tap, place in places.items()}
        sums = self._row(sums, run, b.entry(x, channel), b.entry(dy, channel), count)
        for tap, place in places.items():
            b.store_lanes(sums[tap], place, count)

    def _places(self, group: range) -> Iterator[tuple[tuple[int, int], int]]:
        """Each tap of the group, and where its sums lie in the slab."""
        kernel = self.spec.conv.window.cols.kernel
        for r in group:
            for s in range(kernel):
                yield (r, s), (r * kernel + s) * self.spec.conv.channels_in * self.item

    def _row(self, sums: _Sums, down: Run, x: Value, dy: Value, count: int) -> _Sums:
        b, spec = self.b, self.spec
        x_pixel, dy_pixel = spec.input.pitch * self.item, spec.dy.pitch * self.item
        for right in self.cols.runs(self.wide):
            if not right.meetings:
                continue
            with b.loop(0, right.count, carried=list(sums.values())) as tile:
                here = b.at(x, b.mul(b.add(b.mul(tile.i, right.advance), right.source), x_pixel))
                there = b.at(dy, b.mul(b.add(b.mul(tile.i, right.size), right.first), dy_pixel))
                now = dict(zip(sums, tile.carried, strict=True))
                here, there = b.opaque(here), b.opaque(there)
                if spec.input.nbytes >= FAR:
                    self._fetch(down, right, here, there)
                tile.again(*self._tile(now, down, right, here, there, count).values())
            sums = dict(zip(sums, tile.results, strict=True))
        return sums

    def _fetch(self, down: Run, right: Run, x: Value, dy: Value) -> None:
        """A tile's part of what only the next row of dy meets: a walk over one vector of channels of each pixel, which
        hardware prefetchers do not foresee.
        """
        b, spec = self.b, self.spec
        row, pixel = spec.input.row * self.item, spec.input.pitch * self.item
        for i in range(1, self.rows.axis.stride + 1):
            line = b.around(x, (down.inputs[-1] + i) * row)
            for j in right.inputs[: right.advance or None]:
                b.prefetch(b.around(line, j * pixel))
        behind = b.around(dy, spec.dy.row * self.item)
        for u in sorted({m.t for m in right.meetings}):
            b.prefetch(b.around(behind, u * spec.dy.pitch * self.item))

    def _tile(self, sums: _Sums, down: Run, right: Run, x: Value, dy: Value, count: int) -> _Sums:
        b, spec, sums = self.b, self.spec, dict(sums)
        x_count, dy_count = (
            b.lanes if access.whole(b, layout) else count for layout in (spec.input, spec.dy)
        )
        row, pixel = spec.input.row * self.item, spec.input.pitch * self.item
        held = {
            u: b.load_lanes(b.at(dy, u * spec.dy.pitch * self.item), dy_count)
            for u in sorted({m.t for m in right.meetings})
        }
        for j in right.inputs:
            for i in down.inputs:
                met = [((d.tap, m.tap), m.t) for d in down.at(i) for m in right.at(j)]
                vector = b.load_lanes(b.at(x, i * row + j * pixel), x_count)
                for tap, u in met:
                    sums[tap] = b.fma(vector, held[u], sums[tap])
                taps = [tap for tap, _ in met]
                for tap, value in zip(taps, b.pinned([sums[tap] for tap in taps]), strict=True):
                    sums[tap] = value
        return sums
