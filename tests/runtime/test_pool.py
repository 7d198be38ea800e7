"""Workers: they take part, they delay nobody, and they survive forks, signals and the end of the process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from vecgrad.runtime import Call, Engine, Job, Operand, Phase, address_of
from vecgrad.runtime import pool as pool_module
from vecgrad.runtime.pool import Pool, shared_pool

posix = pytest.mark.skipif(os.name == "nt", reason="fork and signals are POSIX")


def meeting(engine: Engine, threads: int, need: int | None = None) -> tuple[Job, np.ndarray]:
    """A job that ends well only if ``need`` threads work on it at once, and where it says whether it did."""
    state = np.zeros(2, "int64")
    need = threads if need is None else need
    job = Job([Phase((Call("meet", (Operand(0),)),), need)], engine, bases=1, threads=threads, scalars=2)
    job.bases[:, 0] = address_of(state)
    job.scalars[1] = need
    return job, state


def met(engine: Engine, threads: int) -> bool:
    job, state = meeting(engine, threads)
    job.run()
    return state.tolist() == [threads, 0]


def counting(engine: Engine, threads: int = 4) -> tuple[Job, np.ndarray]:
    x = np.zeros(64, "int64")
    job = Job(
        [Phase((Call("add_one", (Operand(0, per_image=8),)),), 16, 4)] * 2, engine, bases=1, threads=threads
    )
    job.bases[:, 0] = address_of(x)
    job.images = 64
    return job, x


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["spinning", "parked"])
def test_workers_take_part(engine: Engine, threads: int, pause: float) -> None:
    for _ in range(5):
        assert met(engine, threads)
        time.sleep(pause)  # far longer than a worker lingers


def test_no_more_workers_than_chunks(engine: Engine) -> None:
    job, state = meeting(engine, threads=4, need=2)
    assert shared_pool().run(job.address, 4) == 0, "nothing to do: no phases are set yet"
    job.run()
    assert state.tolist() == [2, 0]
    assert shared_pool().run(job.address, 4) == 1, "two chunks: one worker"


def test_no_more_workers_than_there_can_be(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    x = np.zeros(300, "int64")
    job = Job([Phase((Call("add_one", (Operand(0, per_chunk=8),)),), 300)], engine, bases=1)
    job.bases[:, 0] = address_of(x)
    job.run()
    assert Pool().run(job.address, 1000) == 255
    assert (x == 2).all()


def test_a_worker_that_never_comes_delays_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = Pool()
    job, x = counting(engine)
    job.run(threads=1)  # sets the range of phases
    for _ in range(2000):
        pool.run(job.address, 4)
    assert np.array_equal(x, [2 * 2001] * 64)
    monkeypatch.undo()
    pool.close()


def test_a_worker_that_comes_late_joins(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    door = threading.Event()
    serve = pool_module._serve

    def late(pool: Pool, index: int) -> None:
        door.wait()
        serve(pool, index)

    monkeypatch.setattr(pool_module, "_serve", late)
    pool = Pool()
    job, x = counting(engine, threads=3)
    job.run(threads=1)
    for _ in range(1000):
        assert pool.run(job.address, 3) == 2
    assert np.array_equal(x, [2 * 1001] * 64)
    door.set()
    together, state = meeting(engine, threads=3)
    monkeypatch.setattr("vecgrad.runtime.table.shared_pool", lambda: pool)
    together.run()
    assert state.tolist() == [3, 0]
    pool.close()
    assert not any(thread.is_alive() for thread in pool._threads)


def test_a_closed_pool_still_runs_jobs(engine: Engine) -> None:
    pool = Pool()
    job, x = counting(engine)
    job.run(threads=1)
    pool.run(job.address, 3)
    assert pool.workers == 2
    pool.close()
    assert not any(thread.is_alive() for thread in pool._threads)
    assert pool.run(job.address, 4) == 0
    assert pool.workers == 2
    assert np.array_equal(x, [6] * 64)


def test_eight_callers_at_once(engine: Engine) -> None:
    results: list[bool] = []

    def call() -> None:
        job, x = counting(engine, threads=3)
        for _ in range(500):
            job.run()
        results.append(bool(np.array_equal(x, [1000] * 64)))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [True] * 8


def test_a_caller_who_finds_the_pool_busy_works_alone(engine: Engine) -> None:
    job, state = meeting(engine, threads=2, need=3)  # the third to arrive is this test
    holder = threading.Thread(target=job.run)
    holder.start()
    while state[0] < 2:
        time.sleep(1e-3)
    other, x = counting(engine)
    other.run(threads=1)
    assert shared_pool().run(other.address, 4) == 0
    assert np.array_equal(x, [4] * 64)
    state[0] = 3
    holder.join()
    assert state[1] == 0
    assert met(engine, 2)


def forked(engine: Engine) -> bool:
    job, x = counting(engine)
    job.run()
    return met(engine, 2) and bool(np.array_equal(x, [2] * 64))


@posix
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_its_own_workers(engine: Engine) -> None:
    assert met(engine, 3)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0 if forked(engine) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert met(engine, 3), "and the parent keeps its own"


@posix
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_a_job_runs(engine: Engine) -> None:
    job, state = meeting(engine, threads=2, need=3)
    holder = threading.Thread(target=job.run)
    holder.start()
    while state[0] < 2:
        time.sleep(1e-3)
    child = os.fork()
    if child == 0:
        os._exit(0 if forked(engine) else 1)
    assert os.waitpid(child, 0)[1] == 0
    state[0] = 3
    holder.join()
    assert state[1] == 0


@posix
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multiprocessing_fork(engine: Engine) -> None:
    assert met(engine, 2)
    processes = [
        multiprocessing.get_context("fork").Process(target=_exit_well, args=(engine,)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3


def _exit_well(engine: Engine) -> None:
    if not forked(engine):
        sys.exit(1)


@posix
def test_an_interrupt_leaves_the_pool_sound(engine: Engine) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for delay in range(1, 150):
            job, _ = counting(engine, threads=3)
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 * delay)
                while True:
                    job.run()
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted == 149
    assert met(engine, 3)


SCRIPT = """
import atexit, sys, threading, numpy as np
def vecgrad_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("vecgrad")]
def check():
    assert not vecgrad_threads() or "daemons run" in sys.argv[2]
