"""What the Winograd kernels' loops look like in assembly, as test_conv_code.py looks at the direct ones.

Two kinds of loops are hot: the products of a register tile, and the transforms, which walk vectors of channels. A
product is a multiply-add alone; a transform subtracts too, be it a product.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from tests.kernels.test_conv_code import HOT_BYTES, bodies, loops

from vecgrad.kernels import algorithm, registry, summed
from vecgrad.kernels._winograd_grid import Needed
from vecgrad.kernels._winograd_shape import Shape
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import Unpooling, WinogradDwSpec, WinogradTile
from vecgrad.spec.machine import AVX2, AVX512, NEON, Machine
from vecgrad.spec.tensor import Layout

CHANNELS = [16, 64, 70, 256]
KINDS = ("forward", "dx", "dw")
_SUBTRACT = r"subps|\tfsub|\tvfnmadd|\tfmls"
_OPERATION = r"\tv?(?:add|sub|mul)ps|\tvfn?madd|\tf(?:add|sub|mul|mla|mls)\b"


def spec(kind: str, channels: int, machine: Machine) -> Any:
    """As a plan makes it: padded layouts, large weight gradients in blocks."""
    conv = Conv(window((16, 16), 3, padding="same"), channels, channels)
    layout = Layout(16, 16, channels, machine.pitch(channels, "float32"))
    if kind == "dw":
        by_blocks = channels > 16
        found = summed.winograd_dw_spec(conv, layout, layout, machine, images=8, by_blocks=by_blocks)
        return summed.at_groups(found, 1, 8) if by_blocks else found
    return algorithm.winograd_spec(conv, kind, layout, layout, machine, images=8)[0]  # type: ignore[arg-type]


def check_products(assembly: str, machine: Machine, tile: WinogradTile) -> None:
    """No stack, no load more than the tile's scalars and vectors, short."""
    found = [body for body in bodies(assembly, machine) if body.products >= 12 and not body.count(_SUBTRACT)]
    assert found
    for body in found:
        about = f"{tile}: {body.products} products\n{body.text}"
        assert body.on_stack <= (0 if machine.fma else 0.3 * body.products), about
        assert body.products <= 300, about
        assert body.nbytes <= HOT_BYTES, about
    largest = max(found, key=lambda body: body.products)
    # Each step of the tile loads its scalars and its vectors once. Without a fused multiply-add a product may load its own.
    needed = 1 / tile.vectors + 1 / tile.scalars if machine.fma else 1.35
    assert largest.loads <= 1.15 * needed * largest.products, f"{tile}\n{largest.text}"


def check_transforms(assembly: str, machine: Machine) -> None:
    """No vector on the stack, few addresses there, short: the loops over vectors of channels, and those next to them."""
    every = loops(assembly, machine)
    hot = {blocks: body for blocks, body in every.items() if body.count(_SUBTRACT) >= 3}
    depths = {blocks: _depth(blocks, hot) for blocks in hot}
    # Forward and data gradient have two transforms, a weight gradient three; the way back walks lines inside.
    assert sum(body.count(_OPERATION) >= 72 and depths[blocks] <= 1 for blocks, body in hot.items()) >= 2
    for blocks, body in hot.items():
        if depths[blocks] > 1:
            continue
        operations = body.count(_OPERATION)
        about = f"{operations} operations, {body.loads} loads\n{body.text}"
        assert not (body.vectors_on_stack and machine.fma), about
        # Two-operand code without a fused multiply-add has a vector more on its way than 16 registers hold.
        assert body.on_stack <= (0.3 if depths[blocks] or not machine.fma else 0.15) * operations, about
        # The least is that of a map of gradients: 10 vectors read or written for 8 operations.
        assert body.loads <= 1.25 * 1.4 * operations, about
        # A tile's loop is entered once for its vectors: what must fit the instruction cache is the loop over these.
        assert depths[blocks] or body.nbytes <= HOT_BYTES, about


