"""First values of parameters: drawn by counter from (seed, parameter's number), so they never depend on order or threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vecgrad.layers import Parameter
from vecgrad.spec.random import STREAM_INITIAL, draw, substream
from vecgrad.spec.tensor import size

Array = np.ndarray[Any, np.dtype[Any]]


def initial(parameter: Parameter, number: int, seed: int) -> Array:
    """The first value of the model's ``number``-th parameter, float64.

    >>> initial(Parameter((2, 2), "zeros"), 0, 0)
    array([[0., 0.],
           [0., 0.]])
    """
    law = parameter.initial
    if law in ("zeros", "ones"):
        return np.full(parameter.shape, float(law == "ones"))
    fan = parameter.fan_in if law.startswith("he") else (parameter.fan_in + parameter.fan_out) / 2
    scale = math.sqrt((2.0 if law.startswith("he") else 1.0) / fan)
    count = size(parameter.shape)
    u, v = _uniforms(seed, substream(STREAM_INITIAL, number), count)
    if law.endswith("uniform"):
        values = (2.0 * u - 1.0) * (scale * math.sqrt(3.0))
    else:
        # Box and Muller's transform; u is never 0.
        values = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v) * scale
    return np.asarray(values.reshape(parameter.shape))


def _uniforms(seed: int, stream: int, count: int) -> tuple[Array, Array]:
    """Two arrays of numbers in (0, 1), 53 bits each."""
    words = draw(seed, stream, 0, np.arange(count, dtype=np.uint64))
    a, b, c, d = (w.astype(np.float64) for w in words)
    return (np.floor(a / 32.0) * 2.0**26 + np.floor(b / 64.0) + 0.5) / 2.0**53, (c + d / 2.0**32) / 2.0**32
