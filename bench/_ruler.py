"""The rulers on the wall clock: the multiply-add peak of any number of threads, and the machine's bandwidths."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.peak import checked
from vecgrad.kernels import registry
from vecgrad.kernels.peak import CHAINS
from vecgrad.runtime import Call, Engine, Job, Operand, Phase, aligned, host_machine
from vecgrad.spec.kernel import PeakSpec
from vecgrad.spec.machine import Machine, restricted

_TURNS = 10_000  # some 50 µs, so that threads share them evenly
_SAMPLE = 1e-3


def machine_for(isa: str | None) -> Machine:
    """This machine, or what of it has the instruction set ``isa``."""
    return host_machine() if isa is None else restricted(host_machine(), isa)


class Ruler:
    """The peak loop on ``threads`` threads. It runs on vecgrad's own pool, and so finds the threads as a step does."""

    def __init__(self, machine: Machine, threads: int = 1) -> None:
        spec = PeakSpec(_TURNS)
        checked(spec, machine)
        engine = Engine.load({spec.name: registry.generate(spec, machine)}, machine)
        self._block = aligned(4096 * threads)
        self._threads = threads
        flops = 2 * CHAINS * machine.lanes("float32") * _TURNS
        tasks = threads * max(1, round(_SAMPLE * machine.gflops * 1e9 / flops))
        self._flops = flops * tasks
        phase = Phase((Call(spec.name, (Operand(0),)),), tasks)
        self._job = Job([phase], engine, bases=1, threads=threads)
        self._job.bases[:, 0] = self._block.address + 4096 * np.arange(threads)
        self()

    def __call__(self) -> float:
        """GFLOP/s now, over about a millisecond."""
        start = time.perf_counter()
        self._job.run(threads=self._threads)
        return self._flops / (time.perf_counter() - start) * 1e-9


class Bandwidth:
    """GB/s of one thread that copies (bytes read and bytes written, both counted), by where its data lie."""

    def __init__(self, machine: Machine) -> None:
        self.limits = {"L2": machine.l2, "L3": machine.l3, "DRAM": 1 << 62}
        sizes = {"L2": machine.l2 // 2, "L3": min(machine.l3 // 2, 24 << 20), "DRAM": 512 << 20}
        self.gbs = {level: _copying(nbytes) for level, nbytes in sizes.items()}

    def level(self, nbytes: float) -> str:
        """The nearest level that holds so much."""
        return next(level for level, limit in self.limits.items() if nbytes <= limit)

    def seconds(self, nbytes: float) -> float:
        """How long moving ``nbytes`` takes at least, when that is all the data there is."""
        return nbytes / self.gbs[self.level(nbytes)] * 1e-9

    def __str__(self) -> str:
        return ", ".join(f"{level} {rate:.0f} GB/s" for level, rate in self.gbs.items())


def _copying(nbytes: int) -> float:
    source: Any = np.ones(nbytes // 8, np.float32)
    target = np.zeros_like(source)
    repeat = max(1, (16 << 20) // nbytes)
    best = float("inf")
    for _ in range(4 if nbytes > 1 << 28 else 30):
        start = time.perf_counter()
        for _ in range(repeat):
            np.copyto(target, source)
        best = min(best, (time.perf_counter() - start) / repeat)
    return 2 * source.nbytes / best * 1e-9
