"""How the learning rate moves while a network is trained: a factor of the optimizer's own, from step to step.

The rate is a runtime value of a step, so a schedule never recompiles anything. Schedules go by the share of all steps that are
done: the same one serves any number of epochs and images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules: ``factor`` says by what the optimizer's learning rate is multiplied."""

    @property
    def warming(self) -> float:
        """The share of all steps that go into a warm-up; a training of which that is less than one step begins behind it."""
        return 0.0

    def factor(self, progress: float) -> float:
        """At ``progress``, the share of all steps that are done: 0 ≤ progress < 1."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The class and its fields, as ``from_json`` takes them."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {
            key: value.to_json() if isinstance(value, Schedule) else value for key, value in told.items()
        }
        return {"class": type(self).__name__, **plain}


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
        if not isinstance(self.at, (tuple, list)):
            raise ArgumentError(f"at must be the milestones, such as (0.5, 0.75), got {self.at!r}")
        object.__setattr__(self, "at", tuple(self.at))
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

    @property
    def warming(self) -> float:
        return self.warmup

    def factor(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / (1.0 - self.warmup) if self.warmup < 1.0 else 1.0
        return _eased(1.0, self.final, rest)


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from 1 down to ``final``: 1 − (1 − final) · progress.

    >>> Linear(final=0.2).factor(0.5)
    0.6
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        _share((self.final,), "final")

    def factor(self, progress: float) -> float:
        return 1.0 - (1.0 - self.final) * progress


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from ``start`` to 1 within the share ``peak`` of all steps, then down to ``final`` (Smith 2018).

    Both along half a cosine, or ``linear``. The optimizer's learning rate is the largest one. The defaults are PyTorch's
    OneCycleLR's (div_factor 25, final_div_factor 1e4); momentum stays as it is.

    >>> [round(OneCycle().factor(progress), 3) for progress in (0, 0.3, 1)]
    [0.04, 1.0, 0.0]
    """

    peak: float = 0.3
    start: float = 0.04
    final: float = 4e-6
    linear: bool = False

    def __post_init__(self) -> None:
        for name in ("peak", "start", "final"):
            _share((getattr(self, name),), name)

    def factor(self, progress: float) -> float:
        move = _straight if self.linear else _eased
        if progress < self.peak:
            return move(self.start, 1.0, progress / self.peak)
        rest = (progress - self.peak) / (1.0 - self.peak) if self.peak < 1.0 else 1.0
        return move(1.0, self.final, rest)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight line from ``start`` to 1 during the first ``share`` of all steps, then the whole of another schedule.

    >>> [round(Warmup(Linear(), share=0.2).factor(progress), 3) for progress in (0, 0.1, 0.2, 0.6, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    then: Schedule = field(default_factory=Constant)
    share: float = 0.1
    start: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.then, Schedule):
            raise ArgumentError(f"then must be a Schedule, such as Cosine(), got {self.then!r}")
        _share((self.share,), "share")
        _share((self.start,), "start")

    @property
    def warming(self) -> float:
        return self.share

    def factor(self, progress: float) -> float:
        if progress < self.share:
            return _straight(self.start, 1.0, progress / self.share) * self.then.factor(0.0)
        return self.then.factor((progress - self.share) / (1.0 - self.share) if self.share < 1.0 else 0.0)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "steps": Steps,
    "cosine": Cosine,
    "linear": Linear,
    "one_cycle": OneCycle,
}
_CLASSES = {cls.__name__: cls for cls in (*SCHEDULES.values(), Warmup)}


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


def from_json(told: Mapping[str, Any]) -> Schedule:
    """The schedule that ``Schedule.to_json`` told of. Raises ArgumentError for another class or other fields.

    >>> from_json(Warmup(Cosine(final=0.1), share=0.2).to_json())
    Warmup(then=Cosine(warmup=0.0, final=0.1), share=0.2, start=0.0)
    """
    cls: Callable[..., Schedule] | None = _CLASSES.get(str(told.get("class")))
    if cls is None:
        raise ArgumentError(f"there is no schedule {told.get('class')!r}; there are {', '.join(_CLASSES)}")
    given = {key: value for key, value in told.items() if key != "class"}
    for key, value in given.items():
        if isinstance(value, Mapping):
            given[key] = from_json(value)
        elif isinstance(value, list):
            given[key] = tuple(value)
    try:
        return cls(**given)
    except TypeError as error:
        raise ArgumentError(f"{told['class']} cannot be made of {given}: {error}") from None


def _straight(begin: float, end: float, share: float) -> float:
    return begin + (end - begin) * share


def _eased(begin: float, end: float, share: float) -> float:
    """Half a cosine from ``begin`` to ``end``."""
    return end + (begin - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _share(values: tuple[float, ...], what: str) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ArgumentError(f"{what} must be a number from 0 to 1, got {value!r}")
