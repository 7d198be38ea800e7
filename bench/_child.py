"""Fresh processes: each row is measured in one of its own, whose environment fixes threads and instruction set first.

A process also keeps one side's thread pools, allocator and compiled code from another row's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import vecgrad

_ROOT = Path(__file__).parents[1]
_MARK = "bench-result:"


class ChildError(RuntimeError):
    """The process failed; the message is the last of what it said."""


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """What makes every peer use ``threads`` threads and, where it can be told, only ``isa``."""
    flags = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    found = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "PJRT_NPROC")}
    if isa == "avx2":
        found |= {
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        }
        flags.append("--xla_cpu_max_isa=AVX2")
    return found | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}


def call(function: str, *, env: dict[str, str] | None = None, **arguments: Any) -> Any:
    """The result of "module:function" in a fresh process; arguments and result are JSON. Raises ChildError."""
    paths = [str(_ROOT), str(Path(vecgrad.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "bench._child", function, json.dumps(arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | (env or {}),
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stdout.rstrip().rpartition("\n")[2]
    if done.returncode or not last.startswith(_MARK):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise ChildError(said[-1])
    return json.loads(last.removeprefix(_MARK))


def main() -> None:
    function, arguments = sys.argv[1:]
    module, _, name = function.partition(":")
    with contextlib.redirect_stdout(io.StringIO()):
        result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(_MARK + json.dumps(result))


if __name__ == "__main__":
    main()
