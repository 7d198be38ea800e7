"""The cost of a register tile: what a bundle of its steps takes, in cycles.

All tiles give the same bits, so this only has to be right about speed.
"""

from __future__ import annotations

from vecgrad.spec.machine import Machine

# Two multiply-adds and two loads a cycle, a multiply-add's result after four cycles: every x86 core with
# AVX2 since Haswell and Zen 2, and Arm's large cores (vendors' optimisation manuals); one cycle more for what
# is not issued at once.
_PER_CYCLE = 2
_LATENCY = 4 + 1
# Bytes of weights a cycle that reach the registers from L2 beside everything else (bench/conv.py: tiles that
# need more fall behind).
_L2_BYTES = 24
# The part of a tile's loads that is not hidden behind its arithmetic: it decides between equal tiles.
_NOT_HIDDEN = 0.1
# More vectors of accumulators leave too few scalars to share a load with.
MOST_VECTORS = 6
# Steps that share scalars: beyond, their vectors take the registers that accumulators need.
MOST_SHARED = 5


def most_scalars(machine: Machine, vectors: int, share: int) -> int:
    """The most scalars that a tile of ``vectors`` vectors and bundles of ``share`` steps can have.

    Registers: accumulators, the bundle's vectors, a broadcast scalar, one in reserve; one more where a scalar has
    one use, whose result then takes its register; three more for products on their way without a fused
    multiply-add (found by counting spills for a dozen processors).

    >>> from vecgrad.spec.machine import AVX2, AVX512
    >>> most_scalars(AVX512, 4, 1), most_scalars(AVX512, 2, 3), most_scalars(AVX2, 2, 1)
    (6, 12, 6)
    """
    others = (2 if machine.fma else 5) + (1 if vectors == 1 else 0)
    return (machine.registers - others - share * vectors) // vectors


def bundle_cycles(scalars: float, vectors: int, share: int, loads: int, bytes_from_l2: float = 0.0) -> float:
    """Cycles of a bundle of ``share`` steps with ``loads`` loads of scalars: the largest of arithmetic, loads,
    latency and weights from L2, and a little for what does not overlap."""
    work = share * scalars * vectors / _PER_CYCLE
    reads = (loads + share * vectors) / _PER_CYCLE
    return max(work, reads, share * _LATENCY, bytes_from_l2 / _L2_BYTES) + _NOT_HIDDEN * reads


def distinct(count: int, step: int, share: int, tap: int) -> int:
    """Different places among those that ``share`` taps, ``tap`` apart, have for ``count`` neighbours ``step`` apart.

    >>> distinct(11, 1, 3, 1), distinct(11, 2, 3, 1)
    (13, 23)
    """
    return len({n * step + s * tap for n in range(count) for s in range(share)})
