"""What an update rule is: new parameters and new state from parameters, gradient and state, entry by entry.

Around the rule itself stand the options that every rule has, in this order: the gradient is clipped, the rule changes the
parameters, slow parameters look ahead, the average follows. All of it is one expression for each array, so one pass over memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.scalar import Expr, lift, minimum, sqrt, where
from vecgrad.spec.tensor import Shape

# Runtime scalars that are a parameter's own and not a step's: factors of the learning rate and of the weight decay.
GROUP_RATE, GROUP_DECAY = "group.rate", "group.decay"
SLOW, AVERAGE = "slow", "average"
# As PyTorch's clip_grad_norm_ has it: a gradient of zero is divided by that.
_CLIP_EPSILON = 1e-6


@dataclass(frozen=True)
class Update:
    """Base of all update rules. ``learning_rate`` is α; it may be overridden at each step without recompiling.

    decay: which parameters ``weight_decay`` is for. "all"; or "weights": those with more than one axis, kernels and matrices,
    but not biases, nor the factors of a normalization.
    groups: (pattern, factor of α, factor of the decay) for parameters whose names match, as ("*.bias", 2, 0); the first that
    matches counts, and where one does it replaces what ``decay`` says. A pattern that matches none is refused by ``compile``.
    clip_norm: the gradient g of all parameters together is replaced by g · min(1, clip_norm / (‖g‖ + 1e-6)).
    lookahead: after every so many steps slow parameters follow, s ← s + β (w − s) with β = lookahead_rate, and w ← s
    (Zhang, Lucas, Hinton and Ba 2019); 0: never.
    average: the decay d of a moving average a ← d a + (1 − d) w of the parameters (Polyak and Juditsky 1992), which begins as
    the first step leaves them. Predictions and evaluations then use it.

    A rule written elsewhere needs ``apply``, and ``state`` and ``scalars`` if it has any; the options come with it.
    """

    learning_rate: float = 0.1
    decay: Literal["all", "weights"] = field(default="all", kw_only=True)
    groups: tuple[tuple[str, float, float], ...] = field(default=(), kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    lookahead: int = field(default=0, kw_only=True)
    lookahead_rate: float = field(default=0.5, kw_only=True)
    average: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0.0)
        if self.decay not in ("all", "weights"):
            raise ArgumentError(f'decay must be "all" or "weights", got {self.decay!r}')
        for group in self.groups:
            if not isinstance(group, tuple) or len(group) != 3 or not isinstance(group[0], str):
                raise ArgumentError(
                    f'groups must be tuples (pattern, rate, decay) such as ("*.bias", 2.0, 0.0), got {group!r}'
                )
            number(group[1], f"the rate of group {group[0]!r}", 0.0)
            number(group[2], f"the decay of group {group[0]!r}", 0.0)
        if self.clip_norm is not None:
            number(self.clip_norm, "clip_norm", 0.0)
        if isinstance(self.lookahead, bool) or not isinstance(self.lookahead, int) or self.lookahead < 0:
            raise ArgumentError(f"lookahead must be a number of steps, 0 for none, got {self.lookahead!r}")
        number(self.lookahead_rate, "lookahead_rate", 0.0)
        if not 0 < self.lookahead_rate <= 1:
            raise ArgumentError(
                f"lookahead_rate must be a share above 0, up to 1, got {self.lookahead_rate!r}"
            )
        if self.average is not None:
            number(self.average, "average", 0.0, 1.0)

    def __str__(self) -> str:
        """The rule with its learning rate and whatever is not as usual."""
        said = [f"learning_rate={self.learning_rate!r}"]
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "learning_rate" and (f.default is MISSING or value != f.default):
                said.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(said)})"

    # --- what a rule states -----------------------------------------------------------------------
    def state(self) -> tuple[str, ...]:
        """Names of the arrays that the rule keeps, one entry per parameter entry, zero at first."""
        return ()

    def scalars(self, step: int) -> dict[str, float]:
        """Runtime scalars of its own at step 1, 2, …, beside "learning_rate"."""
        return {}

    def apply(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(new w, new state) from w, the gradient g = ∂z/∂w and the state s, all flat arrays."""
        raise NotImplementedError

    # --- what a rule is made of -------------------------------------------------------------------
    def rate(self, e: Emitter) -> Expr:
        """α, for a map's body: the step's, times the group's factor where there are groups."""
        rate = e.scalar("learning_rate")
        return rate * e.scalar(GROUP_RATE) if self.groups else rate

    def shrink(self, e: Emitter, weight_decay: float) -> Expr:
        """λ, for a map's body: ``weight_decay`` where this parameter decays."""
        return weight_decay * e.scalar(GROUP_DECAY) if self.grouped else lift(weight_decay)

    def with_decay(self, e: Emitter, g: Any, w: Any, weight_decay: float) -> Any:
        """g + λ w: the gradient of the loss with λ/2 ‖w‖² added."""
        if not weight_decay:
            return g
        shrink = self.shrink(e, weight_decay)
        return e.map(lambda g, w: g + shrink * w, g, w, formula="weight-decay")

    def check(self, names: Collection[str]) -> None:
        """ArgumentError where a group's pattern matches none of the parameters' names."""
        for pattern, _, _ in self.groups:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ArgumentError(
                    f"the optimizer's group {pattern!r} matches no trained parameter of this model; they are "
                    f"{', '.join(names) or 'none'}"
                )

    # --- the whole step ---------------------------------------------------------------------------
    @property
    def grouped(self) -> bool:
        """Whether parameters differ in their factors."""
        return bool(self.groups) or self.decay == "weights"

    def factors(self, name: str, shape: Shape) -> tuple[float, float]:
        """What the learning rate and the weight decay are multiplied by for a parameter.

        >>> Update(groups=(("*.bias", 2.0, 0.0),)).factors("0.bias", (8,))
        (2.0, 0.0)
        """
        for pattern, rate, decay in self.groups:
            if fnmatchcase(name, pattern):
                return float(rate), float(decay)
        return 1.0, float(self.decay == "all" or len(shape) > 1)

    def arrays(self) -> tuple[str, ...]:
        """Names of all arrays that are kept: the rule's state, then "slow" and "average", which begin as the parameters."""
        mine = ((SLOW, self.lookahead > 0), (AVERAGE, self.average is not None))
        return (*self.state(), *(name for name, kept in mine if kept))

    def numbers(self, step: int) -> dict[str, float]:
        """All runtime scalars of step 1, 2, …, beside "learning_rate"."""
        found = dict(self.scalars(step))
        if self.lookahead:
            found["lookahead"] = 0.0 if step % self.lookahead else self.lookahead_rate
        if self.average is not None:
            found["average"] = 1.0 if step == 1 else 1.0 - self.average
        return found

    def advance(self, e: Emitter, w: Any, g: Any, s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """``apply`` with the options around it; s and the state returned have all of ``arrays``."""
        if self.clip_norm is not None:
            g = self._clipped(e, g, self.clip_norm)
        new, kept = self.apply(e, w, g, {name: s[name] for name in self.state()})
        if self.lookahead:
            share = e.scalar("lookahead")
            slow = e.map(lambda s, w: s + share * (w - s), s[SLOW], new, formula="lookahead")
            new = e.map(lambda w, s: where(share > 0, s, w), new, slow, formula="lookahead")
            kept = {**kept, SLOW: slow}
        if self.average is not None:
            kept = {**kept, AVERAGE: self.followed(e, new, s[AVERAGE])}
        return new, kept

    def followed(self, e: Emitter, w: Any, average: Any) -> Any:
        """The next average: a + (1 − d) (w − a)."""
        share = e.scalar("average")
        return e.map(lambda a, w: a + share * (w - a), average, w, formula="average")

    @staticmethod
    def _clipped(e: Emitter, g: Any, norm: float) -> Any:
        squares = e.reduce("sum", e.map(lambda g: g * g, g, formula="clip"), over="channels")
        factor = e.map(lambda s: minimum(1, norm / (sqrt(s) + _CLIP_EPSILON)), squares, formula="clip")
        return e.map(lambda g, f: g * f, g, factor, formula="clip")


def number(value: object, what: str, least: float, below: float = float("inf")) -> None:
    """ArgumentError unless least ≤ value < below."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < below:
        upper = "" if below == float("inf") else f" and below {below:g}"
        raise ArgumentError(f"{what} must be a number of at least {least:g}{upper}, got {value!r}")
