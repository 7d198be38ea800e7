"""The planner: simplify, fuse, lower, settle memory, and write the plan down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vecgrad.graph.nodes import Graph
from vecgrad.graph.verify import verify
from vecgrad.kernels.offer import Refusal
from vecgrad.kernels.reasons import Algorithm
from vecgrad.kernels.registry import candidates, cheapest, kernel_of
from vecgrad.plan.accumulate import slabs_for
from vecgrad.plan.again import computed_again
from vecgrad.plan.draft import Argument, Draft, DraftCall, DraftPhase, Stored
from vecgrad.plan.fuse import Step, fuse, renamed
from vecgrad.plan.lower import Lowering
from vecgrad.plan.plan import Plan, PlannedCall, PlannedPhase, Result
from vecgrad.plan.reading import read_once
from vecgrad.plan.schedule import add_update, pack_once, pack_when_read
from vecgrad.plan.simplify import simplify
from vecgrad.plan.update import Update
from vecgrad.spec.emitter import WEIGHING
from vecgrad.spec.errors import CompileError
from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel import MapSpec, Prologue
from vecgrad.spec.machine import ITEM_BYTES, Machine
from vecgrad.spec.scalar import Operand

# What random masks are drawn from, as runtime scalars: words, which float64 holds exactly.
MASK_SCALARS = ("mask_step", "seed_low", "seed_high")


def make(
    graph: Graph, machine: Machine, dtype: str, batch_size: int, offsets: Mapping[str, int], entries: int,
    update: Update | None = None, *, algorithm: Algorithm = "auto",
) -> Plan:  # fmt: skip
    """The plan of ``graph`` for ``machine``.

    offsets: where each parameter begins in the flat arrays of ``entries`` entries. With ``update`` the plan also changes
    the parameters by their gradients, which are then no results: some are gone by the end. algorithm: "auto", or "direct"
    for convolutions without Winograd's transforms.
    """
    graph = verify(simplify(verify(graph)))
    scalars = ("images", *WEIGHING, "learning_rate", *(update.scalars if update else ()))
    if any(node.op == "keep" for node in graph.live()):
        scalars += MASK_SCALARS
    chunks = slabs_for(batch_size)
    draft = Draft(batch_size, chunks, -(-batch_size // chunks))
    lowering = Lowering(graph, machine, dtype, draft, scalars, offsets, entries, algorithm)
    lowering.weights_change = update is not None
    steps = fuse(graph)
    lowering.again = computed_again(steps, lowering.results)
    lowering.on_the_way.may_wait = read_once(steps, lowering.results, lowering.again)
    for step in steps:
        lowering.lower(step)
    results = _keep_results(graph, lowering, offsets)
    if update is not None:
        results = {name: stored for name, stored in results.items() if not name.startswith("gradient.")}
    _keep_statistics(graph, lowering, offsets)
    packs = lowering.pack_calls
    behind: list[tuple[int, ...]] = []
    if update is None:
        lowering.finish_sums()
    else:
        packs = pack_when_read(draft, packs)
        behind = add_update(draft, lowering, update, entries)
    pack_bytes = pack_once(draft, lowering.constant_calls, packs)
    arena, frame = draft.settle()
    item = ITEM_BYTES[dtype]
    factors = update.factors if update else {}
    segments = tuple(
        record
        for a in lowering.accumulators
        for record in a.segments(item, *(factors.get(a.home, (1.0, 1.0)) if a.parameter else ()))
    ) + tuple(behind)
    phases = tuple(_phase(phase, draft, machine) for phase in draft.phases)
    return Plan(
        machine, dtype, batch_size, phases, arena, frame, pack_bytes, lowering.gradient_entries,
        segments, scalars, _results(graph, results, draft),
    )  # fmt: skip


def _keep_results(graph: Graph, lowering: Lowering, offsets: Mapping[str, int]) -> dict[str, Stored]:
    """Where each result is at the end of the main part."""
    found = {}
    for name, ref in graph.outputs.items():
        if name.startswith("gradient."):
            offset = offsets[name.removeprefix("gradient.")]
            found[name] = lowering.settle_gradient(renamed(ref), offset)
        elif not name.startswith("statistic."):
            found[name] = lowering.stored(ref)
        else:
            continue
        found[name].buffer.kept = True
    return found


def _keep_statistics(graph: Graph, lowering: Lowering, offsets: Mapping[str, int]) -> None:
    """The statistics' next values take the place of the last ones, when nothing reads these any more."""
    for name, ref in graph.outputs.items():
        if name.startswith("statistic."):
            source = lowering.value(renamed(ref))
            layout = replace(source.layout, batched=True)
            offset = offsets[name.removeprefix("statistic.")] * lowering.item
            target = lowering.draft.buffer(source.layout, "parameters", offset)
            spec = MapSpec((Operand(0),), (layout,), (layout,))
            arguments = (Argument(source.buffer), Argument(target))
            lowering.draft.over_tasks([DraftCall(spec, arguments, None, "copy", 1)], 1)


def _results(graph: Graph, stored: Mapping[str, Stored], draft: Draft) -> dict[str, Result]:
    whole = DraftPhase("main", 1, draft.batch_size)
    return {
        name: Result(draft.place(Argument(s.buffer), whole), s.layout, graph.outputs[name].shape)
        for name, s in stored.items()
    }


def _phase(phase: DraftPhase, draft: Draft, machine: Machine) -> PlannedPhase:
    calls = tuple(_call(call, phase, draft, machine) for call in phase.calls)
    return PlannedPhase(calls, phase.chunks, phase.images_per_chunk, phase.part)


def _call(call: DraftCall, phase: DraftPhase, draft: Draft, machine: Machine) -> PlannedCall:
    answers = candidates(call.spec, machine)
    try:
        offer = cheapest(answers, call.spec, machine)
    except CompileError as error:
        layer = call.step.scope if call.step else ""
        raise CompileError(f"layer {layer or phase.part}: {error}") from None
    refused = tuple(f"{a.kernel}: {a.reason}" for a in answers if isinstance(a, Refusal) and a.reason)
    step = call.step
    return PlannedCall(
        spec=call.spec,
        operands=tuple(draft.place(argument, phase) for argument in call.arguments),
        op=call.op,
        scope=step.scope if step else "",
        stage=step.nodes[0].stage if step else phase.part,
        formula=step.formula if step else "",
        kernel=offer.kernel,
        fused=_fused(step, getattr(call.spec, "prologue", None)) if step else "",
        flops=offer.flops * call.units,
        nbytes=(offer.bytes_read + offer.bytes_written) * call.units,
        seconds=offer.seconds * call.units,
        scratch=kernel_of(offer, call.spec).scratch(call.spec, machine),
        always=call.always,
        refused=(*call.refused, *refused),
    )


def _fused(step: Step, prologue: Prologue | None = None) -> str:
    """The map's body, or what joined the primitive; the entry itself is written x0."""
    if step.op == "update":
        return ""
    own = "" if step.expr == Operand(0) and step.op != "map" else str(step.expr)
    if prologue is not None:
        return ", ".join(part for part in (f"reads {prologue.expr}", _fused(step)) if part)
    if step.pool is None:
        return own
    assert isinstance(step.pool.attribute, Window)
    rows, cols = step.pool.attribute.kernel
    return ", ".join(part for part in (own, f"max of {rows}×{cols}", _fused(step.pool)) if part)
