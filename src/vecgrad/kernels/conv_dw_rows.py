"""Weight gradient of few filters: lanes are (column, filter) of a kernel row.

One input pixel meets a kernel row of neighbouring outputs. Rows of dy, copied without gaps between their pixels and with zeros at
both ends, hold the gradients of those outputs side by side: a vector or two that start at any pixel. So where filters
alone would leave lanes idle, a kernel row of them fills nearly all. The chain of an entry is the direct kernel's.

Loops: images → block of rows (staged) → tile of lanes → kernel rows → input channels → pixels. Sums lie in scratch, in the
order of the lanes, until the last image is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.kernels._cases import cut
from vecgrad.kernels._contract import Accumulators, Contraction, Level
from vecgrad.kernels._dw_tile import compared, rowwise_refusal
from vecgrad.kernels._frame import Frame
from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.kernels.taps import AxisClass, GatherAxis, forward_axis
from vecgrad.spec.geometry import Axis
from vecgrad.spec.kernel import ConvDwSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine


@dataclass(frozen=True)
class _Shape:
    """What the generator needs to know about a spec, and where scratch lies: x, dy, sums."""

    spec: ConvDwSpec
    machine: Machine

    @property
    def lanes(self) -> int:
        return self.machine.lanes(self.spec.dy.dtype)

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.spec.dy.dtype]

    @property
    def row_block(self) -> int:
        return min(self.spec.tile.row_block, self.rows.count)

    @property
    def rows(self) -> GatherAxis:
        return forward_axis(self.spec.conv.window.rows)

    @property
    def line(self) -> int:
        """Entries of a kernel row: columns × filters."""
        return self.spec.conv.window.cols.kernel * self.spec.conv.channels_out

    @property
    def pitch(self) -> int:
        """Entries from a kernel row's sums to the next: whole vectors."""
        return -(-self.line // self.lanes) * self.lanes

    @property
    def x(self) -> Frame:
        """The rows of x that a block of dy's rows meets, without columns of padding."""
        cols = forward_axis(Axis(self.spec.conv.window.cols.size, 1))
        channels = self.spec.conv.channels_in
        return Frame(self.rows, cols, self.spec.input, channels, 1, self.row_block, not self.rows.inside)

    @property
    def dy(self) -> Frame:
        """Rows of dy: column w of x meets their pixels from number w on, last kernel column first."""
        axis = self.spec.conv.window.cols
        rows = forward_axis(Axis(self.rows.count, 1))
        met = AxisClass(0, axis.size, axis.before - (axis.kernel - 1), axis.kernel, 0)
        cols = GatherAxis(axis.out, 1, 1, 1, 1, (met,))
        return Frame(rows, cols, self.spec.dy, self.spec.conv.channels_out, 1, self.row_block, True)

    @property
    def places(self) -> tuple[int, int, int]:
        """Where dy and the sums lie in scratch, and its end. The last vector of a row of dy may reach beyond it."""
        vector = self.lanes * self.item
        dy = self.x.scratch_bytes
        sums = dy + self.dy.scratch_bytes + vector
        sums = -(-sums // vector) * vector
        lines = self.spec.conv.window.rows.kernel * self.spec.conv.channels_in
        return dy, sums, sums + lines * self.pitch * self.item


def scratch_bytes(spec: ConvDwSpec, machine: Machine) -> int:
    """Bytes of scratch that the kernel uses."""
    return _Shape(spec, machine).places[-1]


def offer(spec: ConvDwSpec, machine: Machine) -> Offer | Refusal:
    """What the tile asks for."""
    conv, shape = spec.conv, _Shape(spec, machine)
    if not spec.tile.rowwise:
        return Refusal("conv_dw.rows", _refusal(spec, machine))
    if spec.prologue is not None:
        return Refusal("conv_dw.rows", "it reads x in place")
    read = spec.input.nbytes + spec.dy.nbytes
    axis = conv.window.cols
    share = 0.85 * shape.line / shape.pitch * axis.out / axis.size
    seconds = predicted(machine, conv.flops, read, spec.dy.dtype, share)
    return Offer("conv_dw.rows", conv.flops, read, 0, seconds, f"{shape.line} of {shape.pitch} lanes in use")


def _refusal(spec: ConvDwSpec, machine: Machine) -> str:
    conv = spec.conv
    if conv.window.cols.kernel == 1 or conv.window.out_size == (1, 1):
        return ""
    if spec.mode == "blocks":
        return "blocks of weights as tasks"
    reason = rowwise_refusal(conv)
    if reason:
        return reason
    direct, rowwise = compared(conv, spec.dy.dtype, machine)
    return f"{rowwise / 1e3:.1f} against {direct / 1e3:.1f} thousand cycles an image"


def generate(spec: ConvDwSpec, machine: Machine) -> str:
    """LLVM IR of the kernel."""
    return _Generator(_Shape(spec, machine)).module()


class _Generator:
    def __init__(self, shape: _Shape) -> None:
        self.shape, self.spec = shape, shape.spec
        self.b = Builder(shape.machine, shape.spec.dy.dtype)
        self.x, self.dy, self.slab = (self.b.operand(n) for n in range(3))
        self.dy_rows = self.b.at(self.b.scratch, shape.places[0])
        self.sums = self.b.at(self.b.scratch, shape.places[1])
        self.height, self.width = shape.spec.conv.window.kernel

    def module(self) -> str:
        b, s = self.b, self.shape
        fill_run(b, self.sums, self.height * self.spec.conv.channels_in * s.pitch)
        with b.loop(0, b.images) as image:
            x = b.at(self.x, b.mul(image.i, self.spec.input.nbytes))
            dy = b.at(self.dy, b.mul(image.i, self.spec.dy.nbytes))
            with b.loop(0, s.rows.count, step=s.row_block) as row:
                exact = s.rows.count % s.row_block == 0
                count = s.row_block if exact else b.least(s.row_block, b.sub(s.rows.count, row.i))
                rows = s.x.stage(b, b.scratch, x, row.i, count, 1)
                gradients = s.dy.stage(b, self.dy_rows, dy, row.i, count, 1)
                self._tiles(rows, gradients, count)
        self._finish()
        return b.function(self.spec.name)

    def _tiles(self, x: Value, dy: Value, rows: Index) -> None:
        """Every kernel row, input channel and lane for a block of rows."""
        b, s, tile = self.b, self.shape, self.spec.tile
        channels = self.spec.conv.channels_in
        for v0, v1, tv in cut(s.pitch // s.lanes, tile.vectors):
            for r0, r1, tr in cut(self.height, tile.rows):
                for c0, c1, tc in cut(channels, tile.channels):
                    with (
                        b.loop(v0, v1, step=tv) as v,
                        b.loop(r0, r1, step=tr) as r,
                        b.loop(c0, c1, step=tc) as c,
                    ):
                        offset = b.mul(v.i, s.lanes * s.item)
                        line = b.add(b.mul(r.i, channels), c.i)
                        here = b.entry(b.at(x, b.mul(r.i, s.rows.tap_step * s.x.row_bytes)), c.i)
                        sums = b.at(b.at(self.sums, b.mul(line, s.pitch * s.item)), offset)
                        self._tile(here, b.at(dy, offset), sums, rows, (tr, tc, tv))

    def _tile(self, x: Value, dy: Value, place: Value, rows: Index, shape: tuple[int, int, int]) -> None:
        """One register tile: load its sums, walk the pixels, store them."""
        b, s = self.b, self.shape
        tr, tc, tv = shape
        lines = [(r, c) for r in range(tr) for c in range(tc)]
        step, width = s.rows.tap_step * s.x.row_bytes, s.lanes * s.item
        tile = Contraction(b, [r * step + c * s.item for r, c in lines], tv, 1, s.item)
        at = [(r * self.spec.conv.channels_in + c) * s.pitch * s.item for r, c in lines]
        sums: Accumulators = [
            [b.load(b.vector, b.at(place, line + v * width), width) for v in range(tv)] for line in at
        ]
        levels = [
            Level(rows, s.rows.advance * s.x.row_bytes, s.dy.row_bytes),
            Level(self.spec.conv.window.cols.size, s.x.pixel_bytes, s.dy.pixel_bytes),
        ]
        for line, row in zip(at, tile.run(sums, x, dy, levels), strict=True):
            for v, value in enumerate(row):
                b.store(value, b.at(place, line + v * width), width)

    def _finish(self) -> None:
        """The sums to the slab: kernel columns ascending, input channels between columns and filters."""
        b, s = self.b, self.shape
        channels, filters = self.spec.conv.channels_in, self.spec.conv.channels_out
        with b.loop(0, self.height) as r, b.loop(0, self.width) as q, b.loop(0, channels) as c:
            line = b.mul(b.add(b.mul(r.i, channels), c.i), s.pitch)
            here = b.add(line, b.mul(b.sub(self.width - 1, q.i), filters))
            there = b.add(b.mul(b.add(b.mul(r.i, self.width), q.i), channels), c.i)
            copy_run(b, b.entry(self.slab, b.mul(there, filters)), b.entry(self.sums, here), filters)
