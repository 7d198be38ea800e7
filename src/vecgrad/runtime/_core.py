"""The runtime's own native functions, compiled once per process, and the system's that they call."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.runtime import _admit_ir, _pool_ir, walker
from vecgrad.runtime.cache import default_cache
from vecgrad.runtime.engine import Engine
from vecgrad.runtime.host import host_machine
from vecgrad.spec.machine import restricted

# A wait inside a job gives the processor away after this long: phases end within microseconds of each
# other when every thread has a processor of its own, and when not, spinning holds up the one waited for.
PATIENCE_SECONDS = 20e-6
ADMITTED = ("float32", "float64")  # whose images have a native check
_PAUSES = 400  # a calibration run; a pause takes 10 to 60 ns


@dataclass(frozen=True)
class Core:
    """Native functions as Python callables and as addresses."""

    engine: Engine
    run: Callable[[int, int, int], int]
    serve: Callable[[int, int], None]
    stop: Callable[[int, int], int]
    admit: Mapping[str, Callable[[int, int, int, int, int, int], int]]
    walk: int
    acquire: int
    release: int
    give_way: int
    clock: int
    clock_source: int
    patience: int
    pauses_per_second: float
    callbacks: tuple[Any, ...]

    def pauses(self, seconds: float) -> int:
        """How many pause instructions last about ``seconds``."""
        return max(1, round(seconds * self.pauses_per_second))


@functools.cache
def core() -> Core:
    """The process's core. Raises CompileError where native code cannot run."""
    host = host_machine()
    # The plainest machine: this code moves integers, and objects in the cache then serve any processor.
    machine = restricted(host, "baseline") if host.is_x86 else host
    modules = {"walk": walker.ir(machine), "clock": walker.clock_ir(), **_pool_ir.modules(machine)}
    modules |= {_admit_ir.name(dtype): _admit_ir.ir(dtype) for dtype in ADMITTED}
    engine = Engine.load(modules, machine, default_cache(), processes=1)
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    clock, clock_source, callbacks = _clock(engine)
    speed = _calibrated(ctypes.CFUNCTYPE(None, word)(engine.address("idle")))
    return Core(
        engine=engine,
        run=ctypes.CFUNCTYPE(word, pointer, word, pointer)(engine.address("run")),
        serve=ctypes.CFUNCTYPE(None, pointer, word)(engine.address("serve")),
        stop=ctypes.CFUNCTYPE(word, pointer, word)(engine.address("stop")),
        admit={
            dtype: ctypes.CFUNCTYPE(word, pointer, word, pointer, word, word, pointer)(
                engine.address(_admit_ir.name(dtype))
            )
            for dtype in ADMITTED
        },
        walk=engine.address("walk"),
        # C functions of the stable ABI that need neither a thread state nor the interpreter lock.
        acquire=_pointer(ctypes.pythonapi.PyThread_acquire_lock),
        release=_pointer(ctypes.pythonapi.PyThread_release_lock),
        give_way=_pointer(ctypes.CDLL("kernel32").SwitchToThread if os.name == "nt" else _libc().sched_yield),
        clock=clock,
        clock_source=clock_source,
        patience=round(PATIENCE_SECONDS * speed),
        pauses_per_second=speed,
        callbacks=callbacks,
    )


def _clock(engine: Engine) -> tuple[int, int, tuple[Any, ...]]:
    """(function, its argument, what must stay alive): native if the C library has a clock, else Python's."""
    if os.name != "nt":
        return engine.address("clock"), _pointer(_libc().clock_gettime), ()
    callback = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(lambda _: time.perf_counter_ns())
    return _pointer(callback), 0, (callback,)


def _calibrated(idle: Callable[[int], None]) -> float:
    """Pauses per second: the fastest of a few runs, as an interruption only makes one slower."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        idle(_PAUSES)
        best = min(best, time.perf_counter() - start)
    return _PAUSES / max(best, 1e-9)


def _libc() -> Any:
    return ctypes.CDLL(None)


def _pointer(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None, f"{sys.platform} has no {function}"
    return address