atexit.register(check)  # called after what vecgrad registers later
from vecgrad.runtime import Call, Engine, Job, Operand, Phase, address_of, host_machine
text = open(sys.argv[1]).read()
engine = Engine.load({"add_one": text}, host_machine())
x = np.zeros(64, "int64")
def job():
    job = Job([Phase((Call("add_one", (Operand(0, per_image=8),)),), 16, 4)] * 2, engine, bases=1, threads=4)
    job.bases[:, 0] = address_of(x)
    job.images = 64
    return job
def forever():
    mine = job()
    while True:
        mine.run()
"""
ENDINGS = {
    "right after a job": "job().run()",
    "long after a job": "import time; job().run(); time.sleep(0.05)",
    "with an error": "job().run(); sys.exit(3)",
    "while daemons run jobs": """
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
job().run()
""",
    "with its workers dismissed": "job().run(); assert vecgrad_threads()",
    "with a job at exit": "atexit.register(lambda: job().run()); job().run()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_process_ends_cleanly(
    engine: Engine, kernels: dict[str, str], tmp_path: object, ending: str
) -> None:
    file = f"{tmp_path}/kernel.ll"
    with open(file, "w") as kernel:
        kernel.write(kernels["add_one"])
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT + textwrap.dedent(ENDINGS[ending]), file, ending],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (3 if ending == "with an error" else 0, "")


def test_workers_are_daemons_with_names(engine: Engine) -> None:
    assert met(engine, 2)
    names = {thread.name: thread.daemon for thread in threading.enumerate()}
    assert names["vecgrad-1"] is True


def test_a_job_never_asks_for_more_threads_than_it_has_rows(single: Callable[..., Job]) -> None:
    notes = np.zeros((100, 4), "int64")
    job = single("note", Operand(0, per_chunk=32), chunks=100, threads=2)
    job.bases[:, 0] = address_of(notes)
    job.run(threads=9)
    assert (notes[:, 0] == 1).all()
    job.run(threads=0)
    assert (notes[:, 0] == 2).all()
