"""What a training step passes from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.spec.errors import ArgumentError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class LayerTrace:
    """A layer's input x^k (n, …) and ∂z/∂x^k of the same shape."""

    x: Array
    dx: Array


def traces(found: Mapping[str, Array]) -> dict[str, LayerTrace]:
    """By layer name, then "output", from a backend's results. ArgumentError for a layer that is called "output"."""
    names = [name.removeprefix("trace.").removesuffix(".x") for name in found if name.endswith(".x")]
    if "output" in names:
        raise ArgumentError('a trace calls the network\'s output "output", so no layer may have that name')
    record = {name: LayerTrace(found[f"trace.{name}.x"], found[f"trace.{name}.dx"]) for name in names}
    return record | {"output": LayerTrace(found["prediction"], found["trace.dx"])}
