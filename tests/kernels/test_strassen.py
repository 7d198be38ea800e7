"""Strassen's kernels against the slow reference: to the bit on integers, and to the bit between machines, tiles and batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Case
from tests.kernels.test_conv_code import HOT_BYTES, bodies
from tests.kernels.test_winograd import Operands as WinogradOperands
from tests.kernels.test_winograd import near, same_bits
from tests.kernels.test_winograd_fetch import fetched, filled, within

from vecgrad.kernels import _strassen_cost as cost
from vecgrad.kernels import algorithm, registry
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.kernel import Epilogue, StrassenTile
from vecgrad.spec.machine import AVX2, AVX512, NEON, Machine
from vecgrad.spec.scalar import Operand, where
from vecgrad.spec.tensor import Layout

CASES = {
    "whole tiles": Case((4, 4), 128, 64, 1, images=3),
    "few pairs": Case((2, 1), 64, 128, 1, images=1),
    "odd rows": Case((3, 6), 64, 192, 1, images=5),
    "several blocks": Case((2, 2), 192, 256, 1, images=7),
    "no images": Case((3, 2), 64, 64, 1, images=0),
}
DIRECTIONS = ("forward", "dx")
# Few chains to compile, where what is tested is not the tile.
SMALL = StrassenTile(1, 2, 8)


class Operands(WinogradOperands):
    """A case's arrays, and these kernels' results on a machine."""

    def gathered(  # type: ignore[override]
        self, direction: str, *, tile: StrassenTile | None = None, groups: int = 0, parts: int = 1,
        epilogue: Epilogue | None = None, inputs: tuple[Any, ...] = (), pack_tasks: int = 1,
    ) -> Any:  # fmt: skip
        """groups, parts: of tasks."""
        forward = direction == "forward"
        source, out = (self.x_layout, self.y_layout) if forward else (self.y_layout, self.x_layout)
        images = -(-self.n // groups) if groups else self.n
        spec, pack = algorithm.strassen_spec(
            self.conv, "forward" if forward else "dx", source, out, self.machine, images=max(images, 1),
            image_groups=groups, parts=parts, epilogue=epilogue or Epilogue(), scalars=("n",),
        )  # fmt: skip
        if tile is not None:
            spec = replace(spec, tile=tile)
            pack = replace(pack, block=tile.vectors * self.machine.lanes("float32"))
        memory = self.lab.stored(out, np.full((self.n, *out.shape), np.nan))
        read = self.lab.stored(source, self.x if forward else self.dy)
        operands = [read, self.packed(replace(pack, tasks=pack_tasks)), *inputs, memory]
        if spec.mode == "images":
            memory = self.lab.run(spec, self.machine, operands, self.n)[-1]
        else:
            for task in range(spec.tasks):
                operands = [*operands[:-1], memory]
                memory = self.lab.run(spec, self.machine, operands, 1, (float(self.n),), begin=task)[-1]
        return self.lab.loaded(out, memory)


@pytest.mark.parametrize("name", CASES)
def test_integers_to_the_bit(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CASES[name], integers=True)
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(a.gathered(direction, pack_tasks=3), a.wanted(direction))


@pytest.mark.parametrize("name", CASES)
def test_rounding_and_nothing_else(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CASES[name])
    for direction in DIRECTIONS:
        near(a.gathered(direction), a.wanted(direction))


@given(
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda s: s[0] * s[1] % 2 == 0),
    channels=st.sampled_from([64, 128]), filters=st.sampled_from([64, 128, 192]), images=st.integers(0, 6),
    tile=st.tuples(st.sampled_from([1, 2]), st.integers(1, 4), st.integers(1, 40)),
)  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_any_geometry_and_tile(
    lab: Any, sides: Any, channels: int, filters: int, images: int, tile: Any
) -> None:
    a = Operands(lab, lab.host[0], Case(sides, channels, filters, 1, images=images), integers=True)
    for direction in DIRECTIONS:
        found = a.gathered(direction, tile=StrassenTile(*tile))
        np.testing.assert_array_equal(found, a.wanted(direction))


@pytest.mark.parametrize("tile", [StrassenTile(1, 3, 7), StrassenTile(2, 2, 5), StrassenTile(2, 1, 64)])
def test_bits_are_those_of_any_tile(lab: Any, machine: Machine, tile: StrassenTile) -> None:
    a = Operands(lab, machine, CASES["odd rows"])
    for direction in DIRECTIONS:
        same_bits(a.gathered(direction, tile=tile), a.gathered(direction))


@pytest.mark.parametrize("name", ["several blocks", "no images"])
def test_tasks(lab: Any, machine: Machine, name: str) -> None:
    """Of more groups than there are images, and of more parts than there are blocks of channels, too."""
    a = Operands(lab, machine, CASES[name])
    for direction in DIRECTIONS:
        whole = a.gathered(direction, tile=SMALL)
        for groups, parts in ((1, 2), (3, 1), (8, 5)):
            same_bits(a.gathered(direction, tile=SMALL, groups=groups, parts=parts), whole)


@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_of_any_vector_width(lab: Any, name: str) -> None:
    machines = [m for m in (AVX512, AVX2) if m in lab.host]
    if len(machines) < 2:
        pytest.skip("this processor has not both AVX-512 and AVX2")
    one, two = (Operands(lab, m, CASES[name]) for m in machines)
    for direction in DIRECTIONS:
        same_bits(one.gathered(direction), two.gathered(direction))


def test_an_image_has_the_same_bits_alone_and_in_a_batch(lab: Any, machine: Machine) -> None:
    case = CASES["odd rows"]
    whole = Operands(lab, machine, case)
    for n in range(whole.n):
        alone = Operands(lab, machine, replace(case, images=1))
        alone.x, alone.dy, alone.w = whole.x[n : n + 1], whole.dy[n : n + 1], whole.w
        for direction in DIRECTIONS:
            found = whole.gathered(direction, tile=SMALL)[n : n + 1]
            same_bits(found, alone.gathered(direction, tile=SMALL))


def test_the_epilogue_meets_its_pixel_and_channel(lab: Any, machine: Machine) -> None:
    a = Operands(lab, machine, CASES["odd rows"], integers=True)
    for direction in DIRECTIONS:
        out = a.y_layout if direction == "forward" else a.x_layout
        map_ = lab.integers(5, a.n, *out.shape, high=4)
        vector = lab.integers(6, out.channels, high=4)
        layouts = (out, Layout(1, 1, out.channels, out.channels, batched=False))
        total = Operand(0) + Operand(1) + Operand(2)
        epilogue = Epilogue(where(total > 0, total, 0.0), layouts)
        found = a.gathered(direction, tile=SMALL, epilogue=epilogue, inputs=(lab.stored(out, map_), vector))
        np.testing.assert_array_equal(found, np.maximum(a.wanted(direction) + map_ + vector, 0))


def gather(case: Case, batch: int = 64, kind: Any = "auto", dtype: str = "float32") -> Any:
    x, y = (Layout(*shape, shape[2], dtype) for shape in (case.conv.in_shape, case.conv.out_shape))
    return algorithm.gather(
        case.conv, "forward", x, y, AVX512, epilogue=Epilogue(), scalars=(), images=max(batch // 16, 1), batch=batch,
        direct_by_blocks=False, algorithm=kind,
    )  # fmt: skip


def test_large_products_of_matrices_take_it() -> None:
    found = gather(Case((4, 4), 512, 512, 1))
    assert found.spec.kind == "strassen"
    assert any("conv.direct" in reason for reason in found.refused)


def test_more_weights_meet_more_pairs() -> None:
    """Chunks of four images of eight pairs each would read 1.8 MB of weights 16 times."""
    found = gather(Case((4, 4), 512, 512, 1))
    assert (found.tasks, found.spec.image_groups, found.spec.images_per_group) == (8, 8, 8)
    assert gather(Case((4, 4), 256, 256, 1)).tasks == 0
    small = gather(Case((2, 4), 256, 256, 1))
    assert (small.tasks, small.spec.images_per_group) == (8, 8)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (Case((5, 5), 512, 512, 1), {}),  # an odd number of pixels
        (Case((4, 4), 512, 480, 1), {}),  # halves are no whole vectors
        (Case((4, 4), 512, 512, 1, stride=2), {}),
        (Case((4, 4), 512, 512, 1, padding=1), {}),
        (Case((4, 4), 512, 512, 1, groups=2), {}),
        (Case((16, 16), 128, 64, 1), {}),  # sums of inputs outweigh an eighth of the products
        (Case((2, 2), 1024, 1024, 1), {}),  # so do sums of weights, which meet two pairs of an image
        (Case((16, 16), 64, 256, 1), {}),  # chains of 32 channels
        (Case((16, 16), 512, 512, 1), {"batch": 1}),
        (Case((4, 4), 512, 512, 1), {"kind": "direct"}),
        (Case((4, 4), 512, 512, 1), {"dtype": "float64"}),
    ],
)
def test_others_do_not(case: Case, options: dict[str, Any]) -> None:
    assert gather(case, **options).spec.kind != "strassen"


def test_the_kernel_refuses_what_it_cannot_compute() -> None:
    case = Case((4, 4), 128, 128, 1)
    x = Layout(4, 4, 128, 128)
    spec, _ = algorithm.strassen_spec(case.conv, "forward", x, x, AVX512, images=4)
    assert isinstance(registry.candidates(spec, AVX512)[0], Offer)
    odd = replace(spec, conv=Case((3, 3), 128, 128, 1).conv)
    [answer] = registry.candidates(odd, AVX512)
    assert isinstance(answer, Refusal)
    assert "odd number of pixels" in answer.reason


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON], ids=lambda machine: machine.isa)
def test_a_tile_fits_the_registers_and_its_channels(machine: Machine) -> None:
    for inner, outer, pairs in (
        (64, 64, 5),
        (128, 192, 40),
        (512, 512, 32),
        (1024, 1024, 512),
        (64, 1024, 1),
    ):
        tile = cost.tile(inner, outer, pairs, machine)
        assert outer // 2 % (tile.vectors * machine.lanes("float32")) == 0
        assert tile.scalars <= min(8, tile.block)
        assert tile.block <= pairs


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON], ids=lambda machine: machine.isa)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_products_stay_in_registers(lab: Any, machine: Machine, direction: Any) -> None:
    """No stack, no load more than the tile's scalars and vectors, short; seven chains for each width of a tile."""
    conv = Case((4, 4), 256, 256, 1).conv
    layout = Layout(4, 4, 256, 256)
    spec, _ = algorithm.strassen_spec(conv, direction, layout, layout, machine, images=4)
    found = [body for body in bodies(lab.assembly(spec, machine), machine) if body.products >= 12]
    wide = [body for body in found if body.products % (spec.tile.vectors * spec.tile.scalars) == 0]
    assert len(wide) >= 7
    for body in found:
        assert not body.on_stack, body.text
        assert body.nbytes <= HOT_BYTES
    for body in wide:
        needed = 1 / spec.tile.vectors + 1 / spec.tile.scalars
        assert body.loads <= 1.15 * needed * body.products, body.text


def test_inputs_of_the_following_pairs_are_fetched(lab: Any, machine: Machine) -> None:
    """A wrong address is no wrong result, only slow: all of the next blocks' pixels and no other ones."""
    case = Case((4, 4), 64, 128, 1, images=4)
    x, y = (lab.layout(machine, shape) for shape in (case.conv.in_shape, case.conv.out_shape))
    spec, pack = algorithm.strassen_spec(case.conv, "forward", x, y, machine, images=4)
    spec = replace(spec, tile=replace(spec.tile, scalars=4, block=8))
    read = filled(4 * x.entries)
    operands = [read, filled(pack.entries), filled(4 * y.entries)]
    found = within(fetched(lab, spec, machine, operands, images=4), read)
    lines = {each // 64 * 64 for each in found}
    pair = 2 * x.pitch * 4
    behind = range(read.ctypes.data + 8 * pair, read.ctypes.data + read.nbytes, 64)
    assert {each // 64 * 64 for each in behind} <= lines
    assert min(found) >= read.ctypes.data + 8 * pair
