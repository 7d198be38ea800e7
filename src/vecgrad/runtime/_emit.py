"""LLVM's code generator: from IR text to an object file, in this process or as the program of another.

It imports nothing of vecgrad, and llvmlite only when told to, because it also runs on its own: ``python _emit.py`` reads
modules from its standard input and writes their objects to its standard output. What LLVM needs to compile, some 20 MB
of its own code and some of data, then goes with that process.

The input is a line of JSON that describes the target (:func:`main`), then for each module a line ``[name, bytes]`` and
the text. The answer to each is a line ``[bytes, refusal]`` and, where the refusal is null, the object.
"""

from __future__ import annotations

import json
import sys
from typing import IO, Any

# Codegen options, part of every cache key. No pass pipeline runs: kernels come in their final form.
# "small" + "pic" addresses constants relative to the instruction; "small" + "static" aborts in the
# JIT's linker, and the default ("large") loads every constant's address as a 64-bit immediate.
OPT_LEVEL = 3
RELOC = "pic"
CODEMODEL = "small"


class Refusal(Exception):
    """LLVM, or the rule that a module defines its function, says no; the message says to what."""


def binding() -> Any:
    """``llvmlite.binding`` with every target ready (all of them take under a millisecond)."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


def target_machine(triple: str, cpu: str, features: str) -> Any:
    """A new LLVM TargetMachine. Raises Refusal when LLVM does not know the target."""
    import llvmlite.binding as llvm

    try:
        target = llvm.Target.from_triple(triple)
        return target.create_target_machine(
            cpu=cpu, features=features, opt=OPT_LEVEL, reloc=RELOC, codemodel=CODEMODEL
        )
    except RuntimeError as error:
        raise Refusal(f"LLVM has no code generator for {triple} ({cpu}): {error}") from error


def parsed(ir: str, target: Any, name: str | None = None) -> Any:
    """The verified module of ``ir``, laid out for ``target``; it must define the function ``name`` if given.

    Raises Refusal. (Asking an execution engine for a missing function would end the process.)
    """
    import llvmlite.binding as llvm

    who = "the module" if name is None else f"kernel {name}"
    header = f'target datalayout = "{target.target_data}"\ntarget triple = "{target.triple}"\n'
    try:
        module = llvm.parse_assembly(header + ir)
        module.verify()
    except RuntimeError as error:
        raise Refusal(f"{who}: LLVM refuses its code: {str(error).strip()}") from error
    if name is not None:
        try:
            defined = not module.get_function(name).is_declaration
        except NameError:
            defined = False
        if not defined:
            raise Refusal(f"{who}: its module does not define a function of that name")
    return module


def main(source: IO[bytes], sink: IO[bytes]) -> None:
    """Serve until the input ends. The first line: {"path": where llvmlite is, "triple", "cpu", "features"}."""
    described = json.loads(source.readline())
    sys.path.append(described.pop("path"))
    binding()
    target = target_machine(**described)
    while line := source.readline():
        name, size = json.loads(line)
        data, refusal = b"", None
        try:
            data = target.emit_object(parsed(source.read(size).decode(), target, name))
        except Refusal as error:
            refusal = str(error)
        sink.write(json.dumps([len(data), refusal]).encode() + b"\n" + data)
        sink.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
