"""The update's part of a plan: what must be measured of all entries first, then one pass in which the rule changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vecgrad.graph.nodes import Graph, Ref
from vecgrad.plan.accumulate import SEGMENT, record
from vecgrad.plan.draft import Argument, Buffer, Draft, DraftCall
from vecgrad.plan.fuse import Step
from vecgrad.plan.lower import Lowering
from vecgrad.spec.errors import CompileError
from vecgrad.spec.kernel import RECORD_FIELDS, FlatMapSpec, FlatMeasureSpec, FlatSumSpec
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.scalar import Expr, Operand, Scalar, substitute

# Entries whose sum is one task: with two arrays of float32 32 KB, and enough tasks for the threads from 100,000 entries on.
SUM_BLOCK = 4096


@dataclass(frozen=True)
class Update:
    """The update rule as a graph over the flat arrays (``graph.build.record_update``) and its state's names.

    factors: of the learning rate and the weight decay, by where a parameter begins; (1, 1) for others. With ``follow``, a
    graph (``graph.build.record_average``), the state "average" follows what lies behind the trained entries too, up to ``total``.
    """

    graph: Graph
    state: tuple[str, ...]
    scalars: tuple[str, ...]
    factors: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    follow: Graph | None = None
    total: int = 0


def add_update(
    draft: Draft, lowering: Lowering, update: Update, entries: int, dtype: str
) -> list[tuple[int, ...]]:
    """Adds the phases of the update; the records of the table behind those of the sums.

    The slabs that are still apart meet in the phase of the rule itself, but where sums over all of the gradient come first.
    """
    names = ("w", "g", *update.state)
    rule = _Inlined(update.graph, names)
    exprs = tuple(rule.expression(update.graph.outputs[name]) for name in ("w", *update.state))
    arrays = _arrays(update, entries, dtype)
    if rule.numbers:
        lowering.finish_sums()
    numbers = _measure(draft, lowering, rule, [arrays[name] for name in names], entries, dtype)
    spec = FlatMapSpec(exprs, len(names), dtype, lowering.scalars, len(rule.numbers))
    arguments = [Buffer(0, False, "table"), *(arrays[name] for name in names)]
    arguments += [arrays[name] for name in ("w", *update.state)] + numbers
    change = _call(spec, arguments, update.graph, entries)
    count = sum(-(-a.length // SEGMENT) for a in lowering.accumulators)
    if any(a.summed for a in lowering.accumulators):
        lowering.finish_sums()
        draft.over_tasks([change], count, "update")
    else:
        draft.over_tasks([lowering.sum_call(0, count), change], count, "update")
    if update.follow is None or update.total <= entries:
        return []
    follow = _Inlined(update.follow, ("w", "average"))
    spec = FlatMapSpec((follow.expression(update.follow.outputs["average"]),), 2, dtype, lowering.scalars)
    table = Buffer(0, False, "table", count * 8 * RECORD_FIELDS)
    records = [
        record(0, 0, 0, first, 0, min(SEGMENT, update.total - first))
        for first in range(entries, update.total, SEGMENT)
    ]
    arguments = [table, arrays["w"], arrays["average"], arrays["average"]]
    draft.over_tasks([_call(spec, arguments, update.follow, update.total - entries)], len(records), "update")
    return records


def _arrays(update: Update, entries: int, dtype: str) -> dict[str, Buffer]:
    """The flat arrays by name; those of the state are as long as the parameters'."""
    stride = max(update.total, entries) * ITEM_BYTES[dtype]
    arrays = {"w": Buffer(0, False, "parameters"), "g": Buffer(0, False, "gradients")}
    return arrays | {name: Buffer(0, False, "state", i * stride) for i, name in enumerate(update.state)}


def _measure(
    draft: Draft, lowering: Lowering, rule: _Inlined, arrays: list[Buffer], entries: int, dtype: str
) -> list[Buffer]:
    """Phases that find the rule's numbers; where they will be."""
    if not rule.numbers:
        return []
    item, sums = ITEM_BYTES[dtype], tuple(rule.sums.values())
    blocks = -(-entries // SUM_BLOCK)
    stride = -(-blocks // 16) * 16
    partials = draft.block(len(sums) * stride * item)
    numbers = draft.block(len(rule.numbers) * item)
    first = FlatSumSpec(sums, len(arrays), entries, SUM_BLOCK, stride, dtype, lowering.scalars)
    then = FlatMeasureSpec(tuple(rule.numbers.values()), len(sums), blocks, stride, dtype, lowering.scalars)
    draft.over_tasks([_call(first, [*arrays, partials], rule.graph, entries)], first.tasks, "update")
    draft.over_tasks([_call(then, [partials, numbers], rule.graph, 1)], 1, "update")
    return [numbers]


def _call(
    spec: FlatMapSpec | FlatSumSpec | FlatMeasureSpec, buffers: list[Buffer], graph: Graph, units: int
) -> DraftCall:
    maps = tuple(node for node in graph.live() if node.op == "map")
    step = Step("update", None, (), spec.exprs[0], (), (), maps)
    return DraftCall(spec, tuple(Argument(buffer) for buffer in buffers), step, "update", units)


class _Inlined:
    """An update's graph as expressions of its inputs. What has one entry is a number that is known before: it is made of sums."""

    def __init__(self, graph: Graph, names: tuple[str, ...]) -> None:
        self.graph = graph
        self._names = names
        self.sums: dict[Ref, Expr] = {}
        self.numbers: dict[Ref, Expr] = {}
        self._known: dict[Ref, Expr] = {}

    def expression(self, ref: Ref) -> Expr:
        """At every entry."""
        if ref not in self._known:
            self._known[ref] = self._expression(ref)
        return self._known[ref]

    def _expression(self, ref: Ref) -> Expr:
        node = ref.node
        if node.op == "input":
            return Operand(self._names.index(str(node.attribute)))
        if ref.shape == (1,):
            if ref not in self.numbers:
                self.numbers[ref] = self._number(ref)
            return Scalar(f"measured.{list(self.numbers).index(ref)}")
        if node.op != "map" or not isinstance(node.attribute, Expr):
            raise CompileError(
                f"an update rule is made of maps and of sums over all entries, not of {node.op}"
            )
        return substitute(node.attribute, tuple(self.expression(r) for r in node.inputs))

    def _number(self, ref: Ref) -> Expr:
        """Of the sums, which are numbered as they are found."""
        node = ref.node
        if node.op == "map" and isinstance(node.attribute, Expr):
            return substitute(node.attribute, tuple(self._number(r) for r in node.inputs))
        if node.op != "reduce_sum" or node.inputs[0].shape == (1,):
            raise CompileError(f"an update rule's number is made of sums over all entries, not of {node.op}")
        if ref not in self.sums:
            known = len(self.numbers)
            self.sums[ref] = self.expression(node.inputs[0])
            if len(self.numbers) > known:
                raise CompileError("an update rule's sum cannot depend on another sum")
        return Operand(list(self.sums).index(ref))
