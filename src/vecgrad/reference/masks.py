"""Random masks (Srivastava et al. 2014), drawn by counter.

Dropout is y = D x with a diagonal matrix D of zeros and of 1 / (1 − rate), drawn anew at each step with the expectation I; so
∂z/∂x = Dᵀ ∂z/∂y = D ∂z/∂y with the same D.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.spec.random import KEPT_LANES, kept, threshold
from vecgrad.spec.tensor import Shape, as_map


def keep(n: int, shape: Shape, rate: float, seed: int, step: int, mask: int) -> Array:
    """Zeros and ones, uint8 (n, *shape): ``mask`` number of ``step``; 0 with probability ``rate``.

    >>> keep(1, (8,), 0.5, seed=1, step=0, mask=0)
    array([[0, 0, 1, 1, 0, 1, 1, 0]], dtype=uint8)
    """
    h, w, c = as_map(shape)
    runs = -(-c // KEPT_LANES)
    channel = np.arange(c, dtype=np.uint64)
    run = np.arange(h * w, dtype=np.uint64)[:, None] * np.uint64(runs) + channel // np.uint64(KEPT_LANES)
    number = run // np.uint64(4) * np.uint64(KEPT_LANES) + channel % np.uint64(KEPT_LANES)
    image = np.arange(n, dtype=np.uint64)[:, None, None]
    words = np.broadcast_arrays(*kept(seed, step, mask, image, number[None]))
    word = np.choose((run % np.uint64(4)).astype(np.intp)[None], words)
    return (word >= threshold(rate)).astype(np.uint8).reshape(n, *shape)
