"""The table of rooms, enforced over every import, those inside functions too; and what an import may cost.

A room has a level and imports only rooms below it, never one beside it: losses, updates and layers do not know each other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vecgrad

ROOT = Path(vecgrad.__file__).parent
LEVELS = {
    "spec": 0,
    "reference": 1,
    "layers": 1,
    "losses": 1,
    "updates": 1,
    "data": 1,
    "kernels": 2,
    "graph": 2,
    "zoo": 2,
    "plan": 3,
    "runtime": 3,
    "runs": 3,
    "program": 4,
    "parallel": 4,
    "check": 5,
    "exchange": 5,
    "train": 6,
    "onnx": 6,
    "explorer": 6,
    "estimator": 7,
    "cli": 8,
}
# The package's face (``__init__`` and ``__main__``) hands out names of every room.
FACES = ("__init__", "__main__")
# Only what stands above all rooms may come in through the face.
TOP = ("cli",)
# Who may use what from outside; what is not listed is for everybody.
ONLY = {
    "llvmlite": ("runtime",),
    "sklearn": ("data._digits", "estimator"),
    "onnx": ("onnx",),
    "mpi4py": ("parallel",),
    "torch": (),
    "numpy": (
        *("reference", "data", "graph", "runtime", "runs", "program", "parallel"),
        *("zoo", "check", "exchange", "train", "onnx", "explorer", "estimator", "cli"),
    ),
}


def imports(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Every module that is imported anywhere in a file of ``package``, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # "from vecgrad import losses" names a room only in its list.
            yield from (f"{name}.{alias.name}" for alias in node.names) if name == "vecgrad" else (name,)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def violations(source: str, module: str) -> list[str]:
    """What the file of ``module`` ("layers.conv") imports against the table."""
    room = module.split(".")[0]
    if room in FACES:
        return []
    if room not in LEVELS:
        return [f"{module}: the room {room!r} is not in the table"]
    package = ["vecgrad", *module.split(".")[:-1]]
    found = []
    for name in imports(ast.parse(source), package):
        parts = name.split(".")
        if parts[0] == "vecgrad":
            other = parts[1] if len(parts) > 1 else ""
            if other == room or (other not in LEVELS and len(parts) == 2 and other.startswith("__")):
                continue
            if other not in LEVELS and room in TOP:
                continue
            if other not in LEVELS:
                found.append(f"{module} imports {name}, the face or an unknown room")
            elif LEVELS[other] >= LEVELS[room]:
                found.append(f"{module} (level {LEVELS[room]}) imports {name} (level {LEVELS[other]})")
            elif any(part.startswith("_") for part in parts[2:]):
                found.append(f"{module} imports {name}, which is private to {other}")
        elif parts[0] in ONLY and not any(f"{module}.".startswith(f"{who}.") for who in ONLY[parts[0]]):
            found.append(f"{module} imports {parts[0]}")
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if len(parts) > 1 and parts[-1] == "__init__":
            # A package's own relative imports start inside it, as if from a file in it.
            parts[-1] = "_init"
        yield ".".join(parts), path


@pytest.mark.parametrize("path", [pytest.param((m, p), id=m) for m, p in modules()])
def test_every_file_keeps_to_the_table(path: tuple[str, Path]) -> None:
    module, file = path
    assert violations(file.read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("losses.mse", "from vecgrad.layers import Layer"),
        ("updates.sgd", "import vecgrad.losses.base"),
        ("layers.conv", "def f():\n    from vecgrad.graph import nodes"),
        ("layers.conv", "from vecgrad import graph"),
        ("layers.conv", "from vecgrad import compile"),
        ("layers.conv", "import vecgrad"),
        ("layers.conv", "from ..losses import mse"),
        ("layers.conv", "from .. import losses"),
        ("layers.conv", "import numpy as np"),
        ("layers.conv", "if TYPE_CHECKING:\n    import numpy.typing"),
        ("spec.tensor", "from vecgrad.layers import Layer"),
        ("spec.tensor", "from numpy import ndarray"),
        ("kernels.maps", "from vecgrad.graph.nodes import Node"),
        ("kernels.maps", "import llvmlite.binding"),
        ("kernels.maps", "import numpy"),
        ("plan.make", "import numpy"),
        ("plan.make", "from vecgrad.runtime import Engine"),
        ("runtime.engine", "from vecgrad.plan import Plan"),
        ("reference.ops", "from vecgrad.layers import Conv2D"),
        ("program.compiling", "import llvmlite"),
        ("program.compiling", "import importlib\nimportlib.import_module('vecgrad.train')"),
        ("check", "from vecgrad.train import fit"),
        ("train.loop", "from vecgrad.estimator import CNNClassifier"),
        ("data._idx", "from sklearn.datasets import load_digits"),
        ("cli.main", "import torch"),
        ("estimator", "import vecgrad as vg"),
        ("cli.train", "from vecgrad.data._idx import IDX"),
        ("kitchen.sink", "import os"),
    ],
)
def test_a_violation_is_seen(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "layers.conv",
            "from vecgrad.spec.geometry import Conv\nfrom vecgrad.layers.base import Layer\nimport math",
        ),
        ("layers.conv", "from .base import Layer\nfrom ..spec import tensor"),
        ("runtime.engine", "import llvmlite.binding\nimport numpy"),
        ("data._digits", "from sklearn.datasets import load_digits"),
        ("program.compiling", "from vecgrad import __version__\nfrom vecgrad.plan import make"),
        ("cli.train", "from vecgrad.estimator import CNNClassifier\nimport vecgrad as vg"),
        ("__init__", "from vecgrad.train import fit"),
    ],
)
def test_what_the_table_allows(module: str, source: str) -> None:
    assert violations(source, module) == []


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded once ``code`` has run in a fresh interpreter."""
    program = f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return set(run.stdout.split())


HEAVY = {"llvmlite", "sklearn", "scipy", "PIL", "rich", "click", "safetensors", "torch"}


def test_importing_the_package_is_cheap() -> None:
    assert not loaded_by("import vecgrad") & (HEAVY | {"numpy"})


def test_describing_a_model_needs_no_arrays() -> None:
    code = "import vecgrad as vg; from vecgrad.layers import Dense; str(vg.summary([Dense(3)], (4, 4, 1))); vg.SGD(0.1)"
    assert not loaded_by(code) & (HEAVY | {"numpy"})


def test_the_reference_needs_no_compiler() -> None:
    code = (
        "import vecgrad as vg; from vecgrad.layers import Dense;"
        "vg.compile([Dense(3)], (4,), loss='mse', backend='reference')"
    )
    assert not loaded_by(code) & (HEAVY - {"safetensors"})


def test_making_a_plan_needs_neither_arrays_nor_a_compiler() -> None:
    assert not loaded_by("import vecgrad.plan, vecgrad.kernels.registry") & (HEAVY | {"numpy"})
