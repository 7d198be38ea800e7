"""What a builder hands out: typed values, and loops under construction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """An SSA value or a constant, with its LLVM type."""

    text: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def lanes(self) -> int:
        """Vector length; 1 for a scalar."""
        return int(self.type[1:].split(" ")[0]) if self.type.startswith("<") else 1

    @property
    def element(self) -> str:
        return self.type[1:-1].split(" x ")[1] if self.type.startswith("<") else self.type


Index = Value | int


class Loop:
    """A loop under construction: ``i`` is its counter, ``carried`` the values at the start of a turn.

    The body calls ``again`` once with the values for the next turn; behind the loop, ``results`` holds the last ones.
    """

    def __init__(self, i: Value, carried: list[Value]) -> None:
        self.i = i
        self.carried = carried
        self.results: list[Value] = []
        self._next: list[Value] | None = None

    def again(self, *values: Value) -> None:
        self._next = list(values)
