"""Staging: the rows of an image that a block of outputs needs, with their padding, where tiles can read them.

This is the one seam on the input side of a convolution: whatever is to happen to inputs before they are
multiplied happens here, once per row block, and never in the register tile, which reads each input
many times. Where nothing has to happen, a frame is the operand itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vecgrad.kernels._runs import copy_run, fill_run
from vecgrad.kernels.builder import Builder, Index, Value
from vecgrad.kernels.taps import GatherAxis
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.tensor import Layout

# Copies channels of a pixel: target, source, entries.
Copy = Callable[..., None]
# Rows a multiple of this apart share their cache sets (64 sets of 64 bytes), and loads seem to depend
# on stores with the same low 12 bits of the address.
_ALIAS = 1024
_LINE = 64


@dataclass(frozen=True)
class Frame:
    """``channels`` channels of the rows that ``row_block`` consecutive outputs need, for ``images`` images.

    Its first pixel is input pixel (rows.low + advance·(first output), cols.low). ``staged``: it lies in
    scratch, compact, zeros where there is no image; else it is the operand, and strides are the operand's.
    """

    rows: GatherAxis
    cols: GatherAxis
    source: Layout
    channels: int
    images: int
    row_block: int
    staged: bool

    @property
    def item(self) -> int:
        return ITEM_BYTES[self.source.dtype]

    @property
    def width(self) -> int:
        """Columns, padding included."""
        return self.cols.reach(self.cols.count)

    @property
    def height(self) -> int:
        """Rows, padding included."""
        return self.rows.reach(self.row_block)

    @property
    def pixel_bytes(self) -> int:
        return (self.channels if self.staged else self.source.pitch) * self.item

    @property
    def row_bytes(self) -> int:
        if not self.staged:
            return self.source.row * self.item
        lines = -(-self.width * self.pixel_bytes // _LINE) * _LINE
        # Rows of one pixel are read one behind the other, so many of them should have sets of their own.
        return lines + _LINE if lines % (2 * _LINE if self.width == 1 else _ALIAS) == 0 else lines

    @property
    def image_bytes(self) -> int:
        return self.height * self.row_bytes if self.staged else self.source.nbytes

    @property
    def scratch_bytes(self) -> int:
        return self.images * self.image_bytes if self.staged else 0

    def at_output(self, b: Builder, image: Value, output: Index) -> Value:
        """The frame's first pixel inside the operand, not staged: ``image`` points at the operand's first channel."""
        row = b.add(b.mul(output, self.rows.advance), self.rows.low)
        inside = b.add(b.mul(row, self.source.row), self.cols.low * self.source.pitch)
        return b.around(image, b.mul(inside, self.item))

    def stage(
        self, b: Builder, scratch: Value, image: Value, output: Index, outputs: Index, images: Index,
        copy: Copy | None = None,
    ) -> Value:  # fmt: skip
        """Make the frame of ``outputs`` rows of outputs from number ``output`` on; its first pixel.

        ``image`` points at the first channel of the first image. copy: what makes the pixels of a frame that is staged, if they are
        no plain copies: target, source and ``entries`` channels.
        """
        if not self.staged:
            return self.at_output(b, image, output)
        first = b.add(b.mul(output, self.rows.advance), self.rows.low)
        with b.loop(0, images) as each:
            source = b.at(image, b.mul(each.i, self.source.nbytes))
            target = b.at(scratch, b.mul(each.i, self.image_bytes))
            if self.rows.advance > self.rows.span:
                # Rows between one output's and the next one's are nobody's.
                with b.loop(0, outputs) as turn, b.loop(0, self.rows.span) as within:
                    line = b.add(b.mul(turn.i, self.rows.advance), within.i)
                    self._row(b, b.at(target, b.mul(line, self.row_bytes)), source, b.add(first, line), copy)
            else:
                with b.loop(0, self._lines(b, outputs)) as each_line:
                    line = each_line.i
                    self._row(b, b.at(target, b.mul(line, self.row_bytes)), source, b.add(first, line), copy)
        return scratch

    def _lines(self, b: Builder, outputs: Index) -> Index:
        """Rows of inputs that so many outputs need."""
        if isinstance(outputs, int):
            return self.rows.reach(outputs)
        return b.add(b.mul(b.sub(outputs, 1), self.rows.advance), self.rows.span)

    def _row(self, b: Builder, target: Value, image: Value, row: Value, copy: Copy | None) -> None:
        """One row: the image's, or zeros above and below it."""
        inside = b.icmp("ult", row, self.rows.size)
        with b.when(inside):
            self._image_row(b, target, b.at(image, b.mul(row, self.source.row * self.item)), copy)
        outside = b.icmp("uge", row, self.rows.size)
        with b.when(outside):
            fill_run(b, target, self.width * self.channels)

    def _image_row(self, b: Builder, target: Value, line: Value, copy: Copy | None) -> None:
        left = min(max(-self.cols.low, 0), self.width)
        start = max(self.cols.low, 0)
        middle = max(min(self.cols.low + self.width, self.source.width) - start, 0)
        right = self.width - left - middle
        fill_run(b, target, left * self.channels)
        target = b.at(target, left * self.pixel_bytes)
        line = b.at(line, start * self.source.pitch * self.item)
        if self.source.pitch == self.channels and copy is None:
            copy_run(b, target, line, middle * self.channels)
        else:
            with b.loop(0, middle) as pixel:
                here = b.at(line, b.mul(pixel.i, self.source.pitch * self.item))
                there = b.at(target, b.mul(pixel.i, self.pixel_bytes))
                if copy is None:
                    copy_run(b, there, here, self.channels)
                else:
                    copy(there, here, entries=self.channels)
        fill_run(b, b.at(target, middle * self.pixel_bytes), right * self.channels)
