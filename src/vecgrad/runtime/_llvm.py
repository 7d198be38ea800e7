"""llvmlite, imported at first use: the one door to LLVM."""

from __future__ import annotations

import functools
from typing import Any

from vecgrad.runtime import _emit
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import Machine

OPTIONS = f"O{_emit.OPT_LEVEL} {_emit.RELOC} {_emit.CODEMODEL}"


@functools.cache
def binding() -> Any:
    """``llvmlite.binding`` with every target ready. Raises CompileError where llvmlite is missing or does not load."""
    try:
        return _emit.binding()
    except (ImportError, OSError) as error:
        raise CompileError(
            f"the native backend needs llvmlite ({error}); install it with `pip install llvmlite`, "
            'or pass backend="reference"'
        ) from error


def version() -> str:
    """llvmlite's and LLVM's version, for cache keys and reports."""
    import llvmlite

    return f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, binding().llvm_version_info))}"


def described(machine: Machine) -> dict[str, str]:
    """What ``_emit.target_machine`` takes."""
    return {"triple": machine.triple, "cpu": machine.cpu, "features": ",".join(machine.features)}


def target_machine(machine: Machine) -> Any:
    """A new LLVM TargetMachine. An execution engine takes ownership of the one it gets: do not reuse that."""
    binding()
    try:
        return _emit.target_machine(**described(machine))
    except _emit.Refusal as error:
        raise CompileError(str(error)) from error


def parsed(ir: str, target: Any, name: str | None = None) -> Any:
    """The verified module of ``ir``, laid out for ``target``; it must define the function ``name`` if given.

    Raises CompileError.
    """
    try:
        return _emit.parsed(ir, target, name)
    except _emit.Refusal as error:
        raise CompileError(str(error)) from error
