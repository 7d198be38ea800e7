"""What the choice of an algorithm shares among directions: what a program may ask for, the words for what was not chosen."""

from __future__ import annotations

from typing import Literal

from vecgrad.spec.geometry import Conv

Algorithm = Literal["auto", "direct"]


def asked_for(algorithm: Algorithm) -> str:
    """Why no algorithm but the direct one may serve; "" where others may."""
    return "" if algorithm == "auto" else "the program asks for direct convolutions"


def comparison(cycles: float, chosen: float) -> str:
    """Why not, in the cost model's words."""
    return f"{cycles / 1e3:.1f} against {chosen / 1e3:.1f} thousand cycles an image"


def note(kernel: str, conv: Conv, reason: str) -> tuple[str, ...]:
    """Refusals that say something: nobody expects Strassen's algorithm of more than a product of matrices, and others of one."""
    matrices = conv.window.taps == 1
    said = reason and matrices == kernel.endswith(".strassen") and conv.window.out_size != (1, 1)
    return (f"{kernel}: {reason}",) if said else ()
