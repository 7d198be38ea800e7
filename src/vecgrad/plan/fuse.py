"""Fusion: maps join each other, then their producer's epilogue or their consumer's reduction; poolings join convolutions.

Five rules, the first four applied in the graph's order, the last one to the steps that they leave; each one saves a
pass over memory:
1. A map whose only reader is a map of the same shape is computed inside that map.
2. A map whose operand is a convolution, a pooling or one of their gradients with no other reader becomes its epilogue.
3. A map whose only reader is a reduction is computed inside the reduction.
4. A reshape that only renames axes is no step at all.
5. A max pooling, with its maps, of what a convolution makes and nothing else reads joins the convolution. Whether its kernel
   can pool is decided when it is chosen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from vecgrad.graph.nodes import Attribute, Graph, Node, Ref
from vecgrad.spec.scalar import Expr, Operand, substitute
from vecgrad.spec.scalar import nodes as expression_nodes

PRODUCERS = frozenset({"conv", "conv_dx", "max_pool", "max_pool_dx", "avg_pool", "avg_pool_dx"})
REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_pixels"})

# An expression is a tree: a value that is used twice is written twice, so a chain of n activations would grow
# as 2ⁿ. Beyond this many nodes a kernel takes longer to compile than a pass over memory takes in a whole run.
MOST_NODES = 256


@dataclass(frozen=True)
class Step:
    """One operation of the plan: a primitive with the maps that joined it.

    inputs: the primitive's own. For a producer, ``expr`` works on Operand(0), its result, and Operand(1…) are ``extra``; for a
    map or a reduction, Operand(i) is ``extra[i]``. results: the graph's values that the step makes.
    nodes: all nodes it stands for, the primitive first. pool: the step of the max pooling that joined a convolution; results
    are then the pooling's, and pool.inputs[0] is what the convolution itself makes.
    """

    op: str
    attribute: Attribute
    inputs: tuple[Ref, ...]
    expr: Expr
    extra: tuple[Ref, ...]
    results: tuple[Ref, ...]
    nodes: tuple[Node, ...]
    pool: Step | None = None

    @property
    def reads(self) -> tuple[Ref, ...]:
        return self.inputs + self.extra + (self.pool.extra if self.pool else ())

    @property
    def apart(self) -> tuple[Step, Step]:
        """The convolution and the max pooling that joined it, each as a step of its own."""
        assert self.pool is not None
        own = tuple(node for node in self.nodes if node not in self.pool.nodes)
        return replace(self, results=self.pool.inputs, nodes=own, pool=None), self.pool

    @property
    def scope(self) -> str:
        """The layers it serves, in order: "0+1" when an activation joined its convolution."""
        return "+".join(dict.fromkeys(node.scope for node in self.nodes if node.scope))

    @property
    def formula(self) -> str:
        return ", ".join(dict.fromkeys(node.formula for node in self.nodes if node.formula))


def renamed(ref: Ref) -> Ref:
    """The value behind reshapes that move nothing: another rank of the same map, or any shape of an unbatched array."""
    while ref.node.op == "reshape":
        source = ref.node.inputs[0]
        if ref.batched and source.type.map != ref.type.map:
            break
        ref = source
    return ref


def seen(ref: Ref) -> Ref:
    """What a map or a reduction reads: the value behind reshapes that leave its pixels and channels as they are."""
    while ref.node.op == "reshape" and ref.node.inputs[0].type.map == ref.type.map:
        ref = ref.node.inputs[0]
    return ref


def fuse(graph: Graph) -> list[Step]:
    """The graph's live nodes as steps, in an order in which everything is made before it is read."""
    live = graph.live()
    readers: dict[Ref, set[int]] = defaultdict(set)
    for node in live:
        if node.op == "reshape" and renamed(Ref(node)) != Ref(node):
            continue
        for ref in node.inputs:
            readers[renamed(ref)].add(node.number)
    for ref in graph.outputs.values():
        readers[renamed(ref)].add(-1)
    fusion = _Fusion(readers)
    for node in live:
        fusion.add(node)
    return _pooled(fusion.steps, {renamed(ref) for ref in graph.outputs.values()})


def _pooled(steps: list[Step], outputs: set[Ref]) -> list[Step]:
    """Rule 5. The joined step stands where the pooling stood: everything is made by then. Of its results the index is
    one only if something reads it."""
    readers = Counter([*outputs, *(ref for step in steps for ref in step.reads)])
    makers = {step.results[0]: step for step in steps if step.op == "conv"}
    found: dict[Ref, Step] = {}
    for step in steps:
        maker = makers.get(step.inputs[0]) if step.op == "max_pool" else None
        if maker is not None and readers[step.inputs[0]] == 1:
            results = tuple(ref for ref in step.results if ref == step.results[0] or readers[ref])
            joined = replace(maker, results=results, nodes=maker.nodes + step.nodes, pool=step)
            found[maker.results[0]] = found[step.results[0]] = joined
    return [
        found.get(step.results[0], step)
        for step in steps
        if step.results[0] not in found or step.op == "max_pool"
    ]


