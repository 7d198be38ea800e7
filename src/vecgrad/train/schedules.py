"""How the learning rate moves while a network is trained: a factor of the optimizer's own, from step to step.

The rate is a runtime value of a step, so a schedule never recompiles anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules: ``factor`` says by what the optimizer's learning rate is multiplied."""

    def factor(self, progress: float) -> float:
        """At ``progress``, the share of all steps that are done: 0 ≤ progress < 1."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The optimizer's learning rate throughout."""

    def factor(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Steps(Schedule):
    """Multiplied by ``by`` at each of the milestones ``at``, which are shares of all steps.

    >>> Steps(at=(0.5, 0.75), by=0.1).factor(0.6)
    0.1
    """

    at: tuple[float, ...] = (0.5, 0.75)
    by: float = 0.1

    def __post_init__(self) -> None:
        _share(self.at, "at")
        _share((self.by,), "by")

    def factor(self, progress: float) -> float:
        return self.by ** sum(progress >= milestone for milestone in self.at)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 down to ``final`` (Loshchilov and Hutter 2017), after a linear ``warmup``.

    >>> [round(Cosine().factor(progress), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.5, 0.0]
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _share((self.warmup,), "warmup")
        _share((self.final,), "final")

    def factor(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / (1.0 - self.warmup) if self.warmup < 1.0 else 1.0
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * rest))


SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "steps": Steps, "cosine": Cosine}


def by_name(schedule: str | Schedule | None) -> Schedule:
    """A schedule from its name or itself; None is constant. Raises ArgumentError for anything else."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]()
    raise ArgumentError(
        f"schedule must be a Schedule or one of {', '.join(map(repr, SCHEDULES))}, got {schedule!r}"
    )


def _share(values: tuple[float, ...], what: str) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ArgumentError(f"{what} must be a number from 0 to 1, got {value!r}")
