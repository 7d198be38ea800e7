"""Compiling many modules: in short-lived processes side by side, or here where there are few or no process starts.

LLVM is single-threaded behind llvmlite's lock, and the pages that it touches would stay resident for as long as this
process runs: more than a small network needs for training. A process of its own starts within 0.1 s.
"""

from __future__ import annotations

import collections
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any

from vecgrad.runtime import _emit, _llvm
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import Machine

# Fewer modules than that are compiled before a process is ready.
LEAST = 4
# Each takes about 110 MB while it runs.
MOST_PROCESSES = 4
# Seconds for one module, a thousand times the usual: processes of which none answers within them hang, and are ended.
PATIENCE = 60.0

Texts = Mapping[str, Callable[[], str]]


def compiled(texts: Texts, machine: Machine, processes: int) -> dict[str, bytes]:
    """The object of each module: function name -> what writes its IR.

    processes: how many to compile in at most; 0: in this one alone. The objects are the same.
    Raises CompileError when LLVM refuses a module or it does not define its function, and what a writer raises.
    """
    if not texts:
        return {}
    left = collections.deque(texts)
    found: dict[str, bytes] = {}
    if count := min(processes, MOST_PROCESSES, len(texts) // LEAST):
        _elsewhere(left, found, texts, machine, count)
    if left:
        target = _llvm.target_machine(machine)
        for name in left:
            found[name] = target.emit_object(_llvm.parsed(texts[name](), target, name))
    return found


def _elsewhere(
    left: collections.deque[str], found: dict[str, bytes], texts: Texts, machine: Machine, count: int
) -> None:
    """Move names from ``left`` to ``found``; what is left when processes do not start or die, stays.

    IR is written by the calling thread alone, the next module's while the processes compile: what other threads
    allocate lies in heaps of their own, whose pages would stay with the training process.
    """
    idle: list[Worker] = []
    with contextlib.suppress(OSError):
        for _ in range(count):
            idle.append(Worker(machine))
    workers = tuple(idle)
    busy: dict[Future[bytes], tuple[Worker, str]] = {}
    written: tuple[str, bytes] | None = None
    with ThreadPoolExecutor(count) as threads:
        try:
            while busy or (idle and (left or written)):
                if left and written is None:
                    name = left.popleft()
                    written = name, texts[name]().encode()
                if written is not None and idle:
                    worker = idle.pop()
                    busy[threads.submit(worker.compile, *written)] = worker, written[0]
                    written = None
                    continue
                for future in _answered(busy):
                    worker, name = busy.pop(future)
                    try:
                        found[name] = future.result()
                        idle.append(worker)
                    except (OSError, ValueError):  # the process died, or talks nonsense
                        left.append(name)
        finally:
            for worker in workers:
                worker.end()
    if written is not None:
        left.append(written[0])


def _answered(busy: Mapping[Future[bytes], tuple[Worker, str]]) -> set[Future[bytes]]:
    """Those that are done, one at least; when nothing has come for too long, all processes end."""
    done, waiting = wait(busy, PATIENCE, FIRST_COMPLETED)
    if not done:
        for future in waiting:
            busy[future][0].end()
        done, _ = wait(busy)
    return done


class Worker:
    """A process that compiles for one machine. Raises OSError when it does not start."""

    def __init__(self, machine: Machine) -> None:
        command = _command()
        if command is None:
            raise OSError("no interpreter to run a compiling process with")
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self._pending = self._line({"path": _llvmlite_root(), **_llvm.described(machine)})

    def compile(self, name: str, text: bytes) -> bytes:
        """The object of a module's IR. Raises CompileError for a refusal, OSError or ValueError when the process fails."""
        self._to.write(self._pending + self._line([name, len(text)]) + text)
        self._to.flush()
        self._pending = b""
        size, refusal = json.loads(self._from.readline())
        if refusal is not None:
            raise CompileError(refusal)
        data = self._from.read(size)
        if len(data) != size or not data:
            raise OSError("the compiling process ended early")
        return data

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()

    @staticmethod
    def _line(content: Any) -> bytes:
        return json.dumps(content).encode() + b"\n"


def _command() -> list[str] | None:
    """What runs ``_emit`` alone, isolated from the user's settings; None inside a program that is not Python itself."""
    script = Path(_emit.__file__)
    named = Path(sys.executable or "").name.lower().startswith("python")
    if getattr(sys, "frozen", False) or not named or not script.is_file():
        return None
    return [sys.executable, "-I", "-S", str(script)]


def _llvmlite_root() -> str:
    import llvmlite

    return str(Path(llvmlite.__file__).resolve().parents[1])