class _Fusion:
    def __init__(self, readers: dict[Ref, set[int]]) -> None:
        self.readers = readers
        self.steps: list[Step] = []
        self._maker: dict[Ref, Step] = {}
        self._into: dict[int, int] = {}

    def add(self, node: Node) -> None:
        if node.op == "input" or (node.op == "reshape" and renamed(Ref(node)) != Ref(node)):
            return
        if node.op == "map":
            self._add_map(node)
        elif node.op in REDUCTIONS:
            self._add_reduction(node)
        else:
            inputs = tuple(renamed(ref) for ref in node.inputs)
            results = tuple(Ref(node, port) for port in range(len(node.types)))
            self._put(Step(node.op, node.attribute, inputs, Operand(0), (), results, (node,)))

    def _add_map(self, node: Node) -> None:
        expr, extra, nodes = self._inlined(node)
        step = Step("map", None, (), expr, extra, (Ref(node),), nodes)
        producer = self._producer(node, expr, extra)
        if producer is not None:
            made = producer.results[0]
            others = tuple(ref for ref in extra if ref != made)
            kept = producer.extra + tuple(ref for ref in others if ref not in producer.extra)
            place = {ref: Operand(1 + i) for i, ref in enumerate(kept)}
            values = tuple(producer.expr if ref == made else place[ref] for ref in extra)
            self._absorb(producer, node)
            step = replace(
                producer,
                expr=substitute(expr, values),
                extra=kept,
                results=(Ref(node), *producer.results[1:]),
                nodes=producer.nodes + nodes,
            )
        self._put(step)

    def _add_reduction(self, node: Node) -> None:
        source = self._seen(node.inputs[0])
        expr: Expr = Operand(0)
        extra: tuple[Ref, ...] = (source,)
        nodes: tuple[Node, ...] = (node,)
        maker = self._maker.get(source)
        if maker is not None and maker.op == "map" and self._only_reader(source, node):
            self._absorb(maker, node)
            expr, extra, nodes = maker.expr, maker.extra, (node, *maker.nodes)
        self._put(Step(node.op, None, (), expr, extra, (Ref(node),), nodes))

    def _inlined(self, node: Node) -> tuple[Expr, tuple[Ref, ...], tuple[Node, ...]]:
        """The map's body with the maps that only it reads put into it; its operands, each once."""
        assert isinstance(node.attribute, Expr)
        operands: list[Ref] = []
        nodes = [node]
        values: list[Expr] = []

        def place(ref: Ref) -> Operand:
            if ref not in operands:
                operands.append(ref)
            return Operand(operands.index(ref))

        inlined: dict[Ref, Expr] = {}
        room = MOST_NODES - _size(node.attribute)
        for given in node.inputs:
            ref = self._seen(given)
            maker = self._maker.get(ref)
            growth = _growth(node.attribute, [i for i, r in enumerate(node.inputs) if seen(r) == ref], maker)
            if ref in inlined:
                values.append(inlined[ref])
            elif (
                maker is not None
                and maker.op == "map"
                # A map that was put into this one before may read the value too: then it must exist.
                and ref not in operands
                and self._only_reader(ref, node)
                and ref.type.map == node.types[0].map
                and ref.batched == node.types[0].batched
                and growth <= room
            ):
                room -= growth
                self._absorb(maker, node)
                inlined[ref] = substitute(maker.expr, tuple(place(r) for r in maker.extra))
                values.append(inlined[ref])
                nodes = [*maker.nodes, *nodes]
            else:
                values.append(place(ref))
        return substitute(node.attribute, tuple(values)), tuple(operands), tuple(nodes)

    def _seen(self, ref: Ref) -> Ref:
        """``seen(ref)``; an unbatched array under another shape gets a step, which only says how to read it."""
        ref = seen(ref)
        if ref.node.op == "reshape" and not ref.batched and ref not in self._maker:
            source = renamed(ref)
            self._put(Step("reshape", None, (source,), Operand(0), (), (ref,), (ref.node,)))
        return ref

    def _producer(self, node: Node, expr: Expr, extra: tuple[Ref, ...]) -> Step | None:
        """The latest made operand whose step can take this map as its epilogue.

        The step will stand where the map stands, so nothing may have read its other results before.
        """
        kind = node.types[0]
        read = {ref for step in self.steps for ref in step.reads}
        for step in reversed(self.steps):
            made = step.results[0]
            if (
                step.op in PRODUCERS
                and made in extra
                and read.isdisjoint(step.results[1:])
                and _size(expr) + _growth(expr, [extra.index(made)], step) <= MOST_NODES
                and self._only_reader(made, node)
                and made.type.map == kind.map
                and all(_beside(ref, made) for ref in (*extra, *step.extra) if ref != made)
            ):
                return step
        return None

    def _only_reader(self, ref: Ref, node: Node) -> bool:
        """Whether ``node``, with what was put into it, is all that ever reads ``ref``."""
        return {self._standing(number) for number in self.readers[ref]} <= {node.number}

    def _standing(self, number: int) -> int:
        while number in self._into:
            number = self._into[number]
        return number

    def _absorb(self, step: Step, node: Node) -> None:
        """``step`` is from now on part of what ``node`` stands for."""
        self.steps.remove(step)
        for absorbed in step.nodes:
            if absorbed.number != node.number:
                self._into[absorbed.number] = node.number

    def _put(self, step: Step) -> None:
        self.steps.append(step)
        for ref in step.results:
            self._maker[ref] = step


def _size(expr: Expr) -> int:
    return sum(1 for _ in expression_nodes(expr))


def _growth(expr: Expr, operands: list[int], maker: Step | None) -> int:
    """Nodes that ``expr`` gains when what ``maker`` computes takes the place of its ``operands``."""
    if maker is None:
        return 0
    uses = sum(isinstance(part, Operand) and part.index in operands for part in expression_nodes(expr))
    return uses * (_size(maker.expr) - 1)


def _beside(ref: Ref, made: Ref) -> bool:
    """Whether an epilogue on ``made`` can read ``ref`` at the same place."""
    h, w, c = ref.type.map
    same_pixels = (h, w) == made.type.map[:2]
    if ref.batched:
        return same_pixels and c in (1, made.type.map[2])
    return (h, w) == (1, 1) and c in (1, made.type.map[2])
