"""Denormals are flushed and rounding is to nearest inside; the caller's mode is back outside."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vecgrad.runtime import Engine, Job, Operand, address_of, host_machine

MODE = {
    True: """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define i64 @get_mode() {
  %at = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %at)
  %mode = load i32, ptr %at, align 4
  %wide = zext i32 %mode to i64
  ret i64 %wide
}
define void @set_mode(i64 %wide) {
  %at = alloca i32, align 4
  %mode = trunc i64 %wide to i32
  store i32 %mode, ptr %at, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %at)
  ret void
}
""",
    False: """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define i64 @get_mode() {
  %mode = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %mode
}
define void @set_mode(i64 %mode) {
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}
""",
}


@pytest.fixture
def mode(engine: Engine) -> Iterator[tuple[Callable[[], int], Callable[[int], None]]]:
    """(read, write) this thread's floating-point mode; it is put back afterwards."""
    machine = host_machine()
    text = MODE[machine.is_x86]
    loaded = [Engine.load({name: text}, machine) for name in ("get_mode", "set_mode")]
    read = ctypes.CFUNCTYPE(ctypes.c_int64)(loaded[0].address("get_mode"))
    write = ctypes.CFUNCTYPE(None, ctypes.c_int64)(loaded[1].address("set_mode"))
    before = read()
    yield read, write
    write(before)


def product(job: Job, cases: np.ndarray) -> None:
    job.bases[:, 0] = address_of(cases)
    job.run()


@pytest.mark.parametrize("threads", [1, 3])
def test_denormals_are_flushed_in_every_thread(single: Callable[..., Job], threads: int) -> None:
    cases = np.full((500, 3), 7, "float32")
    cases[:, 0] = np.float32(2e-38)  # a normal number, and the product is none
    cases[:, 1] = np.float32(1e-3)
    assert cases[0, 0] * cases[0, 1] > 0, "the caller's arithmetic keeps denormals"
    product(single("multiply", Operand(0, per_chunk=12), chunks=500, threads=threads), cases)
    assert not cases[:, 2].any()
    # A denormal operand counts as zero too: 1e-40 * 1e30 is a normal number otherwise.
    cases[:, 0], cases[:, 1] = np.float32(1e-40), np.float32(1e30)
    product(single("multiply", Operand(0, per_chunk=12), chunks=500, threads=threads), cases)
    assert not cases[:, 2].any()
    assert np.float32(2e-38) * np.float32(1e-3) > 0, "and does so again afterwards"


def test_the_callers_mode_comes_back_and_does_not_come_in(
    single: Callable[..., Job], mode: tuple[Callable[[], int], Callable[[int], None]]
) -> None:
    read, write = mode
    upwards = (2 << 13) | 0x1F80 if host_machine().is_x86 else 1 << 22
    cases = np.full((4, 3), 0, "float32")
    cases[:, :2] = np.float32(1.1)
    job = single("multiply", Operand(0, per_chunk=12), chunks=4, threads=1)
    write(upwards)
    product(job, cases)
    after = read()
    write(0x1F80 if host_machine().is_x86 else 0)
    # The run in between raised "inexact", but the caller sees only what it had itself. (Python's own
    # arithmetic around the call may raise flags: the rounding and control bits are what must be equal.)
    assert after & ~0x3F == upwards & ~0x3F
    assert cases[0, 2] == np.float32(1.1) * np.float32(1.1), "rounded to nearest, not upwards"
