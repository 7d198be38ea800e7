"""Update rules and sums of slabs over the flat parameter arrays, one record of the table per call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Refusal
from vecgrad.spec.kernel import FlatMapSpec, FlatMeasureSpec, FlatSumSpec, SlabSumSpec
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, sqrt

LENGTHS = (0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 200)


def slab_record(number: int, slabs: int, length: int) -> tuple[list[list[int]], int]:
    """A table of which record ``number`` is the one to test, and the entries of its slabs."""
    stride = -(-length // 16) * 16 + 16
    table = [[-1] * 9 for _ in range(number)] + [[32, stride, slabs, 16, length, -1, length + 1, 0, 0]]
    return table, 32 + (slabs - 1) * stride + length


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slabs", [1, 2, 4, 8, 16])
def test_slabs_meet_in_a_tree(lab: Any, machine: Machine, slabs: int, dtype: str) -> None:
    for length in LENGTHS:
        table, entries = slab_record(2, slabs, length)
        source = np.random.default_rng(length).normal(size=entries).astype(dtype)
        target = np.full(16 + length, 5, dtype)
        found = lab.run(SlabSumSpec(dtype), machine, [np.array(table), source, target], images=1, begin=2)[2]
        _, stride, *_ = table[2]
        parts = [source[32 + n * stride : 32 + n * stride + length] for n in range(slabs)]
        while len(parts) > 1:
            parts = [left + right for left, right in zip(parts[::2], parts[1::2], strict=True)]
        np.testing.assert_array_equal(found, np.concatenate([np.full(16, 5, dtype), parts[0]]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_momentum(lab: Any, machine: Machine, dtype: str) -> None:
    """Two outputs, each the memory of an input, the gradient elsewhere; entries outside the record stay."""
    w, v, g = Operand(0), Operand(1), Operand(2)
    moved = v * Scalar("momentum") + g
    spec = FlatMapSpec((w - Scalar("rate") * moved, moved), 3, 2, dtype, ("n", "momentum", "rate"))
    for length in LENGTHS:
        table = np.array([[0] * 9, [-1, -1, -1, 5, -1, 32, length, 0, 0]])
        arrays = [lab.integers(i, 32 + length + 3, dtype=dtype) for i in range(3)]
        operands = [table, *arrays, arrays[0], arrays[1]]
        found = lab.run(spec, machine, operands, images=1, scalars=(8, 2, 0.5), begin=1)
        expected = [array.copy() for array in arrays[:2]]
        inside = slice(32, 32 + length)
        expected[1][inside] = 2 * arrays[1][inside] + arrays[2][5 : 5 + length]
        expected[0][inside] -= 0.5 * expected[1][inside]
        for one, other in zip(found[1:3], expected, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found[3], arrays[2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_of_the_record_and_measured_numbers(lab: Any, machine: Machine, dtype: str) -> None:
    x, names = Operand(0), ("group.rate", "group.decay", "measured.1")
    spec = FlatMapSpec(
        (x * Scalar(names[0]) + Scalar(names[1]) * Scalar(names[2]),), 1, None, dtype, ("n",), 2
    )
    factors = np.array([2.0, 0.5]).view(np.int64)
    table = np.array([[0] * 9, [-1, -1, -1, -1, -1, 16, 21, *factors]])
    array, numbers = lab.integers(0, 40, dtype=dtype), np.array([7, 6], dtype)
    found = lab.run(
        spec, machine, [table, array, np.zeros(40, dtype), numbers], images=1, scalars=(1,), begin=1
    )[2]
    expected = np.zeros(40, dtype)
    expected[16:37] = 2 * array[16:37] + 3
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("entries", "block"), [(16, 64), (64, 64), (208, 64), (4112, 4096)])
def test_sums_over_blocks_and_what_is_made_of_them(
    lab: Any, machine: Machine, entries: int, block: int, dtype: str
) -> None:
    x, y, stride = Operand(0), Operand(1), 16
    sums = FlatSumSpec((x * y, x), 2, entries, block, stride, dtype)
    arrays = [lab.integers(i, entries, dtype=dtype) for i in range(2)]
    partials = np.full(2 * stride, 99, dtype)
    for task in range(sums.tasks):
        partials = lab.run(sums, machine, [*arrays, partials], images=1, begin=task)[2]
        part = slice(task * block, (task + 1) * block)
        assert partials[task] == np.sum(arrays[0][part] * arrays[1][part])
        assert partials[stride + task] == np.sum(arrays[0][part])
    assert (partials[sums.tasks : stride] == 99).all()
    spec = FlatMeasureSpec((x - Scalar("k"), sqrt(y * y)), 2, sums.tasks, stride, dtype, ("n", "k"))
    numbers = lab.run(spec, machine, [partials, np.zeros(2, dtype)], images=1, scalars=(1, 3))[1]
    np.testing.assert_array_equal(numbers, [np.sum(arrays[0] * arrays[1]) - 3, abs(np.sum(arrays[0]))])


def test_a_sums_order_does_not_depend_on_the_machine(lab: Any, machine: Machine) -> None:
    """Folded lanes of 512 bits, as written down here."""
    values = np.random.default_rng(0).standard_normal(208).astype(np.float32)
    spec = FlatSumSpec((Operand(0),), 1, 208, 4096, 16)
    found = lab.run(spec, machine, [values, np.zeros(16, np.float32)], images=1)[1][0]
    lanes = values[:16].copy()
    for first in range(16, 208, 16):
        lanes += values[first : first + 16]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    assert found == lanes[0]


def test_only_real_numbers_are_updated() -> None:
    refused = (
        FlatMapSpec((Operand(0),), 1, 0, "int32"), SlabSumSpec("uint8"), FlatSumSpec((Operand(0),), 1, 16, 16, 16, "int32"),
        FlatMeasureSpec((Operand(0),), 1, 1, 16, "uint8"),
    )  # fmt: skip
    for spec in refused:
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal)


def test_code_is_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    for spec in (FlatMapSpec((Operand(0) * 2,), 1, 0), SlabSumSpec()):
        assert spec.name in lab.assembly(spec, any_machine)
