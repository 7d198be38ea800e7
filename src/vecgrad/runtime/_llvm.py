"""llvmlite, imported at first use: the one door to LLVM."""

from __future__ import annotations

import functools
from typing import Any

from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import Machine

# Codegen options, part of every cache key. No pass pipeline runs: kernels come in their final form.
# "small" + "pic" addresses constants relative to the instruction; "small" + "static" aborts in the
# JIT's linker, and the default ("large") loads every constant's address as a 64-bit immediate.
OPT_LEVEL = 3
RELOC = "pic"
CODEMODEL = "small"
OPTIONS = f"O{OPT_LEVEL} {RELOC} {CODEMODEL}"


@functools.cache
def binding() -> Any:
    """``llvmlite.binding`` with every target ready (all of them take under a millisecond).

    Raises CompileError where llvmlite is missing or does not load.
    """
    try:
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        raise CompileError(
            f"the native backend needs llvmlite ({error}); install it with `pip install llvmlite`, "
            'or pass backend="reference"'
        ) from error
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


def version() -> str:
    """llvmlite's and LLVM's version, for cache keys and reports."""
    import llvmlite

    return f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, binding().llvm_version_info))}"


def target_machine(machine: Machine) -> Any:
    """A new LLVM TargetMachine. An execution engine takes ownership of the one it gets: do not reuse that."""
    llvm = binding()
    try:
        target = llvm.Target.from_triple(machine.triple)
        return target.create_target_machine(
            cpu=machine.cpu,
            features=",".join(machine.features),
            opt=OPT_LEVEL,
            reloc=RELOC,
            codemodel=CODEMODEL,
        )
    except RuntimeError as error:
        raise CompileError(
            f"LLVM has no code generator for {machine.triple} ({machine.cpu}): {error}"
        ) from error


def parsed(ir: str, target: Any, name: str | None = None) -> Any:
    """The verified module of ``ir``, laid out for ``target``; it must define the function ``name`` if given.

    Raises CompileError. (Asking an execution engine for a missing function would end the process.)
    """
    who = "the module" if name is None else f"kernel {name}"
    header = f'target datalayout = "{target.target_data}"\ntarget triple = "{target.triple}"\n'
    try:
        module = binding().parse_assembly(header + ir)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"{who}: LLVM refuses its code: {str(error).strip()}") from error
    if name is not None:
        try:
            defined = not module.get_function(name).is_declaration
        except NameError:
            defined = False
        if not defined:
            raise CompileError(f"{who}: its module does not define a function of that name")
    return module
