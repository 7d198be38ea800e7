"""An update rule as kernel calls: what must be measured of all entries first, then one pass in which the rule changes them.

What the calls are stands here, when they are made in ``plan.schedule``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vecgrad.graph.nodes import Graph, Ref
from vecgrad.plan.accumulate import SEGMENT, Accumulator, record
from vecgrad.plan.draft import Argument, Buffer, Draft, DraftCall
from vecgrad.plan.fuse import Step
from vecgrad.spec.errors import CompileError
from vecgrad.spec.kernel import RECORD_BYTES, FlatMapSpec, FlatMeasureSpec, FlatSumSpec, WeightBlocks
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


class Rule:
    """The calls of an update of ``entries`` trained entries. scalars: the plan's, in their order."""

    def __init__(self, update: Update, entries: int, dtype: str, scalars: tuple[str, ...]) -> None:
        self._update, self._entries, self._dtype, self._scalars = update, entries, dtype, scalars
        self._written = ("w", *update.state)
        inputs = ("w", "g", *update.state)
        self._rule = _Inlined(update.graph, inputs)
        exprs = tuple(self._rule.expression(update.graph.outputs[name]) for name in self._written)
        numbers = len(self._rule.numbers)
        self._spec = FlatMapSpec(exprs, len(inputs), inputs.index("g"), dtype, scalars, numbers)
        # Each array of the state is as long as the parameters'.
        stride = max(update.total, entries) * ITEM_BYTES[dtype]
        self._arrays = {"w": Buffer(0, False, "parameters"), "g": Buffer(0, False, "gradients")}
        self._arrays |= {name: Buffer(0, False, "state", i * stride) for i, name in enumerate(update.state)}
        self._numbers: list[Buffer] = []

    @property
    def measures(self) -> bool:
        """Whether it needs numbers of all entries: then every gradient must be at its place in its own array."""
        return bool(self._rule.numbers)

    def measure(self, draft: Draft) -> None:
        """Adds the phases that find these numbers; the gradients are complete."""
        item, sums = ITEM_BYTES[self._dtype], tuple(self._rule.sums.values())
        numbers = tuple(self._rule.numbers.values())
        blocks = -(-self._entries // SUM_BLOCK)
        stride = -(-blocks // 16) * 16
        partials = draft.block(len(sums) * stride * item)
        self._numbers = [draft.block(len(numbers) * item)]
        first = FlatSumSpec(
            sums, len(self._arrays), self._entries, SUM_BLOCK, stride, self._dtype, self._scalars
        )
        then = FlatMeasureSpec(numbers, len(sums), blocks, stride, self._dtype, self._scalars)
        graph = self._rule.graph
        summed = _call(first, [*self._arrays.values(), partials], graph, self._entries)
        draft.over_tasks([summed], first.tasks, "update")
        draft.over_tasks([_call(then, [partials, *self._numbers], graph, 1)], 1, "update")

    def written(self, a: Accumulator) -> list[Buffer]:
        """The arrays that it writes, from where the parameter of ``a`` begins."""
        offset = a.home * ITEM_BYTES[self._dtype]
        arrays = (self._arrays[name] for name in self._written)
        return [Buffer(0, False, array.base, array.offset + offset) for array in arrays]

    def change_at_once(self, first: int, a: Accumulator, blocks: WeightBlocks) -> DraftCall:
        """The call that changes a block of a parameter, by the gradient that a call of the same task has left in ``a``'s slab."""
        arrays = self._arrays | {"g": a.slab}
        buffers = [_table(first), *arrays.values(), *(arrays[name] for name in self._written)]
        return _call(replace(self._spec, blocks=blocks), buffers, self._rule.graph, a.length)

    def change(self, first: int, group: Sequence[Accumulator], alone: Buffer | None = None) -> DraftCall:
        """The call that changes the parameters of ``group``, whose records begin at number ``first``.

        alone: the one gradient of the group, where it lies in the arena.
        """
        arrays = self._arrays if alone is None else self._arrays | {"g": Buffer(0, False, "arena")}
        buffers = [_table(first), *arrays.values(), *(arrays[name] for name in self._written), *self._numbers]
        units = sum(a.length for a in group if a.parameter)
        # The kernel finds the gradient by the table; it is listed so that it lives until here.
        return _call(self._spec, buffers, self._rule.graph, units, () if alone is None else (alone,))

    def follow(self, draft: Draft, first: int) -> list[tuple[int, ...]]:
        """Adds the phase in which the average follows statistics; its records, which begin at number ``first``."""
        graph, entries, total = self._update.follow, self._entries, self._update.total
        if graph is None or total <= entries:
            return []
        average = _Inlined(graph, ("w", "average")).expression(graph.outputs["average"])
        spec = FlatMapSpec((average,), 2, None, self._dtype, self._scalars)
        buffers = [_table(first), self._arrays["w"], self._arrays["average"], self._arrays["average"]]
        places = range(entries, total, SEGMENT)
        draft.over_tasks([_call(spec, buffers, graph, total - entries)], len(places), "update")
        return [record(0, 0, 0, 0, 0, place, min(SEGMENT, total - place)) for place in places]


def _table(first: int) -> Buffer:
    return Buffer(0, False, "table", first * RECORD_BYTES)


def _call(
    spec: FlatMapSpec | FlatSumSpec | FlatMeasureSpec, buffers: Sequence[Buffer], graph: Graph, units: int,
    keeps: tuple[Buffer, ...] = (),
) -> DraftCall:  # fmt: skip
    maps = tuple(node for node in graph.live() if node.op == "map")
    step = Step("update", None, (), spec.exprs[0], (), (), maps)
    return DraftCall(spec, tuple(map(Argument, buffers)), step, "update", units, keeps=keeps)


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
