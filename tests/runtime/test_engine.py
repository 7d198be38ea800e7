"""Compiling, loading, refusing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vecgrad.runtime import (
    Call,
    Engine,
    Job,
    ObjectCache,
    Operand,
    Phase,
    address_of,
    assembly,
    host_isas,
    host_machine,
)
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import ISAS, NEON, restricted


@pytest.mark.parametrize("isa", ISAS)
def test_runs_on_every_machine_restricted_from_this_one(
    engine: Engine, kernels: dict[str, str], isa: str
) -> None:
    machine = restricted(host_machine(), isa)
    if isa not in host_isas():
        with pytest.raises(CompileError, match=f"code for {isa} cannot run here"):
            Engine.load(kernels, machine)
        return
    loaded = Engine.load(kernels, machine)
    x = np.arange(16, dtype="float32")
    job = Job([Phase((Call("double", (Operand(0),)),), 1)], loaded, bases=1)
    job.bases[:, 0] = address_of(x)
    job.run()
    assert np.array_equal(x, 2 * np.arange(16))


def test_restricted_machines_get_their_own_instructions(kernels: dict[str, str]) -> None:
    texts = {isa: assembly(kernels["double"], machine) for isa, machine in ISAS.items()}
    assert "%zmm" in texts["avx512"]
    assert "%ymm" in texts["avx2"]
    assert "%zmm" not in texts["avx2"]
    assert "%ymm" not in texts["baseline"]
    assert "fadd\tv0.4s" in texts["neon"]


def test_assembly_of_a_loaded_kernel(engine: Engine, kernels: dict[str, str]) -> None:
    assert "double:" in engine.assembly("double")
    assert engine.assembly("double") == assembly(kernels["double"], engine.machine)
    for ask in (engine.assembly, engine.address):
        with pytest.raises(CompileError, match="no kernel 'triple' was loaded; loaded: add_one, "):
            ask("triple")


def test_statistics_and_the_cache(engine: Engine, kernels: dict[str, str], tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache")
    two = {name: kernels[name] for name in ("add_one", "double")}
    cold = Engine.load(two, host_machine(), cache).statistics
    warm = Engine.load(kernels, host_machine(), cache).statistics
    assert (cold.compiled, cold.cached) == (2, 0)
    assert (warm.compiled, warm.cached) == (len(kernels) - 2, 2)
    assert cold.seconds > 0
    other = restricted(host_machine(), host_isas()[-1])
    if other != host_machine():
        assert Engine.load(two, other, cache).statistics.cached == 0, "another machine, other objects"


def test_many_engines_side_by_side(engine: Engine, kernels: dict[str, str], tmp_path: Path) -> None:
    # Each has the same function names; dropping one leaves the others' code in place.
    cache = ObjectCache(tmp_path / "cache")
    engines = [Engine.load(kernels, host_machine(), cache) for _ in range(10)]
    assert len({one.address("add_one") for one in engines}) == 10
    x = np.zeros(4, "int64")
    jobs = [
        Job([Phase((Call("add_one", (Operand(0, per_image=8),)),), 2, 2)], one, bases=1, threads=2)
        for one in engines
    ]
    del engines
    del jobs[::2]
    for job in jobs:
        job.bases[:, 0] = address_of(x)
        job.images = 4
        job.run()
    assert x.tolist() == [5] * 4


def test_no_kernels_at_all(engine: Engine) -> None:
    assert Engine.load({}, host_machine()).statistics.compiled == 0


def test_bad_modules_are_refused_by_name(engine: Engine, kernels: dict[str, str]) -> None:
    with pytest.raises(CompileError, match="kernel broken: LLVM refuses its code"):
        Engine.load({"broken": "define void @broken() { ret i64 }"}, host_machine())
    with pytest.raises(
        CompileError, match="kernel other: its module does not define a function of that name"
    ):
        Engine.load({"other": kernels["double"]}, host_machine())
    with pytest.raises(CompileError, match="does not define"):
        Engine.load({"there": "declare void @there()"}, host_machine())
    with pytest.raises(CompileError, match="refuses"):
        assembly("define", NEON)


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(CompileError, match="no code generator for z80"):
        assembly("", replace(NEON, triple="z80-unknown-none"))
    with pytest.raises(CompileError, match=r"code for mmx \(unknown\) cannot run here"):
        Engine.load({}, replace(host_machine(), isa="mmx"))


def in_a_new_process(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_room_does_not_import_llvmlite() -> None:
    in_a_new_process(
        "import sys, vecgrad.runtime; assert not any('llvmlite' in name for name in sys.modules)"
    )


def test_without_llvmlite_one_clear_error() -> None:
    in_a_new_process(
        "import sys; sys.modules['llvmlite'] = None; sys.modules['llvmlite.binding'] = None\n"
        "from vecgrad.runtime import *\n"
        "from vecgrad.spec.errors import CompileError\n"
        "assert not native_available()\n"
        "try: host_machine()\n"
        "except CompileError as error: assert 'pip install llvmlite' in str(error)\n"
        "else: raise SystemExit('no error')\n"
        "assert processors() >= 1 and aligned(8).nbytes == 8\n"
    )
