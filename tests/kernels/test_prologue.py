"""Prologues: bit for bit what the same kernels give for the map that is stored, and who leaves them to a pass of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import CONVOLUTIONS, Case
from tests.kernels import test_conv as direct
from tests.kernels import test_depthwise as depthwise
from tests.kernels import test_strassen as strassen
from tests.kernels import test_winograd as winograd
from tests.kernels.test_winograd import same_bits
from tests.kernels.test_winograd_fetch import fetched, filled

from vecgrad.kernels import algorithm, registry
from vecgrad.kernels._depthwise_tile import near
from vecgrad.kernels._dw_shape import DwShape
from vecgrad.kernels.choose import dw_spec
from vecgrad.kernels.depthwise import depthwise_spec
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.kernels.summed import at_groups, winograd_dw_spec
from vecgrad.spec.kernel import Prologue, WeightsSpec
from vecgrad.spec.machine import AVX2, AVX512, NEON, Machine
from vecgrad.spec.scalar import Operand, where
from vecgrad.spec.tensor import Layout

NORMAL = (Operand(0) - Operand(1)) * Operand(2) + Operand(3)
# What a normalization and its ReLU come to; of zero it is not zero.
EXPR = where(NORMAL <= 0, 0.0, NORMAL)


class Behind:
    """A laboratory in which kernels read ``z`` and compute their map behind a prologue."""

    def __init__(self, lab: Any, layout: Layout, z: Any, numbers: list[Any]) -> None:
        self._lab, self._numbers = lab, numbers
        self._z = lab.stored(layout, z)
        vector = Layout(1, 1, layout.channels, layout.channels, layout.dtype, batched=False)
        self.prologue = Prologue(EXPR, (vector,) * len(numbers))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)

    def run(self, spec: Any, machine: Machine, operands: Any, *more: Any, **options: Any) -> Any:
        if isinstance(spec, WeightsSpec):
            return self._lab.run(spec, machine, operands, *more, **options)
        found = replace(spec, prologue=self.prologue)
        assert registry.chosen(found, machine).kernel == registry.chosen(spec, machine).kernel
        operands = [self._z, *self._numbers, *operands[1:]]
        return self._lab.run(found, machine, operands, *more, **options)


def behind(a: Any) -> Behind:
    """The laboratory whose kernels read what ``a.x`` is from now on made of."""
    rng = np.random.default_rng(7)
    z = rng.standard_normal(a.x.shape).astype("f")
    mean, factor, shift = (rng.standard_normal(a.x.shape[-1]).astype("f") for _ in range(3))
    a.x = np.maximum((z - mean) * factor + shift, np.float32(0))
    return Behind(a.lab, a.x_layout, z, [mean, factor, shift])


def serves(spec: Any, layout: Layout, machine: Machine) -> bool:
    vector = Layout(1, 1, layout.channels, layout.channels, layout.dtype, batched=False)
    return not isinstance(algorithm.reading(spec, Prologue(EXPR, (vector,) * 3), machine), str)


@pytest.mark.parametrize("name", ["odd rows", "several blocks", "no images"])
def test_strassen(lab: Any, some_machine: Machine, name: str) -> None:
    a = strassen.Operands(lab, some_machine, strassen.CASES[name])
    lab_behind = behind(a)
    plain = a.gathered("forward")
    a.lab = lab_behind
    same_bits(a.gathered("forward"), plain)
    if name == "several blocks":
        same_bits(a.gathered("forward", groups=2, parts=3), plain)


@pytest.mark.parametrize(
    ("name", "padded"),
    [*((name, True) for name in depthwise.CASES), *((name, False) for name in depthwise.FEW)],
)
def test_depthwise(lab: Any, some_machine: Machine, name: str, padded: bool) -> None:
    """Forward pass and weight gradient, where their rows fit a ring."""
    a = direct.Operands(lab, some_machine, depthwise.CASES[name], padded=padded, real=True)
    spec = depthwise_spec(a.conv, False, a.x_layout, a.y_layout, some_machine)
    dw = dw_spec(a.conv, a.x_layout, a.y_layout, some_machine)
    forward, backward = (serves(each, a.x_layout, some_machine) for each in (spec, dw))
    if max(a.conv.window.kernel) <= 3 and some_machine.registers >= 32 and near(a.conv, False, some_machine):
        assert (forward, backward) == (True, True)
    lab_behind = behind(a)
    plain = depthwise.run(a, "forward"), a.dw()
    a.lab = lab_behind
    if forward:
        same_bits(depthwise.run(a, "forward"), plain[0])
    if backward:
        same_bits(a.dw(), plain[1])


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)), channels=st.integers(2, 40), kernel=st.integers(1, 3),
    stride=st.integers(1, 3), padding=st.integers(0, 2), images=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_depthwise_of_any_geometry(
    lab: Any, size: Any, channels: int, kernel: int, stride: int, padding: int, images: int
) -> None:
    if min(size) + 2 * padding < kernel:
        return
    case = Case(size, channels, channels, kernel, stride, padding, 1, channels, images)
    a = direct.Operands(lab, lab.host[0], case, real=True)
    lab_behind = behind(a)
    plain = depthwise.run(a, "forward"), a.dw()
    a.lab = lab_behind
    same_bits(depthwise.run(a, "forward"), plain[0])
    same_bits(a.dw(), plain[1])


COPIED = {
    name: case
    for name, case in CONVOLUTIONS.items()
    if any(before + after for before, after in case.conv.window.padding)
}


@pytest.mark.parametrize("name", COPIED)
def test_direct_weight_gradients_that_copy_x(lab: Any, some_machine: Machine, name: str) -> None:
    a = direct.Operands(lab, some_machine, COPIED[name], real=True)
    spec = dw_spec(a.conv, a.x_layout, a.y_layout, some_machine)
    if not serves(spec, a.x_layout, some_machine):
        assert spec.tile.rowwise or a.conv.depthwise
        return
    lab_behind = behind(a)
    plain, tasks = a.dw(), a.dw_by_blocks(2)
    a.lab = lab_behind
    same_bits(a.dw(), plain)
    same_bits(a.dw_by_blocks(2), tasks)


def test_tasks_of_1x1_weight_gradients(lab: Any, machine: Machine) -> None:
    """Of channels far apart, whose copy there is anyway; where there is none a prologue would make one."""
    a = direct.Operands(lab, machine, Case((3, 2), 320, 70, 1, images=5), real=True)
    lab_behind = behind(a)
    plain = a.dw_by_blocks(2)
    a.lab = lab_behind
    same_bits(a.dw_by_blocks(2), plain)
    near = replace(a.x_layout, channels=64, pitch=64)
    spec = dw_spec(replace(a.conv, channels_in=64), near, a.y_layout, machine, mode="blocks")
    assert not DwShape.of(spec, machine).x_staged
    assert not serves(spec, near, machine)


@pytest.mark.parametrize(
    ("name", "padded"),
    [("odd maps", True), ("odd maps", False), ("much padding", False), ("several blocks", True), ("no images", True)],
)  # fmt: skip
def test_winograd(lab: Any, name: str, padded: bool) -> None:
    """Zeros around the map are not what the prologue makes of zeros."""
    if AVX512 not in lab.host:
        pytest.skip("only kernels for AVX-512 have it")
    a = winograd.Operands(lab, AVX512, winograd.CASES[name], padded)
    lab_behind = behind(a)
    plain = a.gathered("forward"), a.dw(), a.dw(groups=2, wide=2)
    wide = a.gathered("forward", groups=2, parts=1, chunk=16, together=64)
    a.lab = lab_behind
    same_bits(a.gathered("forward"), plain[0])
    same_bits(a.gathered("forward", groups=2, parts=2), plain[0])
    same_bits(a.gathered("forward", groups=2, parts=1, chunk=16, together=64), wide)
    same_bits(a.dw(), plain[1])
    same_bits(a.dw(groups=2, wide=2), plain[2])


@pytest.mark.parametrize("machine", [AVX2, NEON, replace(AVX512, cpu="znver4")], ids=["avx2", "neon", "zen4"])
def test_winograd_leaves_it_to_a_pass_where_instructions_are_dear(machine: Machine) -> None:
    case = Case((8, 8), 32, 32, 3, padding=1)
    x = Layout(8, 8, 32, 32)
    spec, _ = algorithm.winograd_spec(case.conv, "forward", x, x, machine)
    assert not serves(spec, x, machine)
    assert serves(algorithm.winograd_spec(case.conv, "forward", x, x, AVX512)[0], x, AVX512)


def test_winograd_leaves_it_to_a_pass_where_many_tasks_would_compute_it() -> None:
    case = Case((4, 4), 512, 512, 3, padding=1)
    x = Layout(4, 4, 512, 512)
    few, many = (
        algorithm.winograd_spec(case.conv, "forward", x, x, AVX512, images=2, image_groups=2, parts=parts)[0]
        for parts in (2, 4)
    )
    assert serves(few, x, AVX512)
    assert not serves(many, x, AVX512)
    gradient = at_groups(winograd_dw_spec(case.conv, x, x, AVX512, images=4, by_blocks=True), 2, 8)
    assert gradient.k_blocks == 8
    assert not serves(gradient, x, AVX512)
    assert serves(replace(gradient, k_block=256), x, AVX512)


def test_gradients_have_none() -> None:
    """A data gradient reads a gradient; depthwise kernels say so, direct ones have no place for a prologue."""
    x = Layout(8, 8, 16, 16)
    conv = Case((8, 8), 16, 16, 3, padding=1, groups=16).conv
    spec = depthwise_spec(conv, True, x, x, AVX512)
    found = replace(spec, prologue=Prologue(EXPR, ()))
    [answer] = registry.candidates(found, AVX512)
    assert isinstance(answer, Refusal)
    assert answer.reason == "a gradient has no prologue"
    assert isinstance(registry.candidates(spec, AVX512)[0], Offer)


def test_rows_beyond_the_first_level_cache_are_refused() -> None:
    conv = Case((4, 512), 64, 64, 3, padding=1, groups=64).conv
    x = Layout(4, 512, 64, 64)
    assert not serves(depthwise_spec(conv, False, x, x, AVX512), x, AVX512)
    assert not serves(dw_spec(conv, x, x, AVX512), x, AVX512)


def test_the_vectors_must_be_of_the_maps_channels() -> None:
    """A dense layer reads its map as one pixel: what belongs to a channel then belongs to many."""
    flat = Layout(1, 1, 512, 512)
    spec, _ = algorithm.strassen_spec(Case((2, 1), 512, 512, 1).conv, "forward", flat, flat, AVX512)
    assert not serves(spec, Layout(1, 1, 128, 128), AVX512)
    assert serves(spec, flat, AVX512)


def test_a_ring_fetches_the_next_row(lab: Any) -> None:
    """A wrong address is no wrong result, only slow: every line of the images but their first row, and the row behind the last."""
    machine = lab.host[0]
    case = Case((6, 5), 40, 40, 3, padding=1, groups=40)
    x = lab.layout(machine, case.conv.in_shape)
    vector = Layout(1, 1, 40, 40, batched=False)
    spec = depthwise_spec(case.conv, False, x, x, machine)
    spec = replace(spec, prologue=Prologue(EXPR, (vector,) * 3))
    read = filled(2 * x.entries)
    operands = [read, *(filled(40) for _ in range(3)), filled(9 * 40), filled(2 * x.entries)]
    found = fetched(lab, spec, machine, operands, images=2)
    row, step = x.row * 4, machine.lanes("float32") * 4
    pixels = (
        read.ctypes.data + row + line * row + col * x.pitch * 4 + channel
        for line in range(2 * 6)
        for col in range(5)
        for channel in range(0, 160, step)
    )
    assert found == set(pixels)
