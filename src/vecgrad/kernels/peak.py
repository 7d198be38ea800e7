"""The ruler: how fast this core multiplies and adds when nothing else is in the way."""

from __future__ import annotations

from vecgrad.kernels.builder import Builder
from vecgrad.kernels.offer import Offer, predicted
from vecgrad.spec.kernel import PeakSpec
from vecgrad.spec.machine import Machine

# A result after 4 cycles on 2 pipes needs 8 chains; 12 leave room for an uneven schedule, and fit 16 registers.
CHAINS = 12


def generate(spec: PeakSpec, machine: Machine) -> str:
    """LLVM IR of the loop: one multiply-add per chain and turn, nothing that touches memory."""
    b = Builder(machine, spec.dtype)
    block = b.operand(0)
    factor = b.load(b.vector, block, b.item)
    chains = [b.load(b.vector, b.at(block, 64 * (n + 1)), b.item) for n in range(CHAINS)]
    with b.loop(0, spec.turns, carried=chains) as loop:
        loop.again(*[b.fma(factor, factor, chain) for chain in loop.carried])
    total = loop.results[0]
    for chain in loop.results[1:]:
        total = b.fadd(total, chain)
    b.store(total, block, b.item)
    return b.function(spec.name)


def offer(spec: PeakSpec, machine: Machine) -> Offer:
    """Any machine has a peak."""
    flops = 2 * CHAINS * machine.lanes(spec.dtype) * spec.turns
    return Offer("peak.chains", flops, 0, 0, predicted(machine, flops, 0, spec.dtype))
