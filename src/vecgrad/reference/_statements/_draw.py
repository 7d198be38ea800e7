"""Random instances: shapes, windows and numbers, in a large form for checks and a small one for people."""

from __future__ import annotations

import math

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.spec.geometry import Axis, Conv, Window


class Draw:
    """A source of random shapes and arrays; ``small`` ones fit on a page: integers, images of 3 × 3."""

    def __init__(self, rng: np.random.Generator, small: bool = False) -> None:
        self.rng = rng
        self.small = small

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def size(self, low: int, high: int, small: int) -> int:
        """A length: ``small`` on a page, else anything from low to high."""
        return small if self.small else self.integer(low, high)

    def integers(self, *shape: int) -> Array:
        """float64 integers from −4 to 4: sums of their products are exact."""
        return self.rng.integers(-4, 5, shape).astype(np.float64)

    def reals(self, *shape: int) -> Array:
        """Normal deviates; integers on a page."""
        return self.integers(*shape) if self.small else self.rng.standard_normal(shape)

    def distinct(self, *shape: int) -> Array:
        """Integers without a tie, in random order, none of them 0."""
        count = math.prod(shape)
        numbers = self.rng.permutation(count) - count // 2
        return np.where(numbers >= 0, numbers + 1, numbers).reshape(shape).astype(np.float64)

    def plain_window(self) -> Window:
        """Stride 1, no padding, no dilation: the window of section 2."""
        if self.small:
            return Window(Axis(3, 2), Axis(3, 2))
        return Window(self._plain_axis(), self._plain_axis())

    def window(self) -> Window:
        """Any window of section 6 (stride, padding, dilation) whose every output pixel sees the image."""
        return Window(self._axis(), self._axis())

    def conv(self, window: Window, groups: int = 1) -> Conv:
        """A convolution with that window and few channels."""
        channels_in = groups * self.size(1, 2, small=1)
        return Conv(window, channels_in, groups * self.size(1, 3, small=2), groups)

    def image(self, g: Conv) -> Array:
        """x (D, H, W) for ``g``."""
        return self.reals(g.channels_in, *g.window.in_size)

    def kernels(self, g: Conv) -> Array:
        """w (D', D / groups, R, S) for ``g``."""
        R, S, D, D_out = g.weight_shape
        return self.reals(D_out, D, R, S)

    def _plain_axis(self) -> Axis:
        # One output pixel hides what its order is: draw it, but seldom.
        out, kernel = int(self.rng.choice([1, 2, 2, 3, 3, 4])), self.integer(1, 3)
        return Axis(out + kernel - 1, kernel)

    def _axis(self) -> Axis:
        if self.small:
            return Axis(3, 2, stride=2, before=1, after=1)
        while True:
            axis = Axis(
                self.integer(1, 7),
                self.integer(1, 3),
                self.integer(1, 3),
                self.integer(0, 2),
                self.integer(0, 2),
                self.integer(1, 2),
            )
            if 1 <= axis.out <= 4 and all(_sees(axis, p) for p in range(axis.out)):
                return axis


def _sees(axis: Axis, p: int) -> bool:
    return any(axis.source(p, r) is not None for r in range(axis.kernel))
