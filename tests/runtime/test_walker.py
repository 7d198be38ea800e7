"""The call table: every chunk once, in order of phases, with the right pointers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.runtime import Call, Engine, Job, Operand, Phase, address_of, aligned, assembly
from vecgrad.runtime._core import core
from vecgrad.runtime._records import JOB
from vecgrad.runtime.walker import ir
from vecgrad.spec.errors import ArgumentError, CompileError
from vecgrad.spec.machine import ISAS, NEON

THREADS = (1, 2, 3, 4)


@pytest.mark.parametrize("threads", THREADS)
def test_every_chunk_exactly_once(engine: Engine, threads: int) -> None:
    # Many tiny chunks, few and many in turn, more threads than processors among them: what can be taken
    # twice or lost will be.
    x = np.zeros(1502, "int64")
    call = Call("add_one", (Operand(0, per_image=8),))
    job = Job([Phase((call,), 1500, 1), Phase((call,), 3, 500)], engine, bases=1, threads=threads)
    job.bases[:, 0] = address_of(x)
    job.images = 1499
    runs = 1000
    for _ in range(runs):
        job.run()
    assert np.array_equal(x, [2 * runs] * 1499 + [0] * 3)


@pytest.mark.parametrize("threads", THREADS)
def test_a_phase_sees_all_of_the_one_before(engine: Engine, threads: int) -> None:
    x, sums = np.zeros(64, "int64"), np.zeros(16, "int64")
    add = Phase((Call("add_one", (Operand(0, per_image=8),)),), 64, 1)
    total = Phase((Call("add_sum", (Operand(0), Operand(1, per_chunk=8))),), 16)
    job = Job([add, total] * 5, engine, bases=2, threads=threads)
    job.bases[:] = [address_of(x), address_of(sums)]
    job.images = 64
    expected = 0
    for run in range(300):
        job.run()
        expected += sum(64 * (5 * run + k) for k in range(1, 6))
        assert np.array_equal(sums, [expected] * 16)


@pytest.mark.parametrize(
    ("thread", "order"), [(0, [1, 2, 3, 4, 5]), (1, [5, 4, 3, 2, 1]), (2, [1, 2, 3, 4, 5])]
)
def test_even_threads_begin_at_the_first_chunk_and_odd_ones_at_the_last(
    engine: Engine, thread: int, order: list[int]
) -> None:
    count, turns = np.zeros(64, "int64"), np.zeros(5, "int64")
    calls = (Call("add_one", (Operand(0),)), Call("add_sum", (Operand(0), Operand(1, per_chunk=8))))
    job = Job([Phase(calls, 5)], engine, bases=2, threads=3)
    job.bases[:] = [address_of(count), address_of(turns)]
    job._record[JOB.index("end_phase")] = 1
    walk = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(core().walk)
    assert walk(job.address, thread) == 5
    assert turns.tolist() == order


@settings(deadline=None, max_examples=60)
@given(
    chunks=st.integers(0, 9),
    per_chunk=st.integers(0, 5),
    given_images=st.integers(0, 45),
    always=st.booleans(),
    threads=st.integers(1, 4),
    offset=st.integers(0, 3),
)
def test_ranges_and_pointers(
    engine: Engine,
    chunks: int,
    per_chunk: int,
    given_images: int,
    always: bool,
    threads: int,
    offset: int,
) -> None:
    images = min(given_images, chunks * per_chunk)
    notes = np.zeros((chunks + offset, 4), "int64")
    at = Operand(0, offset=32 * offset, per_chunk=32)
    job = Job(
        [Phase((Call("note", (at,), always),), chunks, per_chunk)],
        engine,
        bases=1,
        threads=threads,
        scratch_bytes=100,
    )
    job.bases[:, 0] = address_of(notes)
    if per_chunk:
        job.images = images
    job.run()
    assert not notes[:offset].any()
    for c, (count, begin, end, scratch) in enumerate(notes[offset:]):
        if per_chunk:
            first, last = min(c * per_chunk, images), min((c + 1) * per_chunk, images)
        else:
            first, last = c, c + 1
        if first == last and not always:
            assert count == 0
        else:
            assert (count, begin, end) == (1, first, last)
            assert scratch % 4096 == 0


def test_operands_step_by_image_only_over_images(engine: Engine) -> None:
    x = np.zeros(12, "int64")
    over = Phase((Call("add_one", (Operand(0, offset=8, per_image=8),)),), 3, 4)
    tasks = Phase((Call("add_one", (Operand(1, per_image=8, per_chunk=16),)),), 3)
    y = np.zeros(12, "int64")
    job = Job([over, tasks], engine, bases=2, threads=1)
    job.bases[:] = [address_of(x), address_of(y)]
    job.images = 11
    job.run()
    assert x.tolist() == [0] + [1] * 11
    assert y.tolist() == [1, 0] * 3 + [0] * 6


def test_a_range_of_phases(engine: Engine) -> None:
    x = np.zeros((4, 1), "int64")
    phases = [Phase((Call("add_one", (Operand(0, offset=8 * p),)),), 1) for p in range(4)]
    job = Job(phases, engine, bases=1, threads=2)
    job.bases[:, 0] = address_of(x)
    job.run(1, 3)
    job.run(3)
    job.run(2, 2)
    assert x[:, 0].tolist() == [0, 1, 1, 1]
    for first, end in ((-1, 2), (3, 2), (0, 5)):
        with pytest.raises(ArgumentError, match="phases 0 to 4"):
            job.run(first, end)


@pytest.mark.parametrize("threads", THREADS)
def test_frames_and_scratch_are_each_threads_own(engine: Engine, threads: int) -> None:
    # The chunks wait for each other, so every thread has exactly one of them.
    frames = aligned(4096 * threads)
    notes, meeting = np.zeros((threads, 4), "int64"), np.zeros(2, "int64")
    calls = (
        Call("meet", (Operand(2),)),
        Call("add_one", (Operand(1),)),
        Call("note", (Operand(0, per_chunk=32),)),
    )
    job = Job([Phase(calls, threads)], engine, bases=3, threads=threads, scratch_bytes=5000, scalars=2)
    job.bases[:, 0] = address_of(notes)
    job.bases[:, 1] = frames.address + 4096 * np.arange(threads)
    job.bases[:, 2] = address_of(meeting)
    job.scalars[1] = threads
    job.run()
    assert meeting.tolist() == [threads, 0]
    assert (frames.array("int64", (threads, 512))[:, 0] == 1).all()
    assert (notes[:, 3] % 4096 == 0).all()
    assert all(gap >= 5000 for gap in np.diff(np.sort(notes[:, 3])))


def test_images_beyond_the_chunks_are_refused(single: Callable[..., Job]) -> None:
    job = single("add_one", Operand(0, per_image=8), chunks=3, images_per_chunk=4)
    job.images = 12
    assert job.images == 12
    assert job.scalars[0] == 12.0
    for n in (13, -1):
        with pytest.raises(ArgumentError, match="cover 12 images"):
            job.images = n


def test_contradictions_are_refused(engine: Engine) -> None:
    def job(call: Call, chunks: int = 1, threads: int = 1) -> Job:
        return Job([Phase((call,), chunks)], engine, bases=1, threads=threads)

    with pytest.raises(CompileError, match="no kernel 'absent'"):
        job(Call("absent", ()))
    with pytest.raises(CompileError, match="base 1 of 1"):
        job(Call("add_one", (Operand(1),)))
    with pytest.raises(CompileError, match="41 operands"):
        job(Call("add_one", (Operand(0),) * 41))
    with pytest.raises(CompileError, match="-1 chunks"):
        job(Call("add_one", (Operand(0),)), chunks=-1)
    with pytest.raises(ArgumentError, match="1 to 256 threads"):
        job(Call("add_one", (Operand(0),)), threads=0)


def test_forty_operands(engine: Engine) -> None:
    x = np.zeros(64, "int64")
    operands = tuple(Operand(0) for _ in range(40))
    job = Job([Phase((Call("add_one", operands),), 1)], engine, bases=1)
    job.bases[:, 0] = address_of(x)
    job.run()
    assert x[0] == 1


def test_times_add_up(engine: Engine) -> None:
    x = np.zeros(8, "int64")
    burn = Call("burn", (Operand(0, per_chunk=8),))
    note = Call("add_one", (Operand(0, per_chunk=8),))
    job = Job([Phase((burn, note), 8), Phase((burn,), 8)], engine, bases=1, threads=2, scalars=2)
    job.bases[:, 0] = address_of(x)
    job.scalars[1] = 20000
    times = job.run_timed(0, 1, threads=1)
    assert times.shape == (2, 3)
    assert times[0, 0] > times[0, 1] > 0, "20000 turns take longer than one addition"
    assert times[0, 2] == 0, "a call that was not made took no time"
    assert not times[1].any(), "thread 1 was not there"
    both = job.run_timed()
    assert both[:, 2].sum() > 0
    kept = both.copy()
    job.run_timed()
    assert np.array_equal(both, kept), "a copy: later runs do not change it"


@pytest.mark.parametrize("isa", ISAS)
def test_compiles_for_every_machine(isa: str) -> None:
    text = assembly(ir(ISAS[isa]), ISAS[isa])
    assert "memset" not in text
    assert "memcpy" not in text
    if isa == NEON.isa:
        assert "FPCR" in text
        assert "ldaxr" in text
        assert "yield" in text
        assert "bl\t__" not in text, "atomics must not call a library"
    else:
        assert text.count("ldmxcsr") == 2
        assert "xadd" in text
        assert "pause" in text
