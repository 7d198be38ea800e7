"""Linking without LLVM: the same results as with it, memory that nobody can write to, and None for what is foreign."""

from __future__ import annotations

import ctypes
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.runtime import Engine, _image, host_machine, native_available
from vecgrad.runtime import engine as engine_module
from vecgrad.runtime._compile import compiled
from vecgrad.runtime.engine import Jit
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import NEON

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not native_available() or not host_machine().is_x86,
    reason="linked here is only what Linux on x86-64 is given",
)

# f(out, i): constants from .rodata (tables), .rodata.cst4 (floats) and a call within the module.
CODE = """
@zeros = internal constant [5 x i64] [i64 0, i64 0, i64 0, i64 0, i64 9]
@table = internal constant [5 x i64] [i64 11, i64 22, i64 33, i64 44, i64 55]

define internal i64 @looked_up(i64 %i) noinline nounwind {{
  %zero.at = getelementptr [5 x i64], ptr @zeros, i64 0, i64 %i
  %zero = load i64, ptr %zero.at
  %at = getelementptr [5 x i64], ptr @table, i64 0, i64 %i
  %listed = load i64, ptr %at
  %value = add i64 %listed, %zero
  ret i64 %value
}}

define i64 @{name}(ptr %out, i64 %i) nounwind {{
  %x = load float, ptr %out
  %z = fmul float %x, 0x400921FB60000000
  %y = fadd float %z, 7.0
  store float %y, ptr %out
  %value = call i64 @looked_up(i64 %i)
  %shifted = add i64 %value, {added}
  ret i64 %shifted
}}
"""


def objects_of(**texts: str) -> dict[str, bytes]:
    return compiled({name: (lambda text=text: text) for name, text in texts.items()}, host_machine(), 0)


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    return objects_of(f=CODE.format(name="f", added=1), g=CODE.format(name="g", added=1000))


def call(address: int, i: int) -> tuple[int, float]:
    x = np.array([2.0], "float32")
    result = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(address)(x.ctypes.data, i)
    return result, float(x[0])


def test_results_are_those_of_llvms_linker(objects: dict[str, bytes]) -> None:
    image, jit = _image.link(objects), Jit(objects, host_machine())
    assert image is not None
    for name, added in (("f", 1), ("g", 1000)):
        for i in range(4):
            assert call(image.addresses[name], i) == call(jit.addresses[name], i)
            assert call(image.addresses[name], i) == (
                11 * (i + 1) + added,
                float(np.float32(2 * np.pi) + np.float32(7)),
            )


def test_the_memory_can_be_executed_and_not_written(objects: dict[str, bytes]) -> None:
    image = _image.link(objects)
    assert image is not None
    for address in image.addresses.values():
        found = [
            rights
            for span, rights in (
                line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()
            )
            if int(span.split("-")[0], 16) <= address < int(span.split("-")[1], 16)
        ]
        assert found == ["r-xp"]


FOREIGN = {
    "a function elsewhere": "declare void @memset_of_libc()\n"
    "define void @f() nounwind { call void @memset_of_libc()\n ret void }",
    "a variable": "@state = internal global i64 5\n"
    "define i64 @f() nounwind { %v = load volatile i64, ptr @state\n store i64 7, ptr @state\n ret i64 %v }",
    "zeroed memory": "@state = internal global [9 x i64] zeroinitializer\n"
    "define i64 @f() nounwind { %v = load volatile i64, ptr @state\n store i64 7, ptr @state\n ret i64 %v }",
    "a thread's variable": "@state = thread_local global i64 5\n"
    "define i64 @f() nounwind { %v = load volatile i64, ptr @state\n ret i64 %v }",
    "an absolute address": "@there = constant ptr @f\ndefine void @f() { ret void }",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_foreign_is_left_to_llvm(what: str) -> None:
    assert _image.link(objects_of(f=FOREIGN[what])) is None


def test_other_objects_are_left_to_llvm(objects: dict[str, bytes]) -> None:
    arm = compiled({"f": lambda: "define void @f() { ret void }"}, replace(NEON), 0)
    assert _image.link(arm) is None
    apple = replace(NEON, triple="arm64-apple-macosx14.0.0")
    assert _image.link(compiled({"f": lambda: "define void @f() { ret void }"}, apple, 0)) is None
    assert _image.link({"another_name": objects["f"]}) is None
    assert _image.link({"f": b""}) is None


def test_other_systems_are_left_to_llvm(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _image.link(objects) is None


def test_a_system_that_forbids_it(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_image, "_protect", lambda: lambda *_: -1)
    assert _image.link(objects) is None


def test_an_engine_falls_back(kernels: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "link", lambda _: None)
    loaded = Engine.load(kernels, host_machine())
    assert {loaded.address(name) for name in kernels} == set(loaded._code.addresses.values())
    assert isinstance(loaded._code, Jit)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_cut_or_changed_object_never_writes_outside(data: st.DataObject) -> None:
    # Only objects with the right digest come here; still, a wrong number must end in None or inside the image.
    whole = objects_of(f=CODE.format(name="f", added=1))["f"]
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if len(broken) >= 8:
            at = data.draw(st.integers(0, len(broken) - 8))
            struct.pack_into("<Q", broken, at, data.draw(st.integers(0, 2**64 - 1)))
    image = _image.link({"f": bytes(broken)})
    assert image is None or set(image.addresses) == {"f"}


def test_an_engine_needs_its_functions() -> None:
    with pytest.raises(CompileError, match="does not define"):
        Engine.load({"f": "define void @g() { ret void }"}, host_machine())
