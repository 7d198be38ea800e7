"""A kernel in memory with its operands, called directly and timed."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from vecgrad.kernels import registry
from vecgrad.runtime.engine import Engine
from vecgrad.runtime.memory import Memory, aligned
from vecgrad.spec.kernel import KernelSpec
from vecgrad.spec.machine import ITEM_BYTES, Machine

_FUNCTION = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


def filled(entries: int, dtype: str, seed: int) -> Memory:
    """Memory of normal random numbers."""
    memory = aligned(entries * ITEM_BYTES[dtype])
    array: Any = memory.array(dtype, entries)
    array[...] = np.random.default_rng(seed).standard_normal(entries)
    return memory


class Loaded:
    """A compiled kernel and the memory it works on."""

    def __init__(
        self, spec: KernelSpec, machine: Machine, arrays: list[Memory], scalars: tuple[float, ...] = (0.0,)
    ):
        self._engine = Engine.load({spec.name: registry.generate(spec, machine)}, machine)
        self._function = _FUNCTION(self._engine.address(spec.name))
        self._scratch = aligned(registry.scratch_bytes(spec, machine) + 64)
        self._arrays = arrays
        self._operands = (ctypes.c_void_p * len(arrays))(*[a.address for a in arrays])
        self._scalars = (ctypes.c_double * len(scalars))(*scalars)

    def seconds(self, begin: int, end: int, repeat: int = 1) -> float:
        """Seconds of this thread's processor time for ``repeat`` calls."""
        arguments = (self._operands, self._scalars, self._scratch.address, begin, end)
        function = self._function
        start = time.thread_time()
        for _ in range(repeat):
            function(*arguments)
        return time.thread_time() - start

    def tasks(self, count: int) -> float:
        """Seconds for tasks 0 … count − 1, one behind the other."""
        function, arguments = self._function, (self._operands, self._scalars, self._scratch.address)
        start = time.thread_time()
        for task in range(count):
            function(*arguments, task, task + 1)
        return time.thread_time() - start
