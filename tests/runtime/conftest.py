"""Small hand-written kernels with which the runtime is tested, compiled once for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vecgrad.runtime import Call, Engine, Job, Operand, Phase, host_machine, native_available

HEAD = "define void @{name}(ptr %operands, ptr %scalars, ptr %scratch, i64 %begin, i64 %end) {{\n"

# operand 0: int64 per image. Adds 1 to each image of the chunk.
ADD_ONE = (
    HEAD.format(name="add_one")
    + """
entry:
  %x = load ptr, ptr %operands, align 8
  %n = sub i64 %end, %begin
  br label %look
look:
  %i = phi i64 [ 0, %entry ], [ %i.after, %body ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %exit
body:
  %at = getelementptr i64, ptr %x, i64 %i
  %old = load i64, ptr %at, align 8
  %new = add i64 %old, 1
  store i64 %new, ptr %at, align 8
  %i.after = add i64 %i, 1
  br label %look
exit:
  ret void
}
"""
)

# operand 0: int64 (4,) per chunk. Counts the calls and notes begin, end and this thread's scratch.
NOTE = (
    HEAD.format(name="note")
    + """
  %x = load ptr, ptr %operands, align 8
  %old = load i64, ptr %x, align 8
  %new = add i64 %old, 1
  store i64 %new, ptr %x, align 8
  %b = getelementptr i64, ptr %x, i64 1
  store i64 %begin, ptr %b, align 8
  %e = getelementptr i64, ptr %x, i64 2
  store i64 %end, ptr %e, align 8
  %s = getelementptr i64, ptr %x, i64 3
  store ptr %scratch, ptr %s, align 8
  ret void
}
"""
)

# operand 0: int64 (64,), all of it; operand 1: int64 per chunk. Adds the sum of all 64.
ADD_SUM = (
    HEAD.format(name="add_sum")
    + """
entry:
  %x = load ptr, ptr %operands, align 8
  %y.at = getelementptr ptr, ptr %operands, i64 1
  %y = load ptr, ptr %y.at, align 8
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %i.after, %body ]
  %sum = phi i64 [ 0, %entry ], [ %sum.after, %body ]
  %at = getelementptr i64, ptr %x, i64 %i
  %v = load i64, ptr %at, align 8
  %sum.after = add i64 %sum, %v
  %i.after = add i64 %i, 1
  %more = icmp slt i64 %i.after, 64
  br i1 %more, label %body, label %exit
exit:
  %old = load i64, ptr %y, align 8
  %new = add i64 %old, %sum.after
  store i64 %new, ptr %y, align 8
  ret void
}
"""
)

# operand 0: two int64, arrived and failed. Arrives, then waits until scalars[1] have, for some seconds at
# most: the chunks of one phase can end only when that many threads work on them at once.
MEET = (
    HEAD.format(name="meet")
    + """
entry:
  %x = load ptr, ptr %operands, align 8
  %failed = getelementptr i64, ptr %x, i64 1
  %need.at = getelementptr double, ptr %scalars, i64 1
  %need.real = load double, ptr %need.at, align 8
  %need = fptosi double %need.real to i64
  %old = atomicrmw add ptr %x, i64 1 acq_rel, align 8
  br label %look
look:
  %turn = phi i64 [ 0, %entry ], [ %turn.after, %rest ]
  %now = load atomic i64, ptr %x acquire, align 8
  %all = icmp sge i64 %now, %need
  br i1 %all, label %exit, label %rest
rest:
  %turn.after = add i64 %turn, 1
  %again = icmp slt i64 %turn.after, 3000000000
  br i1 %again, label %look, label %give.up
give.up:
  store atomic i64 1, ptr %failed monotonic, align 8
  br label %exit
exit:
  ret void
}
"""
)

# operand 0: int64 per chunk. Burns scalars[1] turns, then notes how many.
BURN = (
    HEAD.format(name="burn")
    + """
entry:
  %x = load ptr, ptr %operands, align 8
  %turns.at = getelementptr double, ptr %scalars, i64 1
  %turns.real = load double, ptr %turns.at, align 8
  %turns = fptosi double %turns.real to i64
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %i.after, %body ]
  %i.after = add i64 %i, 1
  store volatile i64 %i.after, ptr %x, align 8
  %more = icmp slt i64 %i.after, %turns
  br i1 %more, label %body, label %exit
exit:
  ret void
}
"""
)

# operand 0: float32 (3,) per chunk: a, b, a * b.
MULTIPLY = (
    HEAD.format(name="multiply")
    + """
  %x = load ptr, ptr %operands, align 8
  %b.at = getelementptr float, ptr %x, i64 1
  %c.at = getelementptr float, ptr %x, i64 2
  %a = load float, ptr %x, align 4
  %b = load float, ptr %b.at, align 4
  %c = fmul float %a, %b
  store float %c, ptr %c.at, align 4
  ret void
}
"""
)

# operand 0: 16 float32, doubled as one virtual vector, however wide the machine's are.
DOUBLE = (
    HEAD.format(name="double")
    + """
  %x = load ptr, ptr %operands, align 8
  %v = load <16 x float>, ptr %x, align 4
  %w = fadd <16 x float> %v, %v
  store <16 x float> %w, ptr %x, align 4
  ret void
}
"""
)

KERNELS = {
    "add_one": ADD_ONE,
    "note": NOTE,
    "add_sum": ADD_SUM,
    "meet": MEET,
    "burn": BURN,
    "multiply": MULTIPLY,
    "double": DOUBLE,
}


@pytest.fixture(scope="session")
def kernels() -> dict[str, str]:
    """Function name -> IR."""
    return dict(KERNELS)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """All of them, loaded. Skips where native code cannot run."""
    if not native_available():
        pytest.skip("native code cannot run here: no llvmlite, or no memory that may be executed")
    return Engine.load(KERNELS, host_machine())


@pytest.fixture
def single(engine: Engine) -> Callable[..., Job]:
    """``single(function, operands, chunks, ...)``: a job of one phase with one call."""

    def make(
        function: str,
        *operands: Operand,
        chunks: int = 1,
        images_per_chunk: int = 0,
        threads: int = 4,
        bases: int = 1,
        scalars: int = 2,
    ) -> Job:
        phase = Phase((Call(function, operands),), chunks, images_per_chunk)
        return Job([phase], engine, bases=bases, threads=threads, scalars=scalars)

    return make


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests neither use nor fill the user's cache."""
    directory = tmp_path_factory.mktemp("objects") / "cache"
    patch = pytest.MonkeyPatch()
    patch.setenv("VECGRAD_CACHE_DIR", str(directory))
    yield directory
    patch.undo()
