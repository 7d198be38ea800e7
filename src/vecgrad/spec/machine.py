"""The machine that code is made for, as data: vectors, registers, caches, features.

A plan and its kernels depend on this record and on nothing else of the host, so a plan can be made
for a machine that is not here, and every instruction set can be tested on one machine by
restricting the record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vecgrad.spec.errors import ArgumentError

DType = Literal["float32", "float64"]
ITEM_BYTES: dict[str, int] = {"float32": 4, "float64": 8, "uint8": 1, "int32": 4}

# Lane reductions always use this many float32 lanes (a wider or narrower machine folds to it), so
# that their order, and with it their bits, is the same on AVX-512 and AVX2.
VIRTUAL_BITS = 512


@dataclass(frozen=True)
class Machine:
    """What a kernel may know about the processor.

    isa: "avx512", "avx2", "baseline" (SSE2, no fused multiply-add) or "neon".
    triple, cpu, features: what LLVM is told; features are LLVM's flags, as "+avx2".
    vector_bits, registers: width and number of vector registers.
    fma: one rounding for a·b + c. Bits are the same on all machines that have it.
    l1, l2, l3: bytes of cache per core (l3: shared).
    gflops: nominal float32 multiply-add peak of one core, 10⁹ flop/s, for predictions only.
    l2_gbs, l3_gbs, dram_gbs: bandwidths of one core, 10⁹ byte/s, for predictions only.
    """

    isa: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    registers: int
    fma: bool
    l1: int = 32 * 1024
    l2: int = 1024 * 1024
    l3: int = 16 * 1024 * 1024
    gflops: float = 100.0
    l2_gbs: float = 150.0
    l3_gbs: float = 40.0
    dram_gbs: float = 15.0

    def lanes(self, dtype: str) -> int:
        """Entries of ``dtype`` in one vector register.

        >>> AVX2.lanes("float32"), AVX2.lanes("float64")
        (8, 4)
        """
        return self.vector_bits // (8 * ITEM_BYTES[dtype])

    def pitch(self, channels: int, dtype: str) -> int:
        """Entries from one pixel to the next inside the arena: whole vectors."""
        lanes = self.lanes(dtype)
        return -(-channels // lanes) * lanes

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")


AVX512 = Machine(
    "avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", (), 512, 32, True, 32 * 1024, 1024 * 1024, gflops=180.0
)
AVX2 = Machine("avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", (), 256, 16, True, gflops=90.0)
BASELINE = Machine("baseline", "x86_64-unknown-linux-gnu", "x86-64", (), 128, 16, False, gflops=25.0)
NEON = Machine(
    "neon", "aarch64-unknown-linux-gnu", "generic", ("+neon",), 128, 32, True, 64 * 1024, gflops=50.0
)

ISAS: dict[str, Machine] = {m.isa: m for m in (AVX512, AVX2, BASELINE, NEON)}


def restricted(machine: Machine, isa: str) -> Machine:
    """``machine`` as if it had only the instruction set ``isa``: its caches, but a narrower LLVM target.

    >>> restricted(AVX512, "avx2").vector_bits
    256
    """
    if isa not in ISAS:
        raise ArgumentError(f"isa must be one of {', '.join(ISAS)}, got {isa!r}")
    if isa == machine.isa:
        return machine
    base = ISAS[isa]
    scale = base.vector_bits / machine.vector_bits * (1.0 if base.fma else 0.5)
    return replace(
        base,
        triple=machine.triple if base.is_x86 == machine.is_x86 else base.triple,
        l1=machine.l1,
        l2=machine.l2,
        l3=machine.l3,
        gflops=machine.gflops * scale,
        l2_gbs=machine.l2_gbs,
        l3_gbs=machine.l3_gbs,
        dram_gbs=machine.dram_gbs,
    )
