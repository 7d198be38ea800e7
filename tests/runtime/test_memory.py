"""Memory: aligned, alive as long as a view of it, private to a process, and guarded."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from vecgrad.runtime import address_of, aligned, guarded
from vecgrad.runtime.memory import HUGE, PAGE
from vecgrad.spec.errors import ArgumentError


@pytest.mark.parametrize("nbytes", [0, 1, 100, PAGE, PAGE + 1, HUGE - 1, HUGE, 3 * HUGE + 5])
def test_alignment_and_zeros(nbytes: int) -> None:
    memory = aligned(nbytes)
    assert memory.nbytes == nbytes
    assert memory.address % (HUGE if nbytes >= HUGE else PAGE) == 0
    view = memory.array("uint8", nbytes)
    assert not view.any()
    if nbytes:
        assert address_of(view) == memory.address
        view[-1] = 7
        assert memory.array("uint8", 1, nbytes - 1)[0] == 7


def test_views_are_typed_shaped_and_placed() -> None:
    memory = aligned(256)
    view = memory.array("float32", (2, 3), offset=64)
    assert (view.dtype, view.shape) == (np.float32, (2, 3))
    assert view.flags.c_contiguous
    assert address_of(view) == memory.address + 64
    view[:] = 1.5
    assert memory.array("float32", 64).sum() == 9.0


def test_a_view_keeps_the_memory_alive() -> None:
    views = []
    for value in range(20):
        memory = aligned(PAGE)
        view = memory.array("int64", 16)
        view[:] = value
        views.append(view[3:5])
        del memory, view
    gc.collect()
    assert [view[0] for view in views] == list(range(20))


@pytest.mark.parametrize(("shape", "offset"), [(65, 0), (1, 253), (1, -4), ((9, 8), 0), (-1, 0)])
def test_views_beyond_the_block_are_refused(shape: int | tuple[int, ...], offset: int) -> None:
    with pytest.raises(ArgumentError, match="does not fit a block of 256 bytes"):
        aligned(256).array("float32", shape, offset)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ArgumentError, match="negative"):
        aligned(-1)


def test_address_of_a_part() -> None:
    x = np.zeros((4, 5), "float32")
    assert address_of(x[2:, 1:]) == address_of(x) + 4 * (2 * 5 + 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_writes_only_its_own_copy() -> None:
    view = aligned(PAGE).array("int64", 4)
    child = os.fork()
    if child == 0:
        view[:] = 9
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not view.any()


@pytest.mark.skipif(os.name == "nt", reason="a fault is no signal there")
@pytest.mark.parametrize("side", ["end", "start"])
@pytest.mark.parametrize("nbytes", [1, 100, PAGE, 3 * PAGE + 44])
def test_a_guard_page_faults(side: str, nbytes: int) -> None:
    code = (
        "import ctypes, sys; from vecgrad.runtime import guarded\n"
        f"memory = guarded({nbytes}, {side!r})\n"
        f"ctypes.memset(memory.address, 1, {nbytes})\n"
        f"assert memory.array('uint8', {nbytes}).sum() == {nbytes}\n"
        "print('inside', flush=True)\n"
        f"at = memory.address + {nbytes if side == 'end' else -1}\n"
    )
    for access in ("ctypes.memset(at, 1, 1)", "ctypes.string_at(at, 1)"):
        done = subprocess.run(
            [sys.executable, "-c", code + access], check=False, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.returncode) == ("inside\n", -signal.SIGSEGV)


def test_guarded_memory_is_ordinary_otherwise() -> None:
    memory = guarded(4 * 37)
    view = memory.array("float32", 37)
    view[:] = 2
    assert view.sum() == 74
    assert (memory.address + memory.nbytes) % PAGE == 0
    assert guarded(100, "start").address % PAGE == 0
