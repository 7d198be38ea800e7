"""From steps to kernel calls: a layout for each value, a spec for each step, a phase for each call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vecgrad.graph.nodes import Graph, Ref
from vecgrad.kernels import algorithm, summed
from vecgrad.kernels.reasons import Algorithm
from vecgrad.plan import channels, elementwise
from vecgrad.plan.accumulate import Accumulator, image_groups
from vecgrad.plan.again import beside, in_one_phase
from vecgrad.plan.dense import flat_layout, flattened, many_weights, same_memory
from vecgrad.plan.draft import Argument, Buffer, Draft, DraftCall, Stored
from vecgrad.plan.fuse import Step, renamed
from vecgrad.plan.pools import pool_spec
from vecgrad.plan.reading import OnTheWay
from vecgrad.spec import kernel as specs
from vecgrad.spec.errors import CompileError
from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.kernel import (
    Epilogue,
    KernelSpec,
    Pooling,
    WeightsSpec,
)
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.scalar import Operand, scalars
from vecgrad.spec.tensor import Layout, as_map, size

# Tasks that share the work of one pack.
PACK_TASKS = 8


class Lowering:
    """Turns steps into calls of a draft, one after the other.

    offsets: where each parameter lies in the flat arrays, in entries. wanted: the accumulated values that have a
    fixed destination in the gradients, by value.
    """

    def __init__(
        self, graph: Graph, machine: Machine, dtype: str, draft: Draft, scalars: tuple[str, ...],
        offsets: Mapping[str, int], entries: int, algorithm: Algorithm = "auto",
    ) -> None:  # fmt: skip
        self.machine = machine
        self.dtype = dtype
        self.item = ITEM_BYTES[dtype]
        self.draft = draft
        self.scalars = scalars
        self.algorithm: Algorithm = algorithm
        self.weights_change = False
        self.accumulators: list[Accumulator] = []
        self.packs: dict[tuple[int, WeightsSpec], Buffer] = {}
        self.pack_calls: list[DraftCall] = []
        # What depends on parameters alone is no work of a step: it is made when these change, before the packs.
        self.constant_calls: list[DraftCall] = []
        self.results = {renamed(ref) for ref in graph.outputs.values()}
        self.gradient_entries = entries
        self._values: dict[Ref, Stored] = {}
        # What backward steps compute again, until one has.
        self.again: dict[Ref, Step] = {}
        # Steps that kernels may do where they read their results.
        self.on_the_way = OnTheWay(self)
        self._sums: dict[Ref, Accumulator] = {}
        self._destination: dict[Ref, int] = {}
        for name, ref in graph.outputs.items():
            if name.startswith("gradient."):
                self._destination.setdefault(renamed(ref), offsets[name.removeprefix("gradient.")])
        for node in graph.nodes:
            if node.op == "input":
                self._input(Ref(node), str(node.attribute), offsets)

    # --- values ---------------------------------------------------------------------------------
    def _input(self, ref: Ref, name: str, offsets: Mapping[str, int]) -> None:
        shape = as_map(ref.shape)
        layout = Layout(*shape, shape[2], self.dtype, ref.batched)
        if name.startswith("parameter."):
            base, offset = "parameters", offsets[name.removeprefix("parameter.")] * self.item
        else:
            base, offset = name, 0
        self._values[ref] = Stored(self.draft.buffer(layout, base, offset), layout)

    def value(self, ref: Ref) -> Stored:
        """Where a value that a step reads is; what it needs is finished first: a sum over images, a step that waits."""
        self.on_the_way.make(ref)
        if ref in self._sums and not self._sums[ref].summed:
            self.finish_sums()
        return self._values[ref]

    def layout(self, ref: Ref) -> Layout:
        """How a result lies in memory: whole vectors per pixel if batched, compact if not."""
        h, w, c = ref.type.map
        pitch = self.machine.pitch(c, self.dtype) if ref.batched else c
        return Layout(h, w, c, pitch, ref.type.dtype, ref.batched)

    def new(self, ref: Ref, constant: bool = False) -> Stored:
        """Memory for a result. constant: it is kept beside the packs, for as long as the parameters do not change."""
        layout = self.layout(ref)
        if constant:
            buffer = Buffer(layout.nbytes, False, "packs")
        elif not ref.batched and ref in self._destination:
            buffer = self.draft.buffer(layout, "gradients", self._destination[ref] * self.item)
        else:
            buffer = self.draft.buffer(layout)
        stored = Stored(buffer, layout)
        self._values[ref] = stored
        return stored

    def sum_over_images(self, ref: Ref, length: int, slabs: int) -> tuple[Accumulator, Argument]:
        """An accumulator for ``ref`` and the argument through which a chunk's kernel reaches its slab."""
        parameter = ref in self._destination
        if parameter:
            destination = self._destination[ref]
        else:
            destination = self.gradient_entries
            self.gradient_entries += -(-length // 16) * 16
        h, w, c = ref.type.map
        layout = Layout(h, w, c, c, self.dtype, False)
        self._values[ref] = Stored(self.draft.buffer(layout, "gradients", destination * self.item), layout)
        stride = -(-length // 16) * 16
        slab = self._values[ref].buffer if slabs == 1 else self.draft.block(stride * slabs * self.item)
        found = Accumulator(slab, length, stride, slabs, destination, parameter)
        self._sums[ref] = found
        self.accumulators.append(found)
        return found, Argument(slab, 0, stride * self.item if slabs > 1 else 0)

    def finish_sums(self) -> None:
        """A phase in which the slabs of all pending sums meet; their records follow those of the sums that are finished."""
        pending = [a for a in self.accumulators if a.slabs > 1 and not a.summed]
        if not pending:
            return
        finished = [a for a in self.accumulators if a.summed]
        first = sum(a.records for a in finished)
        self.draft.over_tasks([self.sum_call(first, pending)], sum(a.records for a in pending))
        for a in pending:
            a.summed = True
        self.accumulators = finished + pending + [a for a in self.accumulators if not a.summed]

    def sum_call(self, first: int, pending: Sequence[Accumulator]) -> DraftCall:
        """The call that sums the slabs of ``pending``, whose records begin at number ``first``."""
        table = Buffer(0, False, "table", first * specs.RECORD_BYTES)
        # The slabs are listed so that they live until here; the kernel is given the arena and finds them by the table.
        arguments = (
            Argument(table), Argument(Buffer(0, False, "arena", 0)), Argument(Buffer(0, False, "gradients", 0)),
        )  # fmt: skip
        length = sum(a.length for a in pending if a.slabs > 1)
        slabs = tuple(a.slab for a in pending)
        return DraftCall(specs.SlabSumSpec(self.dtype), arguments, None, "sum", length, keeps=slabs)

    def stored(self, ref: Ref) -> Stored:
        """Where a value is, its sum over images finished or not."""
        self.on_the_way.make(renamed(ref))
        return self._values[renamed(ref)]

    def settle_gradient(self, ref: Ref, destination: int) -> Stored:
        """Makes sure that a parameter's gradient lies at its place, also where it is no plain sum over images,
        or serves two parameters."""
        at_home = self._destination[ref] == destination
        if at_home and ref in self._sums:
            return self.stored(ref)
        stored = self.value(ref)
        length = size(ref.shape)
        if not at_home or stored.buffer.base != "gradients":
            layout = replace(stored.layout, batched=True)
            target = self.draft.buffer(stored.layout, "gradients", destination * self.item)
            spec = specs.MapSpec((Operand(0),), (layout,), (layout,))
            arguments = (Argument(stored.buffer), Argument(target))
            self.draft.over_tasks([DraftCall(spec, arguments, None, "copy", 1)], 1)
            stored = Stored(target, stored.layout)
        self.accumulators.append(
            Accumulator(Buffer(0, False, "gradients"), length, length, 1, destination, True)
        )
        return stored

    # --- steps ----------------------------------------------------------------------------------
    def lower(self, step: Step) -> None:
        """Adds the calls that compute a step."""
        if step.nodes[0].stage == "backward":
            self._compute_again(step.reads)
        match step.op, step.attribute:
            case (("conv" | "conv_dx"), Conv() as conv):
                self._conv(step, conv)
            case "conv_dw", Conv() as conv:
                self._conv_dw(step, conv)
            case "max_pool_dx", Window() if step.expr == Operand(0):
                self.on_the_way.unpool(step)
            case "map", _ if self.on_the_way.map(step):
                pass
            case _:
                self.lower_now(step)

    def lower_now(self, step: Step, refused: tuple[str, ...] = ()) -> None:
        """The same for a step that waits for nobody. refused: why nobody took it over."""
        match step.op, step.attribute:
            case (("max_pool" | "max_pool_dx"), Window() as w):
                self._pool(step, w, None, refused)
            case (("avg_pool" | "avg_pool_dx"), (Window() as w, bool() as counted)):
                self._pool(step, w, counted)
            case (("map" | "reduce_sum" | "reduce_max" | "reduce_pixels"), _):
                elementwise.lower(self, step, refused)
            case "reshape", _:
                self._reshape(step)
            case (("concat" | "part" | "moments" | "keep"), _):
                channels.lower(self, step)
            case _:
                raise CompileError(f"no kernel is known for {step.op}")

    def call(
        self,
        step: Step,
        spec: KernelSpec,
        arguments: tuple[Argument, ...],
        batched: bool = True,
        always: bool = False,
        refused: tuple[str, ...] = (),
    ) -> None:
        units = self.draft.batch_size if batched else 1
        call = DraftCall(spec, arguments, step, step.op, units, always, refused=refused)
        self.add(call, batched)

    def add(self, call: DraftCall, batched: bool = True) -> None:
        """A call for chunks of images; not ``batched``: one task."""
        if batched:
            self.draft.over_images(call)
        else:
            self.draft.over_tasks([call], 1)

    def _epilogue(self, step: Step) -> tuple[Epilogue, tuple[Argument, ...]]:
        extras = [self.value(ref) for ref in step.extra]
        epilogue = Epilogue(step.expr, tuple(e.layout for e in extras))
        arguments = tuple(Argument(e.buffer) for e in extras)
        if step.pool is None:
            return epilogue, arguments
        assert isinstance(step.pool.attribute, Window)
        after, behind = self._epilogue(step.pool)
        output, *index = map(self.layout, step.results)
        pool = Pooling(step.pool.attribute, output, index[0] if index else None, after.expr, after.inputs)
        return replace(epilogue, pool=pool), arguments + behind

    def _conv(self, step: Step, conv: Conv) -> None:
        read = self._layout_of(step.inputs[0])
        weights = self.value(step.inputs[1])
        epilogue, extra = self._epilogue(step)
        forward = step.op == "conv"
        inside, outside = read, self.layout(step.pool.inputs[0] if step.pool else step.results[0])
        flat = flattened(conv, inside if forward else outside)
        if flat is not None and (forward or all(same_memory(x, outside) for x in epilogue.inputs)):
            conv = flat
            if forward:
                inside = flat_layout(inside)
            else:
                outside = flat_layout(outside)
                epilogue = replace(epilogue, inputs=tuple(map(flat_layout, epilogue.inputs)))
        by_blocks = many_weights(conv, forward, self.item, self.draft.batch_size, self.draft.chunks)
        found = algorithm.gather(
            conv, "forward" if forward else "dx", inside, outside, self.machine,
            epilogue=epilogue, scalars=self.used(epilogue), images=self.draft.images_per_chunk,
            batch=self.draft.batch_size, direct_by_blocks=by_blocks, algorithm=self.algorithm,
            weights_change=self.weights_change,
        )  # fmt: skip
        if found.not_pooled:
            first, pool = step.apart
            assert isinstance(pool.attribute, Window)
            self._conv(first, conv)
            self._pool(pool, pool.attribute, None, (found.not_pooled,))
            return
        results = [self.new(ref) for ref in step.results]
        packed = weights.buffer
        if found.pack is not None:
            packed = self._pack(weights, replace(found.pack, tasks=PACK_TASKS))
        spec, step, source = self.on_the_way.source(found.spec, step, step.inputs[0])
        arguments = (*source, Argument(packed), *extra, *(Argument(r.buffer) for r in results))
        call = DraftCall(spec, arguments, step, step.op, self.draft.batch_size, refused=found.refused)
        if found.tasks:
            self.draft.over_tasks([call], found.tasks)
        else:
            self.draft.over_images(call)

    def _pack(self, weights: Stored, pack: WeightsSpec) -> Buffer:
        """The packed weights; made once for each weights and order. Packs of parameters are made when these change."""
        key = (id(weights.buffer), pack)
        if key not in self.packs:
            nbytes = -(-pack.entries * self.item // 4096) * 4096
            parameter = weights.buffer.base == "parameters"
            if parameter:
                packed = Buffer(nbytes, False, "packs")
            else:
                packed = self.draft.block(nbytes)
            call = DraftCall(pack, (Argument(weights.buffer), Argument(packed)), None, "pack", 1)
            self.packs[key] = packed
            if parameter:
                self.pack_calls.append(call)
            else:
                self.draft.over_tasks([call], PACK_TASKS)
        return self.packs[key]

    def _conv_dw(self, step: Step, conv: Conv) -> None:
        layout, dy = map(self._layout_of, step.inputs)
        flat = flattened(conv, layout)
        if flat is not None:
            conv, layout = flat, flat_layout(layout)
        length = size(conv.weight_shape)
        batch, by_chunks = self.draft.batch_size, beside(conv)
        found = summed.weight_gradient(
            conv, layout, dy, self.machine, images=self.draft.images_per_chunk, batch=batch,
            groups=None if by_chunks else lambda blocks, least, most: image_groups(blocks, batch, least, most),
            algorithm=self.algorithm,
        )  # fmt: skip
        spec, step, gradient = self.on_the_way.source(found.spec, step, step.inputs[1])
        spec, step, x = self.on_the_way.source(spec, step, step.inputs[0])
        operands = (*x, *gradient)
        if by_chunks:
            _, slab = self.sum_over_images(step.results[0], length, self.draft.chunks)
            call = DraftCall(spec, (*operands, slab), step, step.op, batch, True, refused=found.refused)
            self.draft.over_images(call)
            return
        total, slab = self.sum_over_images(step.results[0], length, spec.image_groups)
        spec = replace(spec, slab_stride=total.stride)
        whole = replace(slab, per_chunk=0)
        call = DraftCall(spec, (*operands, whole), step, step.op, batch, refused=found.refused)
        self.draft.over_tasks([call], spec.tasks)

    def _compute_again(self, refs: Iterable[Ref]) -> None:
        """The values among ``refs`` that are not kept, where they are no part of the open phase; from now on these are read."""
        for ref in refs:
            stored = self._values.get(ref)
            if ref in self.again and not (stored and in_one_phase(self.draft, stored.buffer)):
                step = self.again.pop(ref)
                if not self.on_the_way.map(step):
                    elementwise.lower(self, step)

    def _layout_of(self, ref: Ref) -> Layout:
        """How a value lies, or would lie if the step that waits made it."""
        return self.layout(ref) if ref in self.on_the_way else self.value(ref).layout

    def _pool(self, step: Step, w: Window, counted: bool | None, refused: tuple[str, ...] = ()) -> None:
        inputs = [self.value(ref) for ref in step.inputs]
        epilogue, extra = self._epilogue(step)
        used = self.used(epilogue)
        results = [self.new(ref) for ref in step.results]
        layouts = [s.layout for s in inputs], [s.layout for s in results]
        spec = pool_spec(step.op, w, *layouts, bool(counted), epilogue, used)
        before = tuple(Argument(s.buffer) for s in inputs)
        self.call(step, spec, (*before, *extra, *(Argument(s.buffer) for s in results)), refused=refused)

    def _reshape(self, step: Step) -> None:
        """A value under another shape: the same memory where it is dense, else a copy."""
        source, ref = self.value(step.inputs[0]), step.results[0]
        h, w, c = ref.type.map
        if source.layout.pitch == source.layout.channels:
            layout = replace(source.layout, height=h, width=w, channels=c, pitch=c)
            self._values[ref] = Stored(source.buffer, layout)
            return
        result = self.new(ref)
        spec = specs.CopySpec(source.layout, result.layout)
        self.call(step, spec, (Argument(source.buffer), Argument(result.buffer)))

    def used(self, epilogue: Epilogue) -> tuple[str, ...]:
        """The table of runtime scalars, for a kernel that reads any: the same for all, so that equal kernels stay equal."""
        read = scalars(epilogue.expr) + (scalars(epilogue.pool.expr) if epilogue.pool else ())
        return self.scalars if read else ()
