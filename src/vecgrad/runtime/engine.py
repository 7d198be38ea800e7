"""From LLVM IR text to machine code in memory: compile what the cache does not have, load, give addresses."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vecgrad.runtime import _llvm
from vecgrad.runtime._compile import compiled
from vecgrad.runtime._image import Image, link
from vecgrad.runtime.cache import ObjectCache, object_key
from vecgrad.runtime.host import host_isas
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import ISAS, Machine


@dataclass(frozen=True)
class Statistics:
    """What loading took: kernels compiled, kernels found in the cache, seconds in all."""

    compiled: int
    cached: int
    seconds: float


@dataclass(frozen=True)
class Source:
    """A kernel's IR that is written only when the cache does not have its object.

    identity: what determines the text: two sources with equal identities have equal text.
    """

    identity: str
    ir: Callable[[], str]


class Engine:
    """Loaded kernels. Their addresses are valid as long as the engine is referenced. Made by :meth:`load`."""

    def __init__(
        self, modules: Mapping[str, str | Source], machine: Machine, code: Image | Jit, statistics: Statistics
    ) -> None:
        self.machine = machine
        self.statistics = statistics
        self._modules = dict(modules)
        self._code = code
        self._addresses = dict(code.addresses)

    @classmethod
    def load(
        cls,
        modules: Mapping[str, str | Source],
        machine: Machine,
        cache: ObjectCache | None = None,
        processes: int = 0,
    ) -> Engine:
        """Compile and load ``modules``: function name -> IR of a self-contained module that defines it.

        Compiles for exactly ``machine``; without a cache everything is compiled anew. processes: compile in so many
        other processes, where there is enough to do; 0: in this one.
        Raises CompileError when llvmlite is missing, LLVM refuses a module, a module does not define
        its function, or ``machine`` has instructions that this host lacks.
        """
        start = time.perf_counter()
        _require_runnable(machine)
        keys = {
            name: object_key(name, source if isinstance(source, str) else source.identity, machine)
            for name, source in modules.items()
        }
        objects = {} if cache is None else {name: cache.get(key) for name, key in keys.items()}
        missing = {
            name: functools.partial(_text, source)
            for name, source in modules.items()
            if objects.get(name) is None
        }
        found = {name: data for name, data in objects.items() if data is not None}
        for name, data in compiled(missing, machine, processes).items():
            found[name] = data
            if cache is not None:
                cache.put(keys[name], data)
        code = link(found) or Jit(found, machine)
        statistics = Statistics(len(missing), len(found) - len(missing), time.perf_counter() - start)
        return cls(modules, machine, code, statistics)

    def address(self, name: str) -> int:
        """The native address of function ``name``; CompileError if the engine has no such function."""
        try:
            return self._addresses[name]
        except KeyError:
            raise CompileError(
                f"no kernel {name!r} was loaded; loaded: {', '.join(self._addresses)}"
            ) from None

    def ir(self, name: str) -> str:
        """The IR text of ``name``'s module."""
        self.address(name)
        return _text(self._modules[name])

    def assembly(self, name: str) -> str:
        """The assembly of ``name``'s module, as compiled for this engine's machine."""
        return assembly(self.ir(name), self.machine)


class Jit:
    """Objects loaded by LLVM's own linker, in one execution engine. addresses: of each object's function."""

    def __init__(self, objects: Mapping[str, bytes], machine: Machine) -> None:
        llvm = _llvm.binding()
        # An object file reads the bytes that it was made from for as long as it lives.
        self._objects = [(data, llvm.object_file.ObjectFileRef.from_data(data)) for data in objects.values()]
        self._executor = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _llvm.target_machine(machine))
        for _, reference in self._objects:
            self._executor.add_object_file(reference)
        self._executor.finalize_object()
        self.addresses = {name: int(self._executor.get_function_address(name)) for name in objects}


def _text(source: str | Source) -> str:
    return source if isinstance(source, str) else source.ir()


def assembly(ir: str, machine: Machine) -> str:
    """The assembly that LLVM makes of ``ir`` for ``machine``, which need not be this host."""
    target = _llvm.target_machine(machine)
    return str(target.emit_assembly(_llvm.parsed(ir, target)))


def _require_runnable(machine: Machine) -> None:
    here = host_isas()
    if machine.isa not in here:
        known = "" if machine.isa in ISAS else " (unknown)"
        raise CompileError(
            f"code for {machine.isa}{known} cannot run here: this processor has {', '.join(here)}; "
            "compile for host_machine() or a machine restricted from it"
        )
