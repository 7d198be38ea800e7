"""The compiled backend: plans made and loaded when first needed, each run one or two native calls."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from vecgrad.graph.build import Wanted, record
from vecgrad.kernels import registry
from vecgrad.kernels.reasons import Algorithm
from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.plan import BASES, Plan, make
from vecgrad.plan.plan import Place, Result
from vecgrad.program.flat import FlatLayout
from vecgrad.program.rule import update_of
from vecgrad.program.shortcut import MOST_BYTES, Shortcut
from vecgrad.program.stepping import Stepping
from vecgrad.runtime import (
    Admission,
    Call,
    Engine,
    Job,
    Operand,
    Phase,
    Source,
    address_of,
    aligned,
    default_cache,
    get_num_threads,
    host_machine,
)
from vecgrad.spec.kernel import RECORD_BYTES, RECORD_FIELDS
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.tensor import Shape, size
from vecgrad.updates import AVERAGE
from vecgrad.updates import Update as Rule

Array = np.ndarray[Any, np.dtype[Any]]

TRAINING = Wanted(training=True, loss=True, gradients=True, statistics=True)


class NativeBackend:
    """Flat arrays in aligned memory, and for each kind of result a compiled plan."""

    name = "native"

    def __init__(
        self, model: Layer, input_shape: Shape, output_shape: Shape, loss: Loss | None, update: Rule | None,
        layout: FlatLayout, dtype: str, batch_size: int, threads: int | None, machine: Machine | None,
        algorithm: Algorithm = "auto",
    ) -> None:  # fmt: skip
        self.machine = machine or host_machine()
        self.threads = threads
        self.algorithm: Algorithm = algorithm
        self._model, self._loss, self._update, self._layout = model, loss, update, layout
        self.shapes = (input_shape, output_shape)
        self._dtype, self._batch_size = dtype, batch_size
        names = update.arrays() if update else ()
        item = ITEM_BYTES[dtype]
        self._memory = aligned((1 + len(names)) * layout.total * item)
        self.weights: Array = self._memory.array(dtype, (layout.total,), 0)
        self.state: dict[str, Array] = {
            name: self._memory.array(dtype, (layout.kept(name),), i * layout.total * item)
            for i, name in enumerate(names, 1)
        }
        self._version = 0
        self._compiled: dict[tuple[Wanted, bool], Compiled] = {}
        self._doorstep = aligned(MOST_BYTES)
        self._admission: Admission | None = None
        self._ones = aligned(0)

    def changed(self) -> None:
        """The weights were written: what was derived from them is stale."""
        self._version += 1

    def plan(self, wanted: Wanted, training: bool = False) -> Plan:
        """The plan of what is wanted; ``training``: followed by the update."""
        return self.compiled(wanted, training).plan

    def compiled(self, wanted: Wanted, training: bool = False) -> Compiled:
        """What is wanted, ready to run; compiled at the first request."""
        key = (wanted, training)
        if key not in self._compiled:
            plan, address = self._make(wanted, training), self._memory.address
            stride = self._layout.total * ITEM_BYTES[self._dtype]
            read = address
            if wanted.averaged:
                read += (1 + list(self.state).index(AVERAGE)) * stride
            self._compiled[key] = Compiled(plan, read, address + stride)
        return self._compiled[key]

    def _make(self, wanted: Wanted, training: bool) -> Plan:
        shapes = {name: slot.shape for name, slot in self._layout.slots.items()}
        graph = record(
            self._model, self._loss, *self.shapes, shapes, self._dtype, wanted, self._layout.trained
        )
        offsets = {name: slot.offset for name, slot in self._layout.slots.items()}
        update = None
        if training and self._update is not None:
            update = update_of(self._update, self._layout, self._dtype)
        return make(
            graph, self.machine, self._dtype, self._batch_size, offsets, self._layout.entries, update,
            algorithm=self.algorithm,
        )  # fmt: skip

    def run(
        self, wanted: Wanted, x: Array, t: Array | None, w: Array | None, scalars: Mapping[str, float]
    ) -> dict[str, Array]:
        """What is wanted, by the names that ``graph.build.record`` documents."""
        compiled = self.compiled(wanted)
        compiled.set(x, t, w, scalars)
        self._refresh(compiled)
        compiled.run("main", self._thread_count())
        return {name: compiled.result(result, x) for name, result in compiled.plan.results.items()}

    def step(self, x: Array, t: Array, w: Array, scalars: Mapping[str, float]) -> float:
        """One training step in one native call; the loss before it."""
        compiled = self.compiled(TRAINING, training=True)
        compiled.set(x, t, w, scalars)
        self._refresh(compiled)
        compiled.run("all", self._thread_count())
        self._stepped(compiled)
        return compiled.number("loss")

    def stepping(self, n: int) -> Stepping | None:
        """The short way for training steps on ``n`` images with class numbers; None where it does not lead there."""
        loss, output = self._loss, self.shapes[1]
        if loss is None or loss.targets != "classes" or not 1 <= n <= self._batch_size:
            return None
        if loss.rows_shape(output) != output:
            return None
        if self._admission is None:
            most, classes = self._batch_size, output[-1]
            self._admission = Admission(self._dtype, most, classes)
            self._ones = aligned(most * ITEM_BYTES[self._dtype])
            self._ones.array(self._dtype, most)[...] = 1
        return Stepping(
            self.compiled(TRAINING, training=True), (n, *self.shapes[0]), self._admission, self._ones,
            None if loss.as_given else loss.rows, output[-1], self._prepared, self._stepped,
        )  # fmt: skip

    def _stepped(self, compiled: Compiled) -> None:
        """After a step: its packs are of the new weights, all others of old ones."""
        self._version += 1
        compiled.packed = self._version

    def shortcut(self, wanted: Wanted, name: str, n: int) -> Shortcut | None:
        """The short way to the result ``name`` of ``n`` images; None where it does not lead there."""
        shape, compiled = (n, *self.shapes[0]), self.compiled(wanted)
        fits = 1 <= n <= self._batch_size and size(shape) * ITEM_BYTES[self._dtype] <= MOST_BYTES
        result = compiled.plan.results[name]
        if not fits or result.place.base == "x" or not result.layout.batched:
            return None
        return Shortcut(compiled, name, shape, self._doorstep, self._prepared)

    def _prepared(self, compiled: Compiled) -> int:
        """The threads that may work for it, its packs made."""
        self._refresh(compiled)
        return self.threads or get_num_threads()

    def _refresh(self, compiled: Compiled) -> None:
        if compiled.packed != self._version:
            compiled.run("pack", self._thread_count())
            compiled.packed = self._version

    def _thread_count(self) -> int:
        return self.threads or get_num_threads()


class Compiled:
    """A plan with its code and memory. ``packed``: the version of the weights that the packs were made from.

    parameters, state: the addresses of these flat arrays.
    """

    def __init__(self, plan: Plan, parameters: int, state: int) -> None:
        self.plan = plan
        self.packed = -1
        item = ITEM_BYTES[plan.dtype]
        sources: dict[str, str | Source] = {
            call.spec.name: Source(
                registry.identity(call.spec, plan.machine),
                functools.partial(registry.generate, call.spec, plan.machine),
            )
            for call in plan.calls()
        }
        self.engine = Engine.load(sources, plan.machine, default_cache(), get_num_threads())
        self._memory = {
            "arena": aligned(max(plan.arena, 64)),
            "gradients": aligned(plan.gradients * item),
            "packs": aligned(max(plan.packs, 64)),
            "table": aligned(max(len(plan.segments) * RECORD_BYTES, 64)),
        }
        if plan.segments:
            self._memory["table"].array("int64", (len(plan.segments), RECORD_FIELDS), 0)[...] = plan.segments
        self._fixed = {name: memory.address for name, memory in self._memory.items()}
        self._fixed |= {"parameters": parameters, "state": state}
        self._phases = tuple(_phase(phase) for phase in plan.phases)
        self._ranges = {part: plan.range(part) for part in ("main", "update", "pack")}
        self._ranges["all"] = (0, len(plan.phases))
        self._numbers: dict[str, Any] = {}  # memory views, which are read faster than arrays
        self._job: Job | None = None
        self._frames = aligned(64)
        # Whose images the job was given last: a shortcut that finds itself here has nothing to say.
        self.given: object = None

    def job(self, threads: int) -> Job:
        """The call table for at least ``threads`` threads."""
        if self._job is None or self._job.threads < threads:
            plan = self.plan
            job = Job(
                self._phases, self.engine, bases=len(BASES), threads=threads,
                scratch_bytes=plan.scratch, scalars=len(plan.scalars),
            )  # fmt: skip
            # Frames a page apart beyond their size, so that threads' frames do not fall on the same cache sets.
            stride = -(-plan.frame // 4096) * 4096 + 4096 + 64
            self._frames = aligned(stride * threads)
            for name, address in self._fixed.items():
                job.bases[:, BASES.index(name)] = address
            job.bases[:, BASES.index("frame")] = self._frames.address + stride * np.arange(threads)
            if self._job is not None:
                job.bases[:, :3] = self._job.bases[0, :3]
                job.scalars[...] = self._job.scalars
                job.images = self._job.images
            self._job = job
        return self._job

    def set(self, x: Array, t: Array | None, w: Array | None, scalars: Mapping[str, float]) -> None:
        """What the next run reads: C-contiguous arrays of the plan's dtype, which must outlive it."""
        job = self._job or self.job(1)
        for number, array in enumerate((x, t, w)):
            job.set_base(number, address_of(array) if array is not None else 0)
        job.images = len(x)
        self.given = None
        self.set_scalars(scalars)

    def give(self, address: int, n: int) -> None:
        """The images that the next runs read: ``n`` of them at ``address``."""
        job = self._job or self.job(1)
        job.set_base(0, address)
        job.images = n

    def set_base(self, number: int, address: int) -> None:
        """Where something else is that the next runs read, by its number in ``BASES``."""
        (self._job or self.job(1)).set_base(number, address)

    def set_scalars(self, scalars: Mapping[str, float]) -> None:
        """The runtime scalars of the next runs; what is not given is zero."""
        job = self._job or self.job(1)
        for number, name in enumerate(self.plan.scalars[1:], 1):
            job.set_scalar(number, scalars.get(name, 0.0))

    def run(self, part: str, threads: int) -> None:
        first, end = self._ranges[part]
        if first < end:
            self.job(threads).run(first, end, threads)

    def time(self, part: str, threads: int) -> Array:
        """Nanoseconds by thread and call."""
        first, end = self._ranges[part]
        return self.job(threads).run_timed(first, end, threads)

    def number(self, name: str) -> float:
        """A result that is a single number."""
        if name not in self._numbers:
            place = self.plan.results[name].place
            self._numbers[name] = self._memory[place.base].array(self.plan.dtype, (1,), place.offset).data
        return float(self._numbers[name][0])

    def result(self, result: Result, x: Array) -> Array:
        """A copy of a result in its public shape, without padding lanes."""
        n = len(x)
        if result.place.base == "x":
            return x.reshape(n, *result.shape).copy()
        lead = (n,) if result.layout.batched else ()
        return self.view(result, n).reshape(*lead, *result.shape).copy()

    def view(self, result: Result, n: int) -> Array:
        """Where a result of ``n`` images lies, in its map's shape, without padding lanes."""
        layout, place = result.layout, result.place
        lead = (n,) if layout.batched else ()
        padded = self._memory[place.base].array(
            layout.dtype, (*lead, layout.height, layout.width, layout.pitch), place.offset
        )
        return padded[..., : layout.channels]


def _phase(phase: Any) -> Phase:
    calls = tuple(
        Call(call.spec.name, tuple(_operand(place) for place in call.operands), call.always)
        for call in phase.calls
    )
    return Phase(calls, phase.chunks, phase.images_per_chunk)


def _operand(place: Place) -> Operand:
    return Operand(BASES.index(place.base), place.offset, place.per_image, place.per_chunk)
