"""The instance that the statements about convolution share: x, w, a target t, and z = ½ Σ (y − t)²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference.calculus import gradient
from vecgrad.reference.convolution import convolve_by_loops
from vecgrad.reference.tensors import unvec, vec
from vecgrad.reference.unfold import kernel_matrix, phi
from vecgrad.spec.geometry import Conv, Window


def loops(x: Array, w: Array, g: Conv) -> Array:
    """y (D', P, Q) of one image by the seven loops."""
    y: Array = convolve_by_loops(x[None], w, g)[0]
    return y


def half_square(y: Array, t: Array) -> Any:
    """z = ½ Σ (y − t)², so ∂z/∂y = y − t."""
    return np.sum((y - t) ** 2) / 2


@dataclass(frozen=True, eq=False)
class ConvCase:
    """One image x (D, H, W), kernels w (D', D, R, S), target t (D', P, Q) and their loss."""

    g: Conv
    x: Array
    w: Array
    t: Array

    @staticmethod
    def draw(draw: Draw, window: Window | None = None, integers: bool = False) -> ConvCase:
        """With a plain window unless one is given; ``integers`` makes every product exact."""
        g = draw.conv(window or draw.plain_window())
        x, w, t = draw.image(g), draw.kernels(g), draw.reals(g.channels_out, *g.window.out_size)
        if integers:
            x, w, t = (draw.integers(*a.shape) for a in (x, w, t))
        return ConvCase(g, x, w, t)

    @property
    def operands(self) -> dict[str, object]:
        return {"x": self.x, "w": self.w}

    @property
    def given(self) -> dict[str, object]:
        matrices = {"φ(x)": self.phi, "C": self.C, "∂z/∂(φ(x) C)": self.dY}
        return {**self.operands, "t, with z = ½ Σ (y − t)²": self.t, **matrices}

    @property
    def y(self) -> Array:
        return loops(self.x, self.w, self.g)

    @property
    def dy(self) -> Array:
        """∂z/∂y (D', P, Q)."""
        dy: Array = self.y - self.t
        return dy

    @property
    def dY(self) -> Array:
        """∂z/∂(φ(x) C), the same numbers as a matrix (P·Q, D')."""
        P, Q = self.g.window.out_size
        return unvec(vec(self.dy), (P * Q, self.g.channels_out))

    @property
    def phi(self) -> Array:
        return phi(self.x, self.g.window)

    @property
    def C(self) -> Array:
        return kernel_matrix(self.w)

    @property
    def dz_dw(self) -> Array:
        """∂z/∂w by complex steps through the seven loops: no formula."""
        return gradient(lambda w: half_square(loops(self.x, w, self.g), self.t), self.w)

    @property
    def dz_dx(self) -> Array:
        """∂z/∂x by complex steps through the seven loops: no formula."""
        return gradient(lambda x: half_square(loops(x, self.w, self.g), self.t), self.x)