def _depth(blocks: frozenset[int], others: Collection[frozenset[int]]) -> int:
    """How many loops of ``others`` are nested in it."""
    inside = [other for other in others if other < blocks]
    return 1 + max((_depth(other, inside) for other in inside), default=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_hot_loops(lab: Any, any_machine: Machine, channels: int, kind: str) -> None:
    found = spec(kind, channels, any_machine)
    assembly = lab.assembly(found, any_machine)
    check_products(assembly, any_machine, found.tile)
    check_transforms(assembly, any_machine)


def test_hot_loops_of_output_channels_in_turns(lab: Any, any_machine: Machine) -> None:
    """A single block of tiles of wide layers, as a plan cuts them."""
    conv = Conv(window((4, 4), 3, padding="same"), 512, 512)
    layout = Layout(4, 4, 512, 512)
    found = summed.weight_gradient(
        conv, layout, layout, any_machine, images=32, batch=32, groups=lambda *_: 1, algorithm="auto"
    ).spec
    assert isinstance(found, WinogradDwSpec)
    assert (found.k_block, found.turns) == (256, 4)
    assembly = lab.assembly(found, any_machine)
    check_products(assembly, any_machine, found.tile)
    # On ARM planes are too far apart for a load's offset: the way back has 27 to 29 addresses on the stack for 90 operations.
    if any_machine.isa != "neon":
        check_transforms(assembly, any_machine)


def test_too_large_a_tile_is_seen(lab: Any) -> None:
    """More sums than registers: they spill."""
    found = spec("forward", 64, AVX2)
    spilling = replace(found, tile=WinogradTile(4, 6, 24))
    with pytest.raises(AssertionError):
        check_products(lab.assembly(spilling, AVX2), AVX2, spilling.tile)


def test_a_load_for_each_product_is_seen(lab: Any) -> None:
    """As if the scalars were not held: the same code, judged by a tile that loads less."""
    found = spec("dx", 64, AVX512)
    check_products(lab.assembly(found, AVX512), AVX512, found.tile)
    with pytest.raises(AssertionError):
        check_products(lab.assembly(found, AVX512), AVX512, replace(found.tile, vectors=6, scalars=6))


@pytest.mark.parametrize("target", [AVX512, AVX2, NEON], ids=lambda m: m.isa)
def test_a_vector_on_the_stack_is_seen(lab: Any, target: Machine) -> None:
    """Planted into the assembly: one vector that is stored to the stack in the transform's innermost loop."""
    assembly = lab.assembly(spec("forward", 64, target), target)
    check_transforms(assembly, target)
    store = "\tstr\tq0, [sp, #16]\n" if target is NEON else "\tvmovaps\t%ymm0, 32(%rsp)\n"
    lines = assembly.splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if "fsub" in line or "subps" in line)
    with pytest.raises(AssertionError):
        check_transforms("".join([*lines[:last], store, *lines[last:]]), target)


@pytest.mark.parametrize(("channels", "streamed"), [(16, False), (256, True)])
def test_where_weights_are_streamed_places_are_fetched_beside_the_epilogue(
    channels: int, streamed: bool
) -> None:
    """As if they were read; elsewhere beside the products, which then fetch nothing of their own."""
    text = registry.generate(spec("forward", channels, AVX512), AVX512)
    blocks = re.split(r"\n(?=[\w.]+:)", text)
    fetching = [block for block in blocks if "@llvm.prefetch" in block]
    to_write = [block for block in fetching if re.search(r"@llvm\.prefetch\S*\(ptr [^,]+, i32 1", block)]
    assert bool(to_write) == (not streamed)
    assert not any("fsub" in block for block in to_write)
    # The way into the domain fetches pixels in both; the way back, which writes to where the epilogue says, in one.
    assert sum("fsub" in block or "store" in block for block in fetching) == 1 + streamed
    products = [block for block in blocks if block.count("@llvm.fma") >= 12 and "store" not in block]
    assert products
    assert any("@llvm.prefetch" in block for block in products) == streamed


def test_a_tile_of_a_single_vector_has_few_scalars() -> None:
    """32 registers would hold 27."""
    assert spec("forward", 16, AVX512).tile == WinogradTile(1, 16, 32)


@pytest.mark.parametrize("kind", ["forward", "dx"])
def test_planes_that_nothing_needs_are_left_out(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """Eleven of 36 where maps are 3 × 3: a vector of channels of a tile is stored so many times less."""
    layout = Layout(3, 3, 16, 16)
    conv = Conv(window((3, 3), 3, padding="same"), 16, 16)
    found, _ = algorithm.winograd_spec(conv, kind, layout, layout, AVX512, images=8)

    def stores() -> int:
        return len(re.findall(r"store <16 x float>", registry.generate(found, AVX512)))

    few = stores()
    monkeypatch.setattr(Shape, "needed", property(lambda shape: Needed(shape.grid, all_tiles=True)))
    assert stores() - few == 11


@pytest.mark.parametrize("kind", ["dx", "dw"])
@pytest.mark.parametrize("target", [AVX512, AVX2], ids=lambda m: m.isa)
def test_un_pooled_patches_leave_no_vector_on_the_stack(lab: Any, target: Machine, kind: str) -> None:
    """A column of windows at a time: all of a patch's pixels at once are more than there are registers."""
    found = spec(kind, 64, target)
    dy = found.input if kind == "dx" else found.dy
    pooled = replace(dy, height=dy.height // 2, width=dy.width // 2)
    windows = window((dy.height, dy.width), 2, 2)
    unpool = Unpooling(windows, pooled, replace(pooled, dtype="uint8"))
    check_transforms(lab.assembly(replace(found, unpool=unpool), target), target)
