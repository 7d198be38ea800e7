"""A laboratory for kernels: compile one, run it on fenced memory, look at its code for any machine.

Operands end where the next page may not be touched, in a second run they begin where the page before
may not, and the bytes between array and page must not change: nothing beyond an operand is read or written.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import registry
from vecgrad.spec.kernel import KernelSpec
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, NEON, Machine
from vecgrad.spec.tensor import Layout

llvm = pytest.importorskip("llvmlite.binding")

_NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"),
    "avx2": ("avx2", "fma"),
    "baseline": ("sse2",),
}
_FUNCTION = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)
_PAGE = mmap.PAGESIZE
_GUARD = 0xA5
Array = Any


def _host() -> list[Machine]:
    features = dict(llvm.get_host_cpu_features())
    return [m for m in (AVX512, AVX2, BASELINE) if all(features.get(f) for f in _NEEDS[m.isa])]


def _target(machine: Machine) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.cpu, features=",".join(machine.features), opt=3, reloc="pic", codemodel="small"
    )


class _Fenced:
    """A copy of an array in pages of its own, at their end or at their beginning, between forbidden pages."""

    def __init__(self, array: Array, at_end: bool) -> None:
        pages = -(-array.nbytes // _PAGE) or 1
        self._memory = mmap.mmap(-1, (pages + 2) * _PAGE)
        whole = np.frombuffer(self._memory, np.uint8)
        self._inner = whole[_PAGE:-_PAGE]
        self._inner[:] = _GUARD
        slack = pages * _PAGE - array.nbytes
        self._span = slice(slack, None) if at_end else slice(0, array.nbytes)
        self._inner[self._span] = array.view(np.uint8).ravel()
        self._dtype = array.dtype
        self._forbid(whole.ctypes.data)
        self._forbid(whole.ctypes.data + (pages + 1) * _PAGE)
        self.address = self._inner.ctypes.data + (slack if at_end else 0)

    @staticmethod
    def _forbid(address: int) -> None:
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), 0)

    def content(self) -> Array:
        """The array as it is now; fails if a byte beside it was written."""
        inside = self._inner[self._span]
        untouched = int((self._inner == _GUARD).sum()) - int((inside == _GUARD).sum())
        assert untouched == self._inner.size - inside.size, "the kernel wrote beside an operand"
        return inside.copy().view(self._dtype)


class Lab:
    """Everything a kernel's test needs."""

    host = _host()

    @functools.cached_property
    def _compiled(self) -> dict[tuple[Machine, str], tuple[Any, Any]]:
        return {}

    def function(self, spec: KernelSpec, machine: Machine, generate: Any = registry.generate) -> Any:
        """The compiled kernel."""
        return self._loaded(spec, machine, generate)[1]

    def engine(self, spec: KernelSpec, machine: Machine, generate: Any = registry.generate) -> Any:
        """What holds the compiled kernel and its global values."""
        return self._loaded(spec, machine, generate)[0]

    def _loaded(self, spec: KernelSpec, machine: Machine, generate: Any) -> tuple[Any, Any]:
        key = (machine, generate.__qualname__ + generate.__module__ + spec.name)
        if key not in self._compiled:
            target = _target(machine)
            module = llvm.parse_assembly(f'target triple = "{machine.triple}"\n' + generate(spec, machine))
            module.verify()
            engine = llvm.create_mcjit_compiler(module, target)
            engine.finalize_object()
            self._compiled[key] = (engine, _FUNCTION(engine.get_function_address(spec.name)))
        return self._compiled[key]

    def run(
        self,
        spec: KernelSpec,
        machine: Machine,
        operands: Sequence[Array],
        images: int,
        scalars: Sequence[float] = (),
        begin: int = 0,
        generate: Any = registry.generate,
    ) -> list[Array]:
        """What the operands (flat arrays; the same array twice is the same memory) hold after a call."""
        function = self.function(spec, machine, generate)
        runs = []
        for at_end in (True, False):
            fences = {id(array): _Fenced(array, at_end) for array in operands}
            pointers = (ctypes.c_void_p * len(operands))(*(fences[id(a)].address for a in operands))
            values = (ctypes.c_double * max(len(scalars), 1))(*scalars)
            scratch = self._scratch(spec, machine)
            function(pointers, values, scratch.address, begin, begin + images)
            scratch.content()
            runs.append([fences[id(array)].content() for array in operands])
        return runs[0]

    @staticmethod
    def _scratch(spec: KernelSpec, machine: Machine) -> _Fenced:
        """As much as the kernel asks for, page-aligned, full of what must not be read."""
        entries = -(-registry.scratch_bytes(spec, machine) // 8)
        return _Fenced(np.full(entries, np.nan), at_end=False)

    def assembly(self, spec: KernelSpec, machine: Machine) -> str:
        """Assembly text for any machine, here or not."""
        text = f'target triple = "{machine.triple}"\n' + registry.generate(spec, machine)
        written: str = _target(machine).emit_assembly(llvm.parse_assembly(text))
        return written

    @staticmethod
    def layout(
        machine: Machine, shape: tuple[int, int, int], dtype: str = "float32", padded: bool = True
    ) -> Layout:
        """A batched layout: of the arena (``padded``) or a user's array."""
        return Layout(
            *shape,
            machine.pitch(shape[2], "float32" if dtype == "uint8" else dtype) if padded else shape[2],
            dtype,
        )

    @staticmethod
    def stored(layout: Layout, values: Array) -> Array:
        """The memory of an (n, h, w, c) array; lanes that are no channels hold NaN, or 119 for integers."""
        n = len(values) if layout.batched else 1
        memory = np.empty((n, layout.height, layout.width, layout.pitch), layout.dtype)
        memory[:] = np.nan if memory.dtype.kind == "f" else 119
        memory[..., : layout.channels] = values
        return memory.ravel()

    @classmethod
    def blank(cls, layout: Layout, images: int) -> Array:
        """The memory of an output before it is written."""
        return cls.stored(layout, np.full((images, *layout.shape), 77, layout.dtype))

    @staticmethod
    def loaded(layout: Layout, memory: Array) -> Array:
        """The (n, h, w, c) array in a memory."""
        return memory.reshape(-1, layout.height, layout.width, layout.pitch)[..., : layout.channels]

    @staticmethod
    def integers(seed: int, *shape: int, dtype: str = "float32", high: int = 9) -> Array:
        """Small integers of both signs, which sum and multiply exactly."""
        return np.random.default_rng(seed).integers(-high, high, shape, endpoint=True).astype(dtype)

    @staticmethod
    def same_on_fma(results: dict[str, Array]) -> None:
        """Bits must be equal on machines with a fused multiply-add."""
        fused = [results[isa] for isa in ("avx512", "avx2") if isa in results]
        for one, other in itertools.pairwise(fused):
            np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(params=Lab.host, ids=lambda machine: machine.isa)
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each instruction set that this processor has."""
    return request.param


@pytest.fixture
def some_machine(request: pytest.FixtureRequest) -> Machine:
    """One of those machines, by the test's name: for cases that are many, and not about a machine."""
    return Lab.host[zlib.crc32(request.node.name.encode()) % len(Lab.host)]


@pytest.fixture(params=(AVX512, AVX2, BASELINE, NEON), ids=lambda machine: machine.isa)
def any_machine(request: pytest.FixtureRequest) -> Machine:
    """Each instruction set there is, for tests that only generate code."""
    return request.param
