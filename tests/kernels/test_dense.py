"""Dense layers that read their weights as they are: the direct kernel's bits, for every rest that blocks and chunks leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from vecgrad.kernels import dense
from vecgrad.kernels.choose import dx_spec, forward_spec
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import SECTION, DenseDxSpec, DenseSpec, DenseTile, Epilogue
from vecgrad.spec.machine import AVX512, Machine
from vecgrad.spec.scalar import Operand, Scalar, where
from vecgrad.spec.tensor import Layout

Direction = Literal["forward", "dx"]
x0, x1, x2 = (Operand(n) for n in range(3))
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "dx"])


def conv(channels: int, filters: int) -> Conv:
    return Conv(window((1, 1), (1, 1)), channels, filters)


class Layer:
    """A dense layer of ``channels`` × ``filters`` for ``images`` images, given ``n`` of them."""

    def __init__(
        self, lab: Any, machine: Machine, direction: Direction, channels: int, filters: int, images: int, n: int,
        dtype: str = "float32", padded: bool = True, real: bool = False,
    ) -> None:  # fmt: skip
        self.lab, self.machine, self.n = lab, machine, n
        self.forward = direction == "forward"
        x = lab.layout(machine, (1, 1, channels), dtype, padded)
        y = lab.layout(machine, (1, 1, filters), dtype, padded)
        source, target = (x, y) if self.forward else (y, x)
        pick = forward_spec if self.forward else dx_spec
        self.direct, self.pack = pick(
            conv(channels, filters), source, target, machine, mode="blocks", images=images
        )
        self.spec = dense.cut(self.direct, images, machine)
        if real:
            rng = np.random.default_rng(0)
            self.source, self.w = (
                rng.standard_normal(s).astype(dtype) for s in ((n, source.channels), (channels, filters))
            )
        else:
            self.source = lab.integers(1, n, source.channels, dtype=dtype, high=4)
            self.w = lab.integers(2, channels, filters, dtype=dtype, high=4)

    def run(
        self, spec: Any, weights: Any, inputs: tuple[Any, ...] = (), scalars: tuple[float, ...] = ()
    ) -> Any:
        output = self.lab.stored(spec.output, np.full((self.n, *spec.output.shape), np.nan))
        source = self.lab.stored(spec.input, self.source[:, np.newaxis, np.newaxis])
        for task in range(dense.blocks(self.spec, self.machine)):
            operands = [source, weights, *inputs, output]
            output = self.lab.run(spec, self.machine, operands, 1, (float(self.n), *scalars), begin=task)[-1]
        return self.lab.loaded(spec.output, output)[:, 0, 0]

    def found(self, **changes: Any) -> Any:
        return self.run(replace(self.spec, **changes), self.w.ravel())

    def expected(self) -> Any:
        return self.source @ (self.w if self.forward else self.w.T)


SHAPES = [
    (1, 1),
    (16, 16),
    (70, 33),
    (33, 70),
    (200, 10),
    (130, 64),
    (64, 130),
    (SECTION + 33, 20),
    (20, 2 * SECTION),
]


@DIRECTIONS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integers_are_exact(
    lab: Any, some_machine: Machine, direction: Direction, shape: Any, dtype: str
) -> None:
    for padded in (True, False):
        layer = Layer(lab, some_machine, direction, *shape, images=9, n=9, dtype=dtype, padded=padded)
        np.testing.assert_array_equal(layer.found(), layer.expected())


@DIRECTIONS
@pytest.mark.parametrize("chunk", [16, 32, 48, 64, 80])
def test_chunks_of_any_size(lab: Any, some_machine: Machine, direction: Direction, chunk: int) -> None:
    layer = Layer(lab, some_machine, direction, 77, 91, images=7, n=7)
    for vectors, images in ((1, 3), (2, 2), (3, 7)):
        layer.spec = replace(layer.spec, tile=DenseTile(vectors, images, chunk))
        np.testing.assert_array_equal(layer.found(), layer.expected())


@DIRECTIONS
@pytest.mark.parametrize("n", [0, 1, 2, 5, 12])
def test_fewer_images_than_there_may_be(lab: Any, machine: Machine, direction: Direction, n: int) -> None:
    layer = Layer(lab, machine, direction, 70, 70, images=12, n=n)
    for tile in (layer.spec.tile, replace(layer.spec.tile, chunk=16)):
        np.testing.assert_array_equal(layer.found(tile=tile), layer.expected())


def sections(inner: int) -> list[slice]:
    """The channels of each section."""
    return [slice(first, min(first + SECTION, inner)) for first in range(0, inner, SECTION)]


@DIRECTIONS
@pytest.mark.parametrize("inner", [2 * SECTION, 2 * SECTION + 70])
def test_long_sums_are_made_of_sections(
    lab: Any, some_machine: Machine, direction: Direction, inner: int
) -> None:
    """One that cancels what came before leaves its own rounding alone: 2^30 and −2^30 in the first section hide nothing."""
    shape = (inner, 20) if direction == "forward" else (20, inner)
    layer = Layer(lab, some_machine, direction, *shape, images=5, n=5, real=True)
    layer.source[:, 0], layer.source[:, SECTION - 1] = 2.0**30, -(2.0**30)
    (layer.w if layer.forward else layer.w.T)[[0, SECTION - 1]] = 1
    w = layer.w if layer.forward else layer.w.T
    parts = [layer.source[:, part].astype(np.float64) @ w[part] for part in sections(inner)]
    near = np.sum(parts[1:], axis=0)
    # The first section's own, by a chain of its kind.
    first = np.zeros((5, 20), "float32")
    for c in range(SECTION):
        first = (first + np.multiply.outer(layer.source[:, c].astype(np.float64), w[c])).astype("float32")
    np.testing.assert_allclose(layer.found() - first, near, atol=1e-3)


@DIRECTIONS
@pytest.mark.parametrize("inner", [150, 2 * SECTION + 70])
def test_the_direct_kernels_bits(lab: Any, machine: Machine, direction: Direction, inner: int) -> None:
    shape = (inner, 70) if direction == "forward" else (70, inner)
    layer = Layer(lab, machine, direction, *shape, images=20, n=20, real=True)
    packed = np.full(layer.pack.entries, np.nan, "float32")
    for task in range(layer.pack.tasks):
        packed = lab.run(layer.pack, machine, [layer.w.ravel(), packed], 1, begin=task)[-1]
    direct = layer.run(layer.direct, packed)
    for chunk in (16, 64, 160):
        same = layer.found(tile=replace(layer.spec.tile, chunk=chunk))
        np.testing.assert_array_equal(direct.view(np.uint8), same.copy().view(np.uint8))


@DIRECTIONS
def test_bits_do_not_depend_on_the_machine(lab: Any, direction: Direction) -> None:
    found = {
        m.isa: Layer(lab, m, direction, 300, 50, images=20, n=20, real=True).found().copy() for m in lab.host
    }
    lab.same_on_fma(found)


@DIRECTIONS
def test_the_epilogue_comes_after_the_last_chunk(lab: Any, machine: Machine, direction: Direction) -> None:
    layer = Layer(lab, machine, direction, 60, 70, images=6, n=6)
    channels = layer.spec.output.channels
    bias = lab.integers(3, channels, high=9)
    other = lab.integers(4, 6, 1, 1, channels, high=9)
    like = replace(layer.spec.output)
    epilogue = Epilogue(
        where(x2 < 0, 0, x0 * Scalar("rate") + x1), (Layout(1, 1, channels, channels, batched=False), like)
    )
    for chunk in (16, 80):
        spec = replace(
            layer.spec,
            epilogue=epilogue,
            scalars=("images", "rate"),
            tile=replace(layer.spec.tile, chunk=chunk),
        )
        found = layer.run(spec, layer.w.ravel(), (bias, lab.stored(like, other)), (3.0,))
        expected = np.where(other[:, 0, 0] < 0, 0, layer.expected() * 3 + bias)
        np.testing.assert_array_equal(found, expected)


def test_which_layers_and_how_they_are_cut() -> None:
    assert dense.serves(conv(400, 120), 16)
    assert not dense.serves(conv(400, 120), 15), "weights would meet too few images"
    assert not dense.serves(Conv(window((5, 5), (5, 5)), 16, 120), 64)
    assert not dense.serves(Conv(window((1, 1), (1, 1)), 64, 64, groups=2), 64)
    layout = Layout(1, 1, 9216, 9216), Layout(1, 1, 128, 128)
    forward, _ = forward_spec(conv(9216, 128), *layout, AVX512, mode="blocks", images=64)
    spec = dense.cut(forward, 64, AVX512)
    assert type(spec) is DenseSpec
    assert spec.tile.chunk in (16, 32, 48, 64, 96)
    assert 9216 % spec.tile.chunk == 0
    assert dense.blocks(spec, AVX512) == 4
    back, _ = dx_spec(conv(9216, 128), *reversed(layout), AVX512, mode="blocks", images=64)
    cut = dense.cut(back, 64, replace(AVX512, l1=48 * 1024))
    assert type(cut) is DenseDxSpec
    assert cut.tile.chunk == 128, "a single chunk keeps its sums in registers"
