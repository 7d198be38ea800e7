"""Running compiled kernels: the only room that knows LLVM, threads and raw memory.

In short, from a plan's kernels to a step::

    machine = host_machine()                                  # or spec.machine.restricted(machine, "avx2")
    engine = Engine.load({name: ir_text}, machine, default_cache())
    engine.address(name); engine.assembly(name); engine.statistics     # .compiled .cached .seconds

    memory = aligned(nbytes)                                  # .address, .array(dtype, shape, offset)
    job = Job(phases, engine, bases=..., threads=..., scratch_bytes=..., scalars=...)
    job.bases[:, b] = memory.address                          # or address_of(array); frames differ per row
    job.images = n                                            # also sets job.scalars[0]
    job.scalars[1] = learning_rate
    job.run(first_phase, end_phase, threads)                  # one native call on caller and workers
    job.run_timed(...)                                        # -> int64 (threads, calls) nanoseconds

``Phase(calls, chunks, images_per_chunk)`` (0 images: tasks), ``Call(function, operands, always)`` and
``Operand(base, offset, per_image, per_chunk)`` are the rows of docs/abi.md. A job belongs to one caller
at a time; different jobs may run at once. Importing this room does not import llvmlite; using it without
llvmlite raises CompileError, and ``native_available()`` tells beforehand.
"""

from vecgrad.runtime._processors import processors
from vecgrad.runtime.admit import Admission
from vecgrad.runtime.cache import ObjectCache, default_cache
from vecgrad.runtime.engine import Engine, Source, Statistics, assembly
from vecgrad.runtime.host import host_isas, host_machine, native_available
from vecgrad.runtime.memory import Memory, address_of, aligned, guarded
from vecgrad.runtime.table import Call, Job, Operand, Phase
from vecgrad.runtime.threads import get_num_threads, set_num_threads
from vecgrad.spec.places import cache_directory

__all__ = [
    "Admission",
    "Call",
    "Engine",
    "Job",
    "Memory",
    "ObjectCache",
    "Operand",
    "Phase",
    "Source",
    "Statistics",
    "address_of",
    "aligned",
    "assembly",
    "cache_directory",
    "default_cache",
    "get_num_threads",
    "guarded",
    "host_isas",
    "host_machine",
    "native_available",
    "processors",
    "set_num_threads",
]
