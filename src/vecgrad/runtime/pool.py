"""Persistent worker threads: one pool a process, made at first need.

A job runs on the calling thread and on as many workers as it asks for. Workers are Python daemon threads
that stay inside one native call (see ``_pool_ir``): they spin for a short while after a job, so
that the next step of a training loop finds them awake, then sleep until a caller wakes them. They hold
no interpreter lock and run no Python code, so signals, other Python threads and
garbage collection never delay them; a KeyboardInterrupt during a job is raised when the job is over.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time

from vecgrad.runtime._core import Core, core
from vecgrad.runtime._processors import processors
from vecgrad.runtime._records import MAX_WORKERS, POOL, SPINNING, WORKER, WORKER_BYTES
from vecgrad.runtime.memory import aligned

# How long a worker without work keeps its processor: longer than Python needs between two steps
# (10 to 50 µs), shorter than anybody would notice on a meter.
LINGER_SECONDS = 100e-6
_STOP_SECONDS = 2.0


class Pool:
    """Worker threads and the memory through which callers talk to them."""

    def __init__(self) -> None:
        self._core: Core = core()
        self._memory = aligned((MAX_WORKERS + 1) * WORKER_BYTES)
        lines = self._memory.array("int64", (MAX_WORKERS + 1, WORKER_BYTES // 8))
        linger = self._core.pauses(LINGER_SECONDS)
        lines[1:, WORKER.index("state")] = SPINNING
        lines[1:, WORKER.index("linger")] = linger
        head = {
            "walk": self._core.walk,
            "linger": linger,
            "room": processors() - 1,
            "acquire": self._core.acquire,
            "release": self._core.release,
        }
        for name, value in head.items():
            lines[0, POOL.index(name)] = value
        self._lines = lines
        self._address = self._memory.address
        self._run = self._core.run
        self._starting = threading.Lock()
        # The Python threads inside ``run``, by number. Kept without a lock, and one that an interrupt leaves
        # in here is put right by that thread's next call.
        self._inside: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._workers = 0  # numbers given out; at most this many threads exist
        self._closed = False

    @property
    def workers(self) -> int:
        """How many workers have been started."""
        return self._workers

    def run(self, job: int, threads: int) -> int:
        """Run the job record at address ``job`` on the caller and up to ``threads`` - 1 workers.

        Returns how many workers were invited: fewer than asked for when the job has fewer chunks or when
        other callers are at work, who count as workers; none when another caller's job occupies the pool.
        The result is the same bits either way. The job's counters are reset first; when this returns no
        thread touches the job any more.
        """
        me = threading.get_ident()
        self._inside.add(me)
        try:
            wanted = max(threads - len(self._inside), 0)
            if wanted > self._workers:
                wanted = min(wanted, MAX_WORKERS)  # there is no memory to talk to more
                self._start(wanted)
            return self._run(self._address, wanted, job)
        finally:
            self._inside.discard(me)

    def close(self) -> None:
        """Dismiss the workers. Later jobs run on their callers alone."""
        deadline = time.monotonic() + _STOP_SECONDS
        with self._starting:
            self._closed = True
        while not self._core.stop(self._address, self._workers):
            if time.monotonic() > deadline:
                return  # a job still runs in some daemon thread; its frame keeps this memory alive
            time.sleep(1e-3)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self, wanted: int) -> None:
        """Have at least ``wanted`` workers, or as many as the system allows."""
        with self._starting:
            while self._workers < wanted and not self._closed:
                # The number is taken before the thread starts: interrupted in between, a line without a
                # thread does no harm (its invitations are taken back), two threads on a line would.
                index = self._workers
                self._workers += 1
                self._lines[index + 1, WORKER.index("lock")] = _held_lock()
                thread = threading.Thread(
                    target=_serve, args=(self, index), name=f"vecgrad-{index + 1}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is shutting down
                    return
                self._threads.append(thread)


def _serve(pool: Pool, index: int) -> None:
    # The frame holds the pool, and with it memory and code, for as long as the thread is in there.
    pool._core.serve(pool._address, index)


def _held_lock() -> int:
    """A C-level Python lock, already taken: the next to acquire it sleeps until it is released.

    It is never freed: a process makes a handful.
    """
    api = ctypes.pythonapi
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = api.PyThread_allocate_lock()
    if not lock:
        raise MemoryError("cannot allocate a lock for a worker thread")
    api.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    return int(lock)


class _Process:
    """What belongs to the process and not to its forked children."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.pool: Pool | None = None
        self.guard = threading.Lock()

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()


_process = _Process()


def shared_pool() -> Pool:
    """The process's pool; a forked child gets its own. Raises CompileError where native code cannot run."""
    pool = _process.pool
    if pool is None:
        with _process.guard:
            pool = _process.pool = _process.pool or Pool()
    return pool


if hasattr(os, "register_at_fork"):
    # Neither the parent's workers nor whoever holds its lock exist in a child.
    os.register_at_fork(after_in_child=_process.begin)
atexit.register(_process.close)
