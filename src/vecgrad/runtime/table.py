"""The call table of a job: a plan's phases, calls and operands as the records that the walker reads.

A job is built once. Before a run its owner says where the memory is (``bases``), how many images there
are and what the scalars are; a run is then one native call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.runtime._core import core
from vecgrad.runtime._records import (
    CALL,
    COUNTER_BYTES,
    FLAG_ALWAYS,
    JOB,
    MAX_OPERANDS,
    MODE_IMAGES,
    MODE_TASKS,
    OPERAND,
    PHASE,
)
from vecgrad.runtime.engine import Engine
from vecgrad.runtime.memory import Memory, aligned
from vecgrad.runtime.pool import shared_pool
from vecgrad.runtime.threads import MAX_THREADS
from vecgrad.spec.errors import ArgumentError, CompileError


@dataclass(frozen=True)
class Operand:
    """Where one of a kernel's pointers points: ``bases[thread][base] + offset + begin * per_image +
    chunk * per_chunk``, in bytes. ``per_image`` counts in phases over images only."""

    base: int
    offset: int = 0
    per_image: int = 0
    per_chunk: int = 0


@dataclass(frozen=True)
class Call:
    """A kernel, by its name in the engine, and its operands. always: call it even for an empty chunk."""

    function: str
    operands: tuple[Operand, ...]
    always: bool = False


@dataclass(frozen=True)
class Phase:
    """Calls made one after the other for each chunk; the next phase begins when all chunks are done.

    images_per_chunk: images in a chunk; 0 means that the chunks are tasks, not images.
    """

    calls: tuple[Call, ...]
    chunks: int
    images_per_chunk: int = 0


class Job:
    """A call table with its own memory, for up to ``threads`` threads.

    phases, engine: what to call; the engine is kept alive. bases: how many base addresses the operands
    refer to. threads: rows of bases and pieces of scratch. scratch_bytes: for each thread. scalars: how
    many runtime scalars, entry 0 (the number of images) included.

    A job is one caller's at a time: who shares it among Python threads takes turns. Different jobs may
    run at once. Raises CompileError for a table that contradicts itself, ArgumentError for bad sizes.

    Attributes to fill before a run, none of which a run changes:
        bases: int64 (threads, bases), addresses. ``job.bases[:, b] = address`` for memory that all
            threads share, ``job.bases[:, b] = frames + stride * numpy.arange(threads)`` for frames.
        scalars: float64 (scalars,); entry 0 is set by ``images``.
        images: how many images are given.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        engine: Engine,
        *,
        bases: int,
        threads: int = 1,
        scratch_bytes: int = 0,
        scalars: int = 1,
    ) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise ArgumentError(f"a job is for 1 to {MAX_THREADS} threads, got {threads}")
        self.phases = tuple(phases)
        self.threads = threads
        self.max_images = min(
            (p.chunks * p.images_per_chunk for p in self.phases if p.images_per_chunk), default=2**62
        )
        self._engine = engine
        calls = [call for phase in self.phases for call in phase.calls]
        self._calls = len(calls)
        tables = _tables(self.phases, engine, bases)

        # A thread's row of bases and of times ends on a line of its own.
        bases_stride, times_stride = _lines(8 * bases), _lines(8 * len(calls))
        scratch_stride = -(-scratch_bytes // 4096) * 4096
        sizes = {
            "job": 8 * len(JOB),
            "counters": COUNTER_BYTES * len(self.phases),
            "bases": bases_stride * threads,
            "scalars": 8 * max(scalars, 1),
            "times": times_stride * threads,
        } | {name: rows.nbytes for name, rows in tables.items()}
        offsets: dict[str, int] = {}
        total = 0
        for name, size in sizes.items():
            offsets[name] = total
            total += _lines(size)
        self._memory: Memory = aligned(total)
        self._scratch: Memory = aligned(scratch_stride * threads)
        start = self._memory.address
        for name, rows in tables.items():
            self._memory.array("int64", rows.shape, offsets[name])[...] = rows

        self.bases: NDArray[np.int64] = self._memory.array(
            "int64", (threads, bases_stride // 8), offsets["bases"]
        )[:, :bases]
        self.scalars: NDArray[np.float64] = self._memory.array("float64", max(scalars, 1), offsets["scalars"])
        # The same words for ``set_base`` and ``set_scalar``: a memoryview writes one several times faster than an array does.
        self._base_words: memoryview[int] = self._memory.array(
            "int64", threads * (bases_stride // 8), offsets["bases"]
        ).data
        self._base_step = bases_stride // 8
        self._scalar_words: Any = self.scalars.data
        self._times = self._memory.array("int64", (threads, times_stride // 8), offsets["times"])
        self._record: memoryview[int] = self._memory.array("int64", len(JOB), offsets["job"]).data
        self.address = start + offsets["job"]
        native = core()
        values = {name: start + offsets[name] for name in ("phases", "calls", "operands", "bases", "scalars")}
        values |= {
            "bases_stride": bases_stride,
            "scratch": self._scratch.address,
            "scratch_stride": scratch_stride,
            "counters": start + offsets["counters"],
            "times": start + offsets["times"],
            "times_stride": times_stride,
            "give_way": native.give_way,
            "patience": native.patience,
        }
        for name, value in values.items():
            self._record[JOB.index(name)] = value

    @property
    def images(self) -> int:
        """How many images the next run is given; at most what every phase's chunks cover."""
        return self._record[_IMAGES]

    @images.setter
    def images(self, n: int) -> None:
        if not 0 <= n <= self.max_images:
            raise ArgumentError(f"the job's chunks cover {self.max_images} images, got {n}")
        self._record[_IMAGES] = n
        self.scalars[0] = n

    def set_base(self, base: int, address: int) -> None:
        """``bases[:, base] = address``, for every step."""
        words = self._base_words
        for place in range(base, len(words), self._base_step):
            words[place] = address

    def set_scalar(self, number: int, value: float) -> None:
        """``scalars[number] = value``, for every step."""
        self._scalar_words[number] = value

    def run(self, first_phase: int = 0, end_phase: int | None = None, threads: int | None = None) -> None:
        """Run phases [first_phase, end_phase) on the calling thread and up to ``threads`` - 1 workers.

        threads: at most, and by default, the job's. The results are the same bits for any number.
        """
        end = len(self.phases) if end_phase is None else end_phase
        if not 0 <= first_phase <= end <= len(self.phases):
            raise ArgumentError(f"there are phases 0 to {len(self.phases)}, got [{first_phase}, {end})")
        record = self._record
        record[_FIRST] = first_phase
        record[_END] = end
        shared_pool().run(self.address, self.threads if threads is None else min(threads, self.threads))

    def run_timed(
        self, first_phase: int = 0, end_phase: int | None = None, threads: int | None = None
    ) -> NDArray[np.int64]:
        """Like :meth:`run`; returns nanoseconds, (threads, calls), with the calls of all phases in order.

        The time of a call is summed over its chunks; calls outside the range have zeros.
        """
        native = core()
        self._times[...] = 0
        self._record[_CLOCK] = native.clock
        self._record[_CLOCK_SOURCE] = native.clock_source
        try:
            self.run(first_phase, end_phase, threads)
        finally:
            self._record[_CLOCK] = 0
        return self._times[:, : self._calls].copy()


_FIRST, _END, _IMAGES, _CLOCK, _CLOCK_SOURCE = (
    JOB.index(name) for name in ("first_phase", "end_phase", "images", "clock", "clock_source")
)


def _tables(phases: tuple[Phase, ...], engine: Engine, bases: int) -> dict[str, NDArray[Any]]:
    """Rows of the phase, call and operand records."""
    phase_rows: list[tuple[int, ...]] = []
    call_rows: list[tuple[int, ...]] = []
    operand_rows: list[tuple[int, ...]] = []
    for phase in phases:
        if phase.chunks < 0 or phase.images_per_chunk < 0:
            raise CompileError(f"a phase has {phase.chunks} chunks of {phase.images_per_chunk} images")
        mode = MODE_IMAGES if phase.images_per_chunk else MODE_TASKS
        phase_rows.append((len(call_rows), len(phase.calls), mode, phase.chunks, phase.images_per_chunk))
        for call in phase.calls:
            if len(call.operands) > MAX_OPERANDS:
                raise CompileError(
                    f"kernel {call.function} has {len(call.operands)} operands; at most {MAX_OPERANDS} work"
                )
            flags = FLAG_ALWAYS if call.always else 0
            call_rows.append((engine.address(call.function), len(operand_rows), len(call.operands), flags))
            for operand in call.operands:
                if not 0 <= operand.base < bases:
                    raise CompileError(f"kernel {call.function} refers to base {operand.base} of {bases}")
                operand_rows.append((operand.base, operand.offset, operand.per_image, operand.per_chunk))
    return {
        "phases": np.array(phase_rows, "int64").reshape(-1, len(PHASE)),
        "calls": np.array(call_rows, "int64").reshape(-1, len(CALL)),
        "operands": np.array(operand_rows, "int64").reshape(-1, len(OPERAND)),
    }


def _lines(nbytes: int) -> int:
    """Rounded up to whole pairs of cache lines."""
    return -(-nbytes // 128) * 128
