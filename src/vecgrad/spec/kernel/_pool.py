"""Pooling and its gradients."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel._base import PLAIN, Epilogue, KernelSpec
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class MaxPoolSpec(KernelSpec):
    """(4.2) with the paper's tie rule. Operands: x, epilogue inputs, y, index.

    index: the ordinal s·R + r of the chosen cell (column-major), uint8 (int32 when the window has
    more than 255 cells), layout as y. NaN wins and stays.
    """

    window: Window
    input: Layout
    output: Layout
    index: Layout
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaxPoolDxSpec(KernelSpec):
    """(4.5), (4.6) as a gather: each input entry adds the windows that chose it, rows before columns of windows.

    Operands: dy, index, epilogue inputs, dx.
    """

    window: Window
    dy: Layout
    index: Layout
    dx: Layout
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class AvgPoolSpec(KernelSpec):
    """Mean over each window's image cells, or over all its cells. Operands: x, epilogue inputs, y."""

    window: Window
    input: Layout
    output: Layout
    count_padding: bool = False
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True)
class AvgPoolDxSpec(KernelSpec):
    """Each input entry adds dy / count over the windows that hold it. Operands: dy, epilogue inputs, dx."""

    window: Window
    dy: Layout
    dx: Layout
    count_padding: bool = False
    epilogue: Epilogue = PLAIN
    scalars: tuple[str, ...] = ()
