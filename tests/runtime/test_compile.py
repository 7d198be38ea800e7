"""Compiling in other processes: the same objects and errors as here, whatever becomes of the processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vecgrad.runtime import Engine, _compile, _emit, host_machine, native_available
from vecgrad.runtime._compile import LEAST, Worker, compiled
from vecgrad.spec.errors import CompileError

pytestmark = pytest.mark.skipif(not native_available(), reason="native code cannot run here")

Texts = dict[str, Callable[[], str]]


def texts(count: int = 2 * LEAST) -> Texts:
    def text(i: int) -> str:
        return f"define i64 @f{i}(i64 %x) nounwind {{\n  %y = mul i64 %x, {i + 3}\n  ret i64 %y\n}}"

    return {f"f{i}": lambda i=i: text(i) for i in range(count)}  # type: ignore[misc]


@pytest.fixture
def here() -> dict[str, bytes]:
    return compiled(texts(), host_machine(), 0)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Those that start from now on."""
    started: list[Worker] = []
    begin = Worker.__init__

    def init(self: Worker, *arguments: object) -> None:
        begin(self, *arguments)  # type: ignore[arg-type]
        started.append(self)

    monkeypatch.setattr(Worker, "__init__", init)
    return started


def all_ended(workers: list[Worker]) -> bool:
    return all(worker._process.returncode is not None for worker in workers)


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_the_same_objects(here: dict[str, bytes], workers: list[Worker], processes: int) -> None:
    assert compiled(texts(), host_machine(), processes) == here
    assert len(workers) == min(processes, 2)
    assert all_ended(workers)


def test_few_modules_start_no_process(workers: list[Worker]) -> None:
    assert len(compiled(texts(LEAST - 1), host_machine(), 4)) == LEAST - 1
    assert not workers


def test_nothing_to_do() -> None:
    assert compiled({}, host_machine(), 4) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define void @f1() { ret i64 }", "kernel f1: LLVM refuses its code"),
        (
            "define void @other() { ret void }",
            "kernel f1: its module does not define a function of that name",
        ),
    ],
)
def test_a_refusal_is_the_same_error(workers: list[Worker], text: str, message: str) -> None:
    for processes in (0, 2):
        with pytest.raises(CompileError, match=message):
            compiled(texts() | {"f1": lambda: text}, host_machine(), processes)
    assert workers
    assert all_ended(workers)


def test_what_writing_raises_comes_out(workers: list[Worker]) -> None:
    def fails() -> str:
        raise ZeroDivisionError("in a generator")

    with pytest.raises(ZeroDivisionError):
        compiled(texts() | {"f3": fails}, host_machine(), 2)
    assert all_ended(workers)


# A process that serves so many modules and then ends, or answers with something else.
DIES = """
import io, runpy, sys
sys.argv[0] = {script!r}
lines = [sys.stdin.buffer.readline()]
for _ in range({serves}):
    line = sys.stdin.buffer.readline()
    lines += [line, sys.stdin.buffer.read(int(line.decode().rsplit(" ", 1)[1][:-2]))]
sys.path.insert(0, {folder!r})
import _emit
_emit.main(io.BytesIO(b"".join(lines)), sys.stdout.buffer)
"""
ENDS = {
    "at once": "",
    "with nonsense": "print('hello', flush=True)",
    "with too little": "import sys; sys.stdin.buffer.readline(); print('[100, null]\\nabc', flush=True)",
    "with no object": "import sys; sys.stdin.buffer.readline(); print('[0, null]', flush=True)",
    "after one module": DIES,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_early(
    here: dict[str, bytes], workers: list[Worker], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    script = Path(_emit.__file__)
    code = ENDS[how].format(script=str(script), folder=str(script.parent), serves=1)
    monkeypatch.setattr(_compile, "_command", lambda: [sys.executable, "-I", "-S", "-c", code])
    assert compiled(texts(), host_machine(), 2) == here
    assert len(workers) == 2
    assert all_ended(workers)


def test_a_process_that_hangs_is_ended(
    here: dict[str, bytes], workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import time; time.sleep(3600)"
    monkeypatch.setattr(_compile, "_command", lambda: [sys.executable, "-I", "-S", "-c", code])
    monkeypatch.setattr(_compile, "PATIENCE", 0.2)
    assert compiled(texts(), host_machine(), 2) == here
    assert len(workers) == 2
    assert all_ended(workers)


def test_a_program_that_is_not_python(here: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _compile._command() is not None
    for name in ("", "/opt/editor/editor", "uwsgi"):
        monkeypatch.setattr(sys, "executable", name)
        assert _compile._command() is None
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert compiled(texts(), host_machine(), 2) == here
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert _compile._command() is None
    assert compiled(texts(), host_machine(), 2) == here


def test_an_engine_from_other_processes(workers: list[Worker]) -> None:
    sources = {name: write() for name, write in texts().items()}
    engine = Engine.load(sources, host_machine(), processes=2)
    assert engine.statistics.compiled == len(sources)
    assert len(workers) == 2
