"""What a kernel answers to a spec: an offer with its price, or a refusal with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.machine import Machine


@dataclass(frozen=True)
class Offer:
    """A kernel can do it. Work and traffic are those of one unit: an image, or an entry of a flat array.

    flops: floating-point operations, a multiply-add being two.
    bytes_read, bytes_written: each operand once.
    seconds: predicted for one core; it chooses between kernels and is printed, nothing more.
    reason: why this price, in a few words.
    """

    kernel: str
    flops: int
    bytes_read: int
    bytes_written: int
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Refusal:
    """A kernel cannot do it, and why; "" where nobody would expect it to."""

    kernel: str
    reason: str


def predicted(
    machine: Machine, flops: float, nbytes: float, dtype: str = "float32", share: float = 1.0
) -> float:
    """Seconds for so much arithmetic and traffic: the slower of the two, at ``share`` of the machine's best.

    Chunks run depth first, so a kernel's operands are taken to lie in the second-level cache.

    >>> from vecgrad.spec.machine import AVX512
    >>> predicted(AVX512, flops=180e9, nbytes=0)
    1.0
    """
    peak = machine.gflops * (0.5 if dtype == "float64" else 1.0)
    return max(flops / peak, nbytes / machine.l2_gbs) * 1e-9 / share
