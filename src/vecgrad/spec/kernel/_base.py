"""What all specifications share: their names, and what happens to an entry before it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from vecgrad.spec.scalar import Expr, Operand
from vecgrad.spec.tensor import Layout


@dataclass(frozen=True)
class KernelSpec:
    """Base of all specifications."""

    @property
    def kind(self) -> str:
        """The operation's short name: conv, map, max_pool, …"""
        name = type(self).__name__.removesuffix("Spec")
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")

    @property
    def name(self) -> str:
        """A symbol name that is the same for equal specs, on every run."""
        text = ";".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{self.kind}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Epilogue:
    """What happens to each entry before it is stored: ``expr`` of Operand(0), the entry itself, and of
    Operand(1…), the entries of ``inputs`` at the same place.

    An input is batched with the output's (H, W) and C or 1 channels, or not batched: a per-channel
    vector (1, 1, C) or a single number (1, 1, 1).
    """

    expr: Expr = Operand(0)  # noqa: RUF009 - frozen
    inputs: tuple[Layout, ...] = ()

    @property
    def trivial(self) -> bool:
        return self.expr == Operand(0)


# Nothing happens: the default wherever an epilogue may be given.
PLAIN = Epilogue()
