"""Update rules and sums of slabs over the flat parameter arrays, one record of the table per call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Refusal
from vecgrad.spec.kernel import FlatMapSpec, SlabSumSpec
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar

LENGTHS = (0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 200)


def slab_record(number: int, slabs: int, length: int) -> tuple[list[list[int]], int]:
    """A table of which record ``number`` is the one to test, and the entries of its slabs."""
    stride = -(-length // 16) * 16 + 16
    table = [[-1] * 7 for _ in range(number)] + [[32, stride, slabs, 16, length, -1, length + 1]]
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
        table = np.array([[0] * 7, [-1, -1, -1, 5, -1, 32, length]])
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


def test_only_real_numbers_are_updated() -> None:
    for spec in (FlatMapSpec((Operand(0),), 1, 0, "int32"), SlabSumSpec("uint8")):
        [answer] = registry.candidates(spec, AVX512)
        assert isinstance(answer, Refusal)


def test_code_is_generated_for_every_machine(lab: Any, any_machine: Machine) -> None:
    for spec in (FlatMapSpec((Operand(0) * 2,), 1, 0), SlabSumSpec()):
        assert spec.name in lab.assembly(spec, any_machine)
