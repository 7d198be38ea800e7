"""Plans of whole networks, and the drafts that they were made from."""

from __future__ import annotations

from unittest.mock import patch

from tests.networks import Network

from vecgrad.graph.build import Wanted, record, record_update
from vecgrad.losses import LOSSES
from vecgrad.plan import Plan, Update, make
from vecgrad.plan.draft import Draft
from vecgrad.program.flat import FlatLayout
from vecgrad.spec.machine import Machine
from vecgrad.updates import Update as Rule

TRAINING = Wanted(training=True, loss=True, gradients=True, statistics=True)


def planned(
    network: Network,
    machine: Machine,
    rule: Rule | None = None,
    wanted: Wanted = TRAINING,
    dtype: str = "float32",
) -> Plan:
    """The plan of a network's training step (without ``rule``: of what is wanted) for any machine."""
    model, shape = network.model, network.shape
    layout = FlatLayout.of(model.parameters(shape))
    shapes = {name: slot.shape for name, slot in layout.slots.items()}
    out = model.infer(shape)
    graph = record(model, LOSSES[network.loss](), shape, out, shapes, dtype, wanted, layout.trained)
    update = None
    if rule is not None:
        update = Update(record_update(rule, layout.entries, dtype), rule.arrays(), tuple(rule.numbers(1)))
    offsets = {name: slot.offset for name, slot in layout.slots.items()}
    return make(graph, machine, dtype, network.batch, offsets, layout.entries, update)


def drafted(network: Network, machine: Machine, rule: Rule | None = None) -> tuple[Draft, Plan]:
    """The plan of a training step (without ``rule``: of its gradients) and its draft."""
    drafts: list[Draft] = []

    class Kept(Draft):
        def __init__(self, batch_size: int, chunks: int, images_per_chunk: int) -> None:
            super().__init__(batch_size, chunks, images_per_chunk)
            drafts.append(self)

    with patch("vecgrad.plan.make.Draft", Kept):
        plan = planned(network, machine, rule)
    [draft] = drafts
    return draft, plan
