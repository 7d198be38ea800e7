"""First values of parameters: drawn by counter from (seed, parameter's number), so they never depend on order or threads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from vecgrad.layers import Parameter
from vecgrad.spec.random import STREAM_INITIAL, draw, substream
from vecgrad.spec.tensor import size

Array = np.ndarray[Any, np.dtype[Any]]

# Draws made at once: a hundred passes of arithmetic over arrays that stay in the second-level cache, and that the
# allocator hands out again instead of asking the system for fresh pages.
_BLOCK = 4096


def initial(parameter: Parameter, number: int, seed: int) -> Array:
    """The first value of the model's ``number``-th parameter, float64.

    >>> initial(Parameter((2, 2), "zeros"), 0, 0)
    array([[0., 0.],
           [0., 0.]])
    """
    law = parameter.initial
    if law in ("zeros", "ones"):
        return np.full(parameter.shape, float(law == "ones"))
    if law == "identity":
        return _handing_on(initial(replace(parameter, initial="lecun_uniform"), number, seed))
    fan = parameter.fan_in if law.startswith(("he", "lecun")) else (parameter.fan_in + parameter.fan_out) / 2
    scale = math.sqrt({"h": 2.0, "l": 1 / 3}.get(law[0], 1.0) / fan)
    count = size(parameter.shape)
    stream = substream(STREAM_INITIAL, number)
    values = np.empty(count)
    for first in range(0, count, _BLOCK):
        index = np.arange(first, min(first + _BLOCK, count), dtype=np.uint64)
        u, v = _uniforms(seed, stream, index)
        if law.endswith("uniform"):
            values[first : first + _BLOCK] = (2.0 * u - 1.0) * (scale * math.sqrt(3.0))
        else:
            # Box and Muller's transform; u is never 0.
            np.log(u, out=u)
            u *= -2.0
            np.sqrt(u, out=u)
            v *= 2.0 * np.pi
            np.cos(v, out=v)
            u *= v
            np.multiply(u, scale, out=values[first : first + _BLOCK])
    return values.reshape(parameter.shape)


def _handing_on(values: Array) -> Array:
    """A kernel (R, S, C, K) whose filter k ≤ C reads channel k at its centre."""
    rows, cols, channels, filters = values.shape
    same = np.arange(min(channels, filters))
    values[..., same] = 0.0
    values[rows // 2, cols // 2, same, same] = 1.0
    return values


def _uniforms(seed: int, stream: int, index: Array) -> tuple[Array, Array]:
    """Two arrays of numbers in (0, 1), 53 bits and 64 bits fine, for the draws ``index`` of a stream."""
    # In place and by products with powers of two, which are exact: a division takes five times as long.
    a, b, c, d = draw(seed, stream, 0, index)
    a >>= 5
    a <<= 26
    b >>= 6
    a |= b
    u = a.astype(np.float64)
    u += 0.5
    u *= 2.0**-53
    v = d.astype(np.float64)
    v *= 2.0**-32
    v += c.astype(np.float64)
    v *= 2.0**-32
    return u, v
