"""How channels-last arrays relate to the paper's order: the permutations Π and Q of section 6.

An image (H, W, D) and weights w[r, s, d, d'] are the paper's D × H × W and κ_d' with their axes in
another order. As matrices, C-order code walks output pixels (i, j) where the paper walks (j, i), and
taps (r, s, d) where the paper walks (d, s, r). Hence

    y_channels_last = (Π φ Qᵀ)(Q C)        C = w.reshape(-1, D') in Fortran order,  Q C the same in C order

with one permutation Π of pixels and one Q of taps: the same products in another order.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference.selection import Selection
from vecgrad.spec.geometry import Pair, Window


def to_paper(x: Array) -> Array:
    """Images (n, H, W, D) → (n, D, H, W).

    >>> to_paper(np.zeros((5, 2, 3, 4))).shape
    (5, 4, 2, 3)
    """
    return x.transpose(0, 3, 1, 2)


def to_channels_last(x: Array) -> Array:
    """Images (n, D, H, W) → (n, H, W, D), the inverse of ``to_paper``."""
    return x.transpose(0, 2, 3, 1)


def weights_to_paper(w: Array) -> Array:
    """Weights (R, S, D, D') → kernels (D', D, R, S).

    >>> weights_to_paper(np.zeros((2, 3, 4, 5))).shape
    (5, 4, 2, 3)
    """
    return w.transpose(3, 2, 0, 1)


def weights_to_channels_last(w: Array) -> Array:
    """Kernels (D', D, R, S) → weights (R, S, D, D'), the inverse of ``weights_to_paper``."""
    return w.transpose(2, 3, 1, 0)


def Pi(size: Pair) -> Selection:
    """Π for P × Q pixels: row P-major (i·Q + j), column the paper's (2.14), i + P·j.

    >>> Pi((2, 3)) @ np.array([7, 1, 0, 6, -3, 8])
    array([ 7,  0, -3,  1,  6,  8])
    """
    P, Q = size
    i, j = np.mgrid[:P, :Q]
    return Selection((i + P * j).reshape(-1), P * Q)


def Q(g: Window, channels: int) -> Selection:
    """Q for the taps of ``g`` on D channels: row (r, s, d) in C order, column the paper's (2.15).

    >>> from vecgrad.spec.geometry import window
    >>> Q(window((2, 2), (2, 1)), 2).columns
    array([0, 2, 1, 3])
    """
    R, S = g.kernel
    r, s, d = np.mgrid[:R, :S, :channels]
    return Selection((R * S * d + R * s + r).reshape(-1), R * S * channels)
