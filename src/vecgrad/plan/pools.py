"""The kernels of poolings that are passes of their own."""

from __future__ import annotations

from collections.abc import Sequence

from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel import AvgPoolDxSpec, AvgPoolSpec, Epilogue, KernelSpec, MaxPoolDxSpec, MaxPoolSpec
from vecgrad.spec.tensor import Layout


def pool_spec(
    op: str,
    window: Window,
    inputs: Sequence[Layout],
    results: Sequence[Layout],
    count_padding: bool,
    epilogue: Epilogue,
    scalars: tuple[str, ...],
) -> KernelSpec:
    """The spec of a graph's ``op`` from the layouts of what it reads and makes."""
    first, out = inputs[0], results[0]
    match op:
        case "max_pool":
            return MaxPoolSpec(window, first, out, results[1], epilogue, scalars)
        case "max_pool_dx":
            return MaxPoolDxSpec(window, first, inputs[1], out, epilogue, scalars)
        case "avg_pool":
            return AvgPoolSpec(window, first, out, count_padding, epilogue, scalars)
    return AvgPoolDxSpec(window, first, out, count_padding, epilogue, scalars)
