"""Forward convolution and data gradient as one operation: gathers with a fixed list of taps.

Along one axis the outputs of a forward convolution all see their inputs alike. Those of a data
gradient with stride s fall into s residue classes: row h of dx reads the rows p of dy with
s·p = h + before − dilation·r (2.30), so h mod s says which r there are, and within a class the
reads advance by one row. Each class is a stride-1 convolution over dy: no product with an inserted
zero, nothing scattered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from vecgrad.spec.geometry import Axis, Window


@dataclass(frozen=True)
class AxisClass:
    """Outputs start, start + step, … (``count`` of them, step from the GatherAxis) and what they read.

    Output number i reads, through its tap t < taps, input row  first + advance·i + tap_step·t  with
    the weights at place  place + place_step·t  of the packed kernel.
    """

    start: int
    count: int
    first: int
    taps: int
    place: int


@dataclass(frozen=True)
class GatherAxis:
    """One axis of a gather: ``size`` input rows, the classes of its outputs.

    step: from an output to the next one of its class. advance: input rows between those. tap_step: input
    rows from a tap to the next; place_step: kernel rows between them. low: the first row that output 0 of
    any class reads.
    """

    size: int
    step: int
    advance: int
    tap_step: int
    place_step: int
    classes: tuple[AxisClass, ...]

    @property
    def low(self) -> int:
        return min((c.first for c in self.classes if c.taps), default=0)

    @property
    def span(self) -> int:
        """Input rows that the outputs number 0 of all classes need, from ``low`` to the last tap."""
        reads = (c.first + self.tap_step * (c.taps - 1) + 1 for c in self.classes if c.taps)
        return max(reads, default=self.low) - self.low

    @property
    def count(self) -> int:
        """Outputs of the largest class."""
        return max(c.count for c in self.classes)

    def only(self, count: int) -> GatherAxis:
        """The axis of a forward convolution without its outputs behind the first ``count``."""
        [each] = self.classes
        return replace(self, classes=(replace(each, count=count),))

    def reach(self, count: int) -> int:
        """Input rows, from ``low`` on, that ``count`` consecutive outputs of every class need."""
        return self.advance * (count - 1) + self.span

    @property
    def inside(self) -> bool:
        """Whether no output reads padding."""
        return self.low >= 0 and self.low + self.reach(self.count) <= self.size


def forward_axis(axis: Axis) -> GatherAxis:
    """(2.16'): all outputs are one class.

    >>> forward_axis(Axis(8, 3, stride=2, before=1)).classes[0].first
    -1
    """
    only = AxisClass(0, axis.out, -axis.before, axis.kernel, 0)
    return GatherAxis(axis.size, 1, axis.stride, axis.dilation, 1, (only,))


def dx_axis(axis: Axis) -> GatherAxis:
    """The residue classes of (2.30). Taps are visited with p ascending, so r descends: the packed kernel is reversed.

    >>> [c.taps for c in dx_axis(Axis(8, 3, stride=2, before=1)).classes]
    [1, 2]
    """
    common = gcd(axis.stride, axis.dilation)
    classes = []
    for start in range(min(axis.stride, axis.size)):
        count = (axis.size - start - 1) // axis.stride + 1
        rows = [r for r in range(axis.kernel) if (start + axis.before - axis.dilation * r) % axis.stride == 0]
        if rows:
            first = (start + axis.before - axis.dilation * rows[-1]) // axis.stride
            classes.append(AxisClass(start, count, first, len(rows), axis.kernel - 1 - rows[-1]))
        else:
            classes.append(AxisClass(start, count, 0, 0, 0))
    return GatherAxis(
        axis.out, axis.stride, 1, axis.dilation // common, axis.stride // common, tuple(classes)
    )


def gather_axes(window: Window, direction: str) -> tuple[GatherAxis, GatherAxis]:
    """(rows, columns) of ``direction`` "forward" or "dx"."""
    axis = forward_axis if direction == "forward" else dx_axis
    return axis(window.rows), axis(window.cols)
