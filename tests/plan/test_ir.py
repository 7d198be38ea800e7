"""The code of a few small kernels, kept as text: a change that claims to change no code leaves these files alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vecgrad.kernels import registry
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import (
    AvgPoolSpec,
    CopySpec,
    KernelSpec,
    MapSpec,
    PackSpec,
    ReduceChannelsSpec,
    ReducePixelsSpec,
)
from vecgrad.spec.machine import AVX2
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout

X = Operand(0)
MAP = Layout(4, 4, 8, 8)
KERNELS: dict[str, KernelSpec] = {
    "map": MapSpec((where(X <= 0, 0, X) * Scalar("rate"),), (MAP,), (MAP,), ("images", "rate")),
    "reduce-channels": ReduceChannelsSpec("sum", X, (MAP,), Layout(4, 4, 1, 8)),
    "reduce-pixels": ReducePixelsSpec((X,), (MAP,), 8),
    "copy": CopySpec(Layout(4, 4, 3, 8), Layout(1, 1, 48, 48)),
    "pack": PackSpec(Conv(window((4, 4), 1), 8, 8), "forward", 8),
    "avg-pool": AvgPoolSpec(window((4, 4), 2, 2), MAP, Layout(2, 2, 8, 8)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_code_of(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"ir-{name}.ll", registry.generate(KERNELS[name], AVX2))
