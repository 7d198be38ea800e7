"""Un-pooling where Winograd's kernels read a gradient: bit for bit what they give for the stored, larger one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.kernels import algorithm, registry, summed
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Unpooling
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.tensor import Layout


class Unpooled:
    """A convolution whose output was pooled by windows of ``size``, and the gradient of what that gave, for ``n`` images."""

    def __init__(self, lab: Any, machine: Machine, conv: Conv, size: tuple[int, int], n: int) -> None:
        self.lab, self.machine, self.conv, self.n = lab, machine, conv, n
        g = window(conv.window.out_size, size, size)
        self.x_layout, self.y_layout = lab.layout(machine, conv.in_shape), lab.layout(machine, conv.out_shape)
        small = replace(self.y_layout, height=g.rows.out, width=g.cols.out)
        self.unpool = Unpooling(g, small, replace(small, dtype="uint8"))
        rng = np.random.default_rng(n + conv.channels_in)
        self.x, self.w, self.dy = (
            rng.standard_normal(shape).astype("f")
            for shape in ((n, *conv.in_shape), conv.weight_shape, (n, *small.shape))
        )
        _, self.index = ops.max_pool(rng.integers(0, 3, (n, *conv.out_shape)).astype("f"), g)
        self.full = ops.max_pool_dx(self.dy, self.index, g)

    def gradient(self, unpooled: bool) -> list[Any]:
        """The operands that stand for dy."""
        if not unpooled:
            return [self.lab.stored(self.y_layout, self.full)]
        return [
            self.lab.stored(layout, values)
            for layout, values in ((self.unpool.dy, self.dy), (self.unpool.index, self.index))
        ]

    def dx(self, unpooled: bool) -> Any:
        spec, pack = algorithm.winograd_spec(
            self.conv, "dx", self.y_layout, self.x_layout, self.machine, images=max(self.n, 1)
        )
        spec = replace(spec, unpool=self.unpool if unpooled else None)
        memory = np.full(pack.entries, np.nan, np.float32)
        _, packed = self.lab.run(pack, self.machine, [self.w.ravel(), memory], 1)
        out = self.lab.blank(self.x_layout, self.n)
        operands = [*self.gradient(unpooled), packed, out]
        return self.lab.loaded(self.x_layout, self.lab.run(spec, self.machine, operands, self.n)[-1])

    def dw(self, unpooled: bool, groups: int = 0) -> Any:
        spec = summed.winograd_dw_spec(
            self.conv, self.x_layout, self.y_layout, self.machine, images=max(self.n, 1), by_blocks=groups > 0
        )
        if groups:
            spec = summed.at_groups(spec, groups, self.n, self.w.size)
        spec = replace(spec, unpool=self.unpool if unpooled else None)
        slab = np.full(self.w.size * max(groups, 1), np.nan, np.float32)
        operands = [self.lab.stored(self.x_layout, self.x), *self.gradient(unpooled)]
        if not groups:
            return self.lab.run(spec, self.machine, [*operands, slab], self.n)[-1]
        for task in range(spec.tasks):
            slab = self.lab.run(
                spec, self.machine, [*operands, slab], 1, (float(self.n),), begin=task
            )[-1]  # fmt: skip
        return slab


_shared: list[Any] = []


@pytest.fixture(autouse=True)
def _share(lab: Any) -> None:
    _shared[:] = [lab]


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    channels=st.sampled_from([16, 17]),
    filters=st.sampled_from([16, 17, 40]),
    padding=st.integers(0, 3),
    windows=st.sampled_from([(2, 2), (4, 4), (2, 1), (1, 4), (1, 1)]),
    n=st.integers(0, 4),
    which=st.integers(0, 9),
)
def test_both_gradients(
    size: Any, channels: int, filters: int, padding: int, windows: Any, n: int, which: int
) -> None:
    lab = _shared[0]
    conv = Conv(window(size, 3, padding=padding), channels, filters)
    if any(have < want for have, want in zip(conv.window.out_size, windows, strict=True)):
        return
    case = Unpooled(lab, lab.host[which % len(lab.host)], conv, windows, n)
    np.testing.assert_array_equal(case.dx(True), case.dx(False))
    np.testing.assert_array_equal(case.dw(True), case.dw(False))


def test_tasks_of_blocks_of_channels(lab: Any, machine: Machine) -> None:
    case = Unpooled(lab, machine, Conv(window((9, 10), 3, padding=1), 16, 130), (2, 2), 5)
    np.testing.assert_array_equal(case.dw(True, groups=2), case.dw(False, groups=2))


def test_what_is_read_is_the_pooled_gradient() -> None:
    layout, small = Layout(8, 8, 32, 32), Layout(4, 4, 32, 32)
    unpool = Unpooling(window((8, 8), 2, 2), small, replace(small, dtype="uint8"))
    conv = Conv(window((8, 8), 3, padding=1), 32, 32)
    spec, _ = algorithm.winograd_spec(conv, "dx", layout, layout, AVX512)
    assert registry.chosen(replace(spec, unpool=unpool), AVX512).bytes_read == 4 * 4 * 32 * (4 + 1)
    dw = summed.winograd_dw_spec(conv, layout, layout, AVX512, images=4, by_blocks=False)
    assert registry.chosen(replace(dw, unpool=unpool), AVX512).bytes_read == 32 * (64 * 4 + 16 * 5)
