"""What an update rule is: new parameters and new state from parameters, gradient and state, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True)
class Update:
    """Base of all update rules. ``learning_rate`` is α; it may be overridden at each step without recompiling."""

    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0.0)

    def state(self) -> tuple[str, ...]:
        """Names of the arrays that the rule keeps, one entry per parameter entry, zero at first."""
        return ()

    def scalars(self, step: int) -> dict[str, float]:
        """Runtime scalars of its own at step 1, 2, …, beside "learning_rate"."""
        return {}

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(new w, new state) from w, the gradient g = ∂z/∂w and the state s, all flat arrays."""
        raise NotImplementedError


def number(value: object, what: str, least: float, below: float = float("inf")) -> None:
    """ArgumentError unless least ≤ value < below."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < below:
        upper = "" if below == float("inf") else f" and below {below:g}"
        raise ArgumentError(f"{what} must be a number of at least {least:g}{upper}, got {value!r}")
