"""What products fetch meanwhile: each line that is due, once or twice, and none that is not. A wrong address is only slow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.corpus import Case
from tests.kernels.test_winograd_fetch import fetches, filled, within

from vecgrad.kernels import algorithm, summed
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.machine import Machine

_LINE = 64
# Times that a line is asked for: what a loop's body fetches is rounded up, and narrow vectors have more bodies.
MOST = {512: 1.1, 256: 1.4}


def lines(addresses: Any) -> set[int]:
    return {each // _LINE * _LINE for each in addresses}


@pytest.mark.parametrize("channels", [128, 512])
def test_weight_gradients_ask_for_lines_of_the_next_pixels(lab: Any, machine: Machine, channels: int) -> None:
    """Of the pixels behind the first task's first section its channels' lines, not whole pixels again and again."""
    case = Case((4, 4), channels, 128, 1, images=12)
    x, dy = (lab.layout(machine, shape) for shape in (case.conv.in_shape, case.conv.out_shape))
    spec = summed.weight_gradient(
        case.conv, x, dy, machine, images=12, batch=12, groups=lambda *_: 1, algorithm="direct"
    ).spec
    spec = replace(spec, slab_stride=channels * 128)
    read, gradient = filled(12 * x.entries), filled(12 * dy.entries)
    operands = [read, gradient, filled(channels * 128)]
    found = fetches(lab, spec, machine, operands, 1, (12.0,))
    section = spec.tile.images * spec.tile.row_block
    for array, layout, width in ((read, x, spec.tile.c_block), (gradient, dy, spec.tile.k_block)):
        pixel = layout.pitch * 4
        start = array.ctypes.data
        due = lines(
            start + n * pixel + byte
            for n in range(section, 12 * 16)
            for byte in range(0, min(width, layout.channels) * 4, _LINE)
        )
        asked = [each for each in found if 0 <= each - start < array.nbytes]
        assert due <= lines(asked)
        assert len(asked) <= MOST.get(machine.vector_bits, 2) * len(due)


@pytest.mark.parametrize("direction", ["forward", "dx"])
def test_places_of_outputs_are_a_tiles_own(lab: Any, machine: Machine, direction: Any) -> None:
    """However long its products take: none of the places behind the last pixel."""
    case = Case((6, 6), 256, 256, 1, images=2)
    layout = lab.layout(machine, case.conv.in_shape)
    found = algorithm.gather(
        case.conv, direction, layout, layout, machine, epilogue=Epilogue(), scalars=(), images=2, batch=4,
        direct_by_blocks=False, algorithm="direct",
    )  # fmt: skip
    assert found.pack is not None
    written = filled(2 * layout.entries)
    operands = [filled(2 * layout.entries), filled(found.pack.entries), written]
    asked = fetches(lab, found.spec, machine, operands, 2)
    start, end = written.ctypes.data, written.ctypes.data + written.nbytes
    assert lines(within(set(asked), written)) == set(range(start, end, _LINE))
    assert not [each for each in asked if end <= each < end + 64 * layout.pitch]


def test_strassens_weights_of_the_next_block_are_fetched(lab: Any, machine: Machine) -> None:
    """All of them, behind the last block those of the first, where the second-level cache does not hold them; elsewhere none."""
    case = Case((4, 4), 128, 256, 1, images=4)
    x, y = (lab.layout(machine, shape) for shape in (case.conv.in_shape, case.conv.out_shape))
    small = replace(machine, l2=1 << 16)
    for host, streamed in ((small, True), (machine, False)):
        spec, pack = algorithm.strassen_spec(case.conv, "forward", x, y, host, images=4)
        assert pack.blocks > 1
        weights = filled(pack.entries)
        operands = [filled(4 * x.entries), weights, filled(4 * y.entries)]
        start, end = weights.ctypes.data, weights.ctypes.data + weights.nbytes
        asked = [each for each in fetches(lab, spec, host, operands, 4) if start <= each < end]
        assert lines(asked) == (set(range(start, end, _LINE)) if streamed else set())
        if streamed:
            block = pack.block_entries * 4
            assert asked[0] == start + block
            assert asked[-1] < start + 1.1 * block  # a line or two of the next plane
