"""The geometry of a window that slides over an image: sizes, taps, receptive fields.

The letters used throughout, once: N images; H × W pixels and C channels in; R × S the kernel's
rows and columns; P × Q pixels and K channels out. Everything is in the order (height, width).
The record describes the *forward* operation; forward, data gradient and weight gradient all take
that same record (2.9), (2.28), (2.21).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vecgrad.spec.errors import ArgumentError, ShapeError

Pair = tuple[int, int]
PaddingLike = Literal["valid", "same"] | int | Pair | tuple[Pair, Pair]


def pair(value: object, what: str, least: int = 1) -> Pair:
    """(v, h) from one integer or two; ``what`` names the argument in the error.

    >>> pair(3, "kernel_size")
    (3, 3)
    """
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise ArgumentError(f"{what} must be an integer or a pair (height, width), got {value!r}")
    for part in both:
        if isinstance(part, bool) or not isinstance(part, int) or part < least:
            raise ArgumentError(f"{what} must hold integers of at least {least}, got {value!r}")
    return (both[0], both[1])


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window. ``before`` and ``after`` are rows of padding.

    Output pixel p and tap r read input row  stride·p + dilation·r − before  (2.16'); a row outside
    0 … size−1 is padding.
    """

    size: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """Input rows from a window's first tap to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def out(self) -> int:
        """Number of output pixels (2.9'); may be ≤ 0, which ``Window.checked`` refuses."""
        return (self.size + self.before + self.after - self.extent) // self.stride + 1

    def source(self, p: int, r: int) -> int | None:
        """The input row that output row p reads through tap r, or None where that is padding.

        >>> Axis(4, 3, before=1, after=1).source(0, 0) is None
        True
        """
        row = self.stride * p + self.dilation * r - self.before
        return row if 0 <= row < self.size else None


@dataclass(frozen=True)
class Window:
    """A sliding window over an H × W image: convolution without its channels, or pooling."""

    rows: Axis
    cols: Axis

    @property
    def kernel(self) -> Pair:
        return (self.rows.kernel, self.cols.kernel)

    @property
    def stride(self) -> Pair:
        return (self.rows.stride, self.cols.stride)

    @property
    def dilation(self) -> Pair:
        return (self.rows.dilation, self.cols.dilation)

    @property
    def padding(self) -> tuple[Pair, Pair]:
        return ((self.rows.before, self.rows.after), (self.cols.before, self.cols.after))

    @property
    def in_size(self) -> Pair:
        return (self.rows.size, self.cols.size)

    @property
    def out_size(self) -> Pair:
        """(P, Q), formula (2.9')."""
        return (self.rows.out, self.cols.out)

    @property
    def taps(self) -> int:
        return self.rows.kernel * self.cols.kernel

    def taps_column_major(self) -> Iterator[Pair]:
        """The taps (r, s) in the paper's order, down then right: the order of ties (4.2) and rows of C (2.15)."""
        return ((r, s) for s in range(self.cols.kernel) for r in range(self.rows.kernel))

    def checked(self) -> Window:
        """This window, or ShapeError when it never fits into the padded image."""
        for axis, name in ((self.rows, "height"), (self.cols, "width")):
            if axis.out < 1:
                padded = axis.size + axis.before + axis.after
                raise ShapeError(
                    f"a window of {name} {axis.extent} (kernel {axis.kernel}, dilation {axis.dilation}) does not fit into "
                    f"{padded} (image {axis.size} + padding {axis.before} + {axis.after}); "
                    f"use a smaller kernel, padding='same', or a larger image"
                )
        return self


def window(
    size: Pair, kernel: object, stride: object = 1, padding: PaddingLike = "valid", dilation: object = 1
) -> Window:
    """The window that a layer's arguments describe on an image of ``size`` (H, W).

    padding: "valid" (none), "same" (P = ceil(H / stride), the smaller half first: TensorFlow's and
    ONNX's SAME_UPPER), an integer, (v, h), or ((top, bottom), (left, right)). Raises ArgumentError
    for arguments that mean nothing, ShapeError where the window does not fit.

    >>> window((5, 5), 3, padding="same").out_size
    (5, 5)
    >>> window((4, 4), (2, 3), stride=2).out_size
    (2, 1)
    """
    k, s, d = pair(kernel, "kernel_size"), pair(stride, "stride"), pair(dilation, "dilation")
    pads = paddings(size, k, s, padding, d)
    rows, cols = (Axis(size[i], k[i], s[i], pads[i][0], pads[i][1], d[i]) for i in (0, 1))
    return Window(rows, cols).checked()


def paddings(size: Pair, kernel: Pair, stride: Pair, padding: object, dilation: Pair) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) in numbers, from any form that a layer accepts."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        vertical, horizontal = (_same(size[i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
        return (vertical, horizontal)
    if isinstance(padding, int):
        both = pair(padding, "padding", least=0)
        return ((both[0], both[0]), (both[1], both[1]))
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        if all(isinstance(part, (tuple, list)) for part in padding):
            top, left = (pair(part, "padding", least=0) for part in padding)
            return (top, left)
        v, h = pair(padding, "padding", least=0)
        return ((v, v), (h, h))
    raise ArgumentError(
        f"padding must be 'valid', 'same', an integer, (v, h) or ((top, bottom), (left, right)), got {padding!r}"
    )


def _same(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return (total // 2, total - total // 2)


@dataclass(frozen=True)
class Conv:
    """A convolution: a window, C channels in, K channels out, cut into groups.

    Weights have shape (R, S, C / groups, K). ``vecgrad.reference.layout`` states how that array is the paper's C^k.
    """

    window: Window
    channels_in: int
    channels_out: int
    groups: int = 1

    def __post_init__(self) -> None:
        if self.channels_in % self.groups or self.channels_out % self.groups:
            raise ShapeError(
                f"groups={self.groups} must divide the {self.channels_in} channels in and the "
                f"{self.channels_out} filters"
            )

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (*self.window.in_size, self.channels_in)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(P, Q, K)."""
        return (*self.window.out_size, self.channels_out)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(R, S, C / groups, K)."""
        return (*self.window.kernel, self.channels_in // self.groups, self.channels_out)

    @property
    def depthwise(self) -> bool:
        """Whether each of several channels is a group of its own."""
        return 1 < self.groups == self.channels_in == self.channels_out

    @property
    def dense(self) -> bool:
        """Whether this is a product of matrices: one tap on images of one pixel, all channels in one group."""
        return (
            self.window.taps == 1
            and self.window.in_size == self.window.out_size == (1, 1)
            and self.groups == 1
        )

    @property
    def flops(self) -> int:
        """Nominal floating-point operations for one image in one direction (a multiply-add is two)."""
        p, q = self.window.out_size
        return 2 * p * q * self.channels_out * self.window.taps * (self.channels_in // self.groups)
