"""Kernel specs: their names are keys, so they must be the same everywhere and differ wherever the code may."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

from vecgrad.spec import kernel as specs
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import ConvDwSpec, ConvSpec, DwTile, Epilogue, KernelSpec, MapSpec, PackSpec, Tile
from vecgrad.spec.scalar import Const, Operand
from vecgrad.spec.tensor import Layout

LAYOUT = Layout(4, 4, 3, 16)
CONV = Conv(window((6, 6), 3), 3, 20)
SPEC = ConvSpec(CONV, Layout(6, 6, 3, 3), Layout(4, 4, 20, 32), Tile(2, 1, 1, 4))


def test_the_kind_is_the_class_in_words() -> None:
    assert SPEC.kind == "conv"
    assert MapSpec((Operand(0),), (LAYOUT,), (LAYOUT,)).kind == "map"
    assert specs.MaxPoolDxSpec(CONV.window, LAYOUT, LAYOUT, LAYOUT).kind == "max_pool_dx"


def test_names_are_the_same_in_another_process() -> None:
    code = (
        "from vecgrad.spec.kernel import *; from vecgrad.spec.geometry import *; from vecgrad.spec.tensor import Layout;"
        "print(ConvSpec(Conv(window((6, 6), 3), 3, 20), Layout(6, 6, 3, 3), Layout(4, 4, 20, 32), Tile(2, 1, 1, 4)).name)"
    )
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert run.stdout.strip() == SPEC.name


def test_every_field_changes_the_name() -> None:
    others: dict[str, object] = {
        "conv": Conv(window((6, 6), 3), 3, 21),
        "input": Layout(6, 6, 3, 16),
        "output": Layout(4, 4, 20, 20),
        "tile": Tile(1, 1, 1, 4),
        "mode": "blocks",
        "epilogue": Epilogue(Operand(0) * 2),
        "scalars": ("images",),
    }
    assert set(others) == {f.name for f in fields(SPEC)}
    names = {SPEC.name, *(replace(SPEC, **{field: value}).name for field, value in others.items())}  # type: ignore[arg-type]
    assert len(names) == 1 + len(others)


def test_constants_count_to_the_last_bit() -> None:
    def name(value: float) -> str:
        return MapSpec((Operand(0) * Const(value),), (LAYOUT,), (LAYOUT,)).name

    assert name(0.1) != name(0.1 + 2**-54)


def test_a_name_is_a_symbol() -> None:
    assert SPEC.name.replace("_", "").isalnum()
    assert SPEC.name.isascii()


def test_an_epilogue_that_does_nothing_is_trivial() -> None:
    assert Epilogue().trivial
    assert not Epilogue(Operand(0) + Operand(1), (LAYOUT,)).trivial


def test_packed_weights_fill_the_last_block() -> None:
    conv = Conv(window((5, 5), (3, 2)), 6, 10, groups=2)
    forward = PackSpec(conv, "forward", 4)
    assert (forward.blocks, forward.block_entries) == (2, 6 * 3 * 4)
    assert forward.entries == 2 * 2 * 6 * 3 * 4
    backward = PackSpec(conv, "dx", 4)
    assert (backward.blocks, backward.entries) == (1, 2 * 1 * 6 * 5 * 4)


def test_a_weight_gradient_s_tasks_cover_all_blocks() -> None:
    conv = Conv(window((5, 5), 1), 200, 70, groups=1)
    tile = DwTile(4, 1, 1, 4, 1, k_block=64, c_block=64)
    spec = ConvDwSpec(conv, Layout(5, 5, 200, 208), Layout(5, 5, 70, 80), tile, "blocks", 4, 2, 1024)
    assert (spec.k_blocks, spec.c_blocks, spec.tasks) == (2, 4, 32)


def test_all_specs_are_frozen_records() -> None:
    kinds = [getattr(specs, name) for name in dir(specs) if name.endswith("Spec") and name != "KernelSpec"]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, KernelSpec)
        assert kind.__dataclass_params__.frozen
