"""The slow twin of every compiled primitive: plain NumPy on batches, channels last.

Arrays are (n, height, width, channels); the geometry is always that of the forward operation.
"""

from __future__ import annotations

from vecgrad.reference._conv import conv, conv_dw, conv_dx
from vecgrad.reference._pool import avg_pool, avg_pool_dx, max_pool, max_pool_dx
from vecgrad.reference.masks import keep
from vecgrad.reference.normalization import moments

__all__ = [
    "avg_pool",
    "avg_pool_dx",
    "conv",
    "conv_dw",
    "conv_dx",
    "keep",
    "max_pool",
    "max_pool_dx",
    "moments",
]
