"""Weight gradients whose tasks each keep their own block, and the rule that changes the parameter by such a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.corpus import Case
from tests.kernels.test_conv import Operands
from tests.kernels.test_winograd import Operands as Winograd

from vecgrad.kernels import summed
from vecgrad.kernels._winograd_grid import Grid
from vecgrad.kernels.choose import dw_spec
from vecgrad.spec.kernel import ConvDwSpec, FlatMapSpec, WeightBlocks, WinogradDwSpec
from vecgrad.spec.machine import Machine
from vecgrad.spec.scalar import Operand, Scalar

CASES = {
    "blocks that fill": Case((6, 6), 64, 128, 3, padding=1, images=3),
    "blocks that do not": Case((6, 5), 70, 150, 3, padding=1, images=2),
    "one block": Case((5, 5), 17, 20, 3, padding=1, images=2),
    "one image": Case((4, 4), 70, 70, 3, padding=1, images=1),
    "no image": Case((4, 4), 70, 70, 3, padding=1, images=0),
    "1x1": Case((4, 4), 130, 260, 1, images=2),
    "strided": Case((9, 8), 66, 131, 3, stride=2, padding=1, images=2),
}


def slab(
    lab: Any, spec: ConvDwSpec | WinogradDwSpec, arrays: list[Any], n: int, behind: Sequence[Any] = ()
) -> Any:
    """What all tasks sum, each own block put at its place among all weights. behind: operands behind the slab."""
    blocks, (r, s, c, k) = spec.blocks, spec.conv.weight_shape
    whole = np.full(r * s * c * k, np.nan, np.float32)
    for task in range(spec.tasks):
        memory = np.full(blocks.entries, np.nan, np.float32) if spec.own else whole
        operands = [*arrays, memory, *behind]
        memory = lab.run(spec, spec_machine(lab), operands, 1, (float(n),), begin=task)[len(arrays)]
        if not spec.own:
            whole = memory
            continue
        inside = where(blocks, task)
        count = [len(range(*each.indices(size))) for each, size in zip(inside, (c, k), strict=True)]
        own = memory.reshape(r * s, blocks.c_block, blocks.k_block)[:, : count[0], : count[1]]
        whole.reshape(r * s, c, k)[:, inside[0], inside[1]] = own
    return whole.reshape(r, s, c, k)


def spec_machine(lab: Any) -> Machine:
    machine: Machine = lab.host[0]
    return machine


def where(blocks: WeightBlocks, task: int) -> tuple[slice, slice]:
    """The input and output channels of a block."""
    c, k = task % blocks.c_blocks * blocks.c_block, task // blocks.c_blocks * blocks.k_block
    return slice(c, c + blocks.c_block), slice(k, k + blocks.k_block)


@pytest.mark.parametrize("wide", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_own_blocks_are_the_slabs(lab: Any, name: str, wide: int) -> None:
    a = Operands(lab, spec_machine(lab), CASES[name], real=True)
    spec = dw_spec(
        a.conv, a.x_layout, a.y_layout, a.machine, mode="blocks", images_per_group=max(a.case.images, 1), wide=wide
    )  # fmt: skip
    arrays = [lab.stored(a.x_layout, a.x), lab.stored(a.y_layout, a.dy)]
    found = slab(lab, replace(spec, own=True), arrays, a.case.images)
    np.testing.assert_array_equal(found, slab(lab, spec, arrays, a.case.images))


@pytest.mark.parametrize("wide", [1, 2])
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("1x1", "strided")])
def test_own_blocks_are_winograds_slabs(lab: Any, name: str, wide: int) -> None:
    a = Winograd(lab, spec_machine(lab), CASES[name])
    spec = summed.winograd_dw_spec(
        a.conv, a.x_layout, a.y_layout, a.machine, images=max(a.n, 1), by_blocks=True
    )
    spec = summed.at_groups(replace(spec, k_block=wide * spec.k_block), 1, max(a.n, 1))
    arrays = [lab.stored(a.x_layout, a.x), lab.stored(a.y_layout, a.dy)]
    wanted = slab(lab, spec, arrays, a.n)
    np.testing.assert_array_equal(slab(lab, replace(spec, own=True), arrays, a.n), wanted)
    # What the next call writes is brought near, and neither read nor changed.
    near = [np.full(wanted.size, np.nan, np.float32) for _ in range(2)]
    found = slab(lab, replace(spec, own=True, fetched=2), arrays, a.n, near)
    np.testing.assert_array_equal(found, wanted)
    assert all(np.isnan(array).all() for array in near)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("1x1", "strided")])
def test_output_channels_in_turns_have_the_same_bits(lab: Any, name: str, turns: int) -> None:
    """And what a group without images would read is not there."""
    a = Winograd(lab, spec_machine(lab), CASES[name])
    spec = summed.winograd_dw_spec(
        a.conv, a.x_layout, a.y_layout, a.machine, images=max(a.n, 1), by_blocks=True
    )
    spec = summed.at_groups(spec, 1, max(a.n, 1))
    block = max(a.n, 1) * Grid(a.y_layout.height, a.y_layout.width).tiles
    turns = min(turns, spec.k_blocks)
    spec = replace(spec, tile=replace(spec.tile, block=block), k_block=turns * spec.k_block)
    arrays = [lab.stored(a.x_layout, a.x), lab.stored(a.y_layout, a.dy)]
    wanted = slab(lab, spec, arrays, a.n)
    in_turns = replace(spec, turns=turns)
    np.testing.assert_array_equal(slab(lab, in_turns, arrays, a.n), wanted)
    near = [np.full(wanted.size, np.nan, np.float32) for _ in range(2)]
    found = slab(lab, replace(in_turns, own=True, fetched=2), arrays, a.n, near)
    np.testing.assert_array_equal(found, wanted)
    three = replace(in_turns, image_groups=3, slab_stride=wanted.size)
    slabs = np.full(3 * wanted.size, np.nan, np.float32)
    for task in range(three.tasks):
        slabs = lab.run(three, a.machine, [*arrays, slabs], 1, (float(a.n),), begin=task)[-1]
    first, *others = slabs.reshape(3, *wanted.shape)
    np.testing.assert_array_equal(first, wanted)
    assert not np.any(others)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "blocks",
    [WeightBlocks(9, 4, 32, 2, 16), WeightBlocks(1, 5, 37, 2, 16), WeightBlocks(4, 3, 7, 3, 16)],
    ids=["fill", "do not fill", "one"],
)
def test_a_rule_changes_a_block_by_its_own_gradient(
    lab: Any, machine: Machine, blocks: WeightBlocks, dtype: str
) -> None:
    """Every task changes its own entries of the parameter and the state, with the factors of the one record."""
    w, v, g = Operand(0), Operand(1), Operand(2)
    moved = Scalar("group.decay") * v + g
    spec = FlatMapSpec((w - Scalar("group.rate") * moved, moved), 3, 2, dtype, ("n",), blocks=blocks)
    shape = (blocks.taps, blocks.channels_in, blocks.channels_out)
    first, length = 32, int(np.prod(shape))
    factors = np.array([0.5, 2.0]).view(np.int64)
    table = np.array([[-1, -1, -1, -1, -1, first, length, *factors]])
    weights, moving = (lab.integers(i, first + length + 3, dtype=dtype) for i in range(2))
    gradient = lab.integers(5, *shape, dtype=dtype)
    expected = [weights.copy(), moving.copy()]
    expected[1][first : first + length] = 2 * moving[first : first + length] + gradient.ravel()
    expected[0][first : first + length] -= 0.5 * expected[1][first : first + length]
    for task in range(blocks.c_blocks * blocks.k_blocks):
        c, k = where(blocks, task)
        part = gradient[:, c, k]
        own = np.full((blocks.taps, blocks.c_block, blocks.k_block), np.nan, dtype)
        own[:, : part.shape[1], : part.shape[2]] = part
        operands = [table, weights, moving, own.ravel(), weights, moving]
        _, weights, moving, *_ = lab.run(spec, machine, operands, images=1, scalars=(1.0,), begin=task)
    np.testing.assert_array_equal(weights, expected[0])
    np.testing.assert_array_equal(moving, expected[1])
