"""What a compiled program does, call by call: kernel, tile, fusion, work, memory, prediction and, on request, time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.graph.build import Wanted
from vecgrad.kernels import registry
from vecgrad.plan.plan import Plan, PlannedCall
from vecgrad.program.native_backend import TRAINING, Compiled, NativeBackend
from vecgrad.runtime import Call, Engine, Job, Operand, Phase, aligned, default_cache
from vecgrad.spec.emitter import weighing
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.kernel import PeakSpec
from vecgrad.spec.machine import Machine

# Runs whose median is reported, behind as many that warm up.
RUNS = 15
_PEAK_TURNS = 200_000


@dataclass(frozen=True)
class Row:
    """One call. seconds: measured, of one full batch, summed over threads; None when not asked for."""

    phase: int
    part: str
    call: PlannedCall
    seconds: float | None


@dataclass(frozen=True)
class Explanation:
    """The plan of a program's work (training step, or prediction), row by row.

    peak: GFLOP/s of one thread's multiply-add loop, measured in the same run; None without times.
    """

    plan: Plan
    rows: tuple[Row, ...]
    peak: float | None
    threads: int
    _compiled: Compiled

    def ir(self, kernel: str) -> str:
        """LLVM IR of a kernel by its name, its kind or its layer, as shown in the table."""
        return "\n".join(self._compiled.engine.ir(name) for name in self._named(kernel))

    def asm(self, kernel: str) -> str:
        """Machine code of a kernel, as text."""
        return "\n".join(self._compiled.engine.assembly(name) for name in self._named(kernel))

    def _named(self, wanted: str) -> list[str]:
        found = [
            row.call.spec.name
            for row in self.rows
            if wanted in (row.call.spec.name, row.call.op, row.call.kernel)
            or wanted in (f"{scope}:{row.call.op}" for scope in (row.call.scope, *row.call.scope.split("+")))
        ]
        if not found:
            names = ", ".join(dict.fromkeys(row.call.op for row in self.rows))
            raise ArgumentError(
                f"no kernel is called {wanted!r}; there are {names}, or layer:operation such as 0:conv"
            )
        return list(dict.fromkeys(found))

    def to_json(self) -> dict[str, Any]:
        """The plan with the measured figures beside each call."""
        found = self.plan.to_json()
        phases: Any = found["phases"]
        calls = (call for phase in phases for call in phase["calls"])
        for call, row in zip(calls, self.rows, strict=True):
            if row.seconds is not None:
                call["measured_seconds"] = row.seconds
                call["measured_over_predicted"] = row.seconds / row.call.seconds if row.call.seconds else None
                call["peak_percent"] = self._peak_percent(row)
        return found | {"peak_gflops": self.peak, "threads": self.threads}

    def _peak_percent(self, row: Row) -> float | None:
        if not row.seconds or not self.peak or not row.call.flops:
            return None
        return row.call.flops / row.seconds / self.peak * 1e-7

    def __str__(self) -> str:
        plan = self.plan
        lines = [
            f"{plan.machine.isa} ({plan.machine.cpu}), {plan.dtype}, batch {plan.batch_size}",
            f"memory: arena {_bytes(plan.arena)}, frame {_bytes(plan.frame)} a thread, packed weights "
            f"{_bytes(plan.packs)}, scratch {_bytes(plan.scratch)} a thread",
        ]
        if self.peak:
            lines.append(f"multiply-add peak of one thread, measured now: {self.peak:.0f} GFLOP/s")
        timed = self.peak is not None
        head = ["operation", "layer", "formula", "kernel", "tile", "Mflop", "MB", "pred. ms"]
        head += ["ms", "×pred.", "% peak"] if timed else []
        head += ["memory", "fused"]
        table: list[list[str]] = []
        marks: dict[int, str] = {}
        for row in self.rows:
            if row.phase not in marks:
                phase = plan.phases[row.phase]
                unit = f"chunks of {phase.images_per_chunk} images" if phase.images_per_chunk else "tasks"
                marks[row.phase] = f"phase {row.phase}, {row.part}: {phase.chunks} {unit}"
                table.append([f"\0{marks[row.phase]}"])
            table.append(self._cells(row, timed))
        lines += _aligned(head, table)
        refused = dict.fromkeys(
            f"{r.call.scope or r.part}:{r.call.op}: {text}" for r in self.rows for text in r.call.refused
        )
        lines += ["refused:", *(f"  {text}" for text in refused)] if refused else []
        total = sum(row.call.seconds for row in self.rows) * 1e3
        summary = f"predicted {total:.3f} ms on one thread"
        if timed:
            summary += (
                f", measured {sum(row.seconds or 0 for row in self.rows) * 1e3:.3f} ms (summed over threads)"
            )
        return "\n".join([*lines, summary])

    def _cells(self, row: Row, timed: bool) -> list[str]:
        call = row.call
        cells = [
            call.op, call.scope, call.formula, call.kernel, call.tile,
            f"{call.flops / 1e6:.2f}" if call.flops else "", f"{call.nbytes / 1e6:.2f}", f"{call.seconds * 1e3:.3f}",
        ]  # fmt: skip
        if timed:
            seconds = row.seconds or 0.0
            percent = self._peak_percent(row)
            cells += [
                f"{seconds * 1e3:.3f}",
                f"{seconds / call.seconds:.1f}" if call.seconds else "",
                f"{percent:.0f}" if percent is not None else "",
            ]
        result = call.operands[-1]
        return [*cells, f"{result.base}+{result.offset}", call.fused]


def explain(backend: NativeBackend, training: bool, time: bool, threads: int) -> Explanation:
    """The explanation of a training step (``training``) or of a prediction."""
    compiled = (
        backend.compiled(TRAINING, training=True) if training else backend.compiled(Wanted(prediction=True))
    )
    plan = compiled.plan
    seconds: Iterable[float | None] = [None] * sum(1 for _ in plan.calls())
    peak = None
    if time:
        peak = measured_peak(backend.machine, plan.dtype)
        seconds = _times(backend, compiled, threads)
    numbered = [(i, phase.part, call) for i, phase in enumerate(plan.phases) for call in phase.calls]
    rows = tuple(Row(i, part, call, s) for (i, part, call), s in zip(numbered, seconds, strict=True))
    return Explanation(plan, rows, peak, threads, compiled)


def measured_peak(machine: Machine, dtype: str) -> float:
    """GFLOP/s of one thread in a loop of independent multiply-adds: the best of a few short runs."""
    spec = PeakSpec(_PEAK_TURNS, dtype)
    engine = Engine.load({spec.name: registry.generate(spec, machine)}, machine, default_cache())
    block = aligned(1024)
    job = Job([Phase((Call(spec.name, (Operand(0),)),), 1)], engine, bases=1)
    job.bases[:, 0] = block.address
    times = [int(job.run_timed(0, 1, 1).sum()) for _ in range(20)]
    return float(registry.chosen(spec, machine).flops / min(times))


def _times(backend: NativeBackend, compiled: Compiled, threads: int) -> list[float]:
    """Seconds of each call on a full batch of noise; the parameters are put back afterwards."""
    shapes = backend.shapes
    n = compiled.plan.batch_size
    rng = np.random.default_rng(0)
    x = rng.random((n, *shapes[0])).astype(compiled.plan.dtype)
    t = np.zeros((n, *shapes[1]), compiled.plan.dtype)
    t[..., 0] = 1
    w = np.ones(n, compiled.plan.dtype)
    kept = [backend.weights.copy(), *(array.copy() for array in backend.state.values())]
    compiled.set(x, t, w, {**weighing(n, n), "learning_rate": 0.0})
    compiled.run("pack", threads)
    samples = [compiled.time("all", threads).sum(axis=0) for _ in range(2 * RUNS)][RUNS:]
    for array, before in zip([backend.weights, *backend.state.values()], kept, strict=True):
        array[...] = before
    backend.changed()
    return [statistics.median(int(sample[i]) for sample in samples) * 1e-9 for i in range(len(samples[0]))]


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 1024:.1f} KiB"


def _aligned(head: list[str], table: list[list[str]]) -> list[str]:
    rows = [row for row in [head, *table] if not row[0].startswith("\0")]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
    right = {"Mflop", "MB", "pred. ms", "ms", "×pred.", "% peak"}
    lines = []
    for row in [head, *table]:
        if row[0].startswith("\0"):
            lines.append(row[0][1:])
            continue
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=False)
        ]
        lines.append("  " + "  ".join([*cells, row[-1]]).rstrip())
    return lines
