"""The update rule of a program: as the planner takes it, and as NumPy computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vecgrad.graph.build import record_average, record_update
from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.plan import Update
from vecgrad.program.flat import FlatLayout
from vecgrad.updates import AVERAGE, GROUP_DECAY, GROUP_RATE
from vecgrad.updates import Update as Rule

Array = np.ndarray[Any, np.dtype[Any]]


def update_of(rule: Rule, layout: FlatLayout, dtype: str) -> Update:
    """The rule for parameters that lie as ``layout`` says."""
    factors = {slot.offset: rule.factors(name, slot.shape) for name, slot in layout.trained.items()}
    behind = layout.total - layout.entries
    follows = rule.average is not None and behind > 0
    return Update(
        record_update(rule, layout.entries, dtype),
        rule.arrays(),
        tuple(rule.numbers(1)),
        factors if rule.grouped else {},
        record_average(rule, behind, dtype) if follows else None,
        layout.total,
    )


def factor_arrays(rule: Rule, layout: FlatLayout) -> dict[str, Array]:
    """The factors of each trained entry, as the scalars that the rule reads."""
    if not rule.grouped:
        return {}
    found = {name: np.ones(layout.entries) for name in (GROUP_RATE, GROUP_DECAY)}
    for name, slot in layout.trained.items():
        for flat, factor in zip(found.values(), rule.factors(name, slot.shape), strict=True):
            flat[slot.offset : slot.offset + slot.length] = factor
    return found


def advance(
    rule: Rule, layout: FlatLayout, scalars: Mapping[str, Any], weights: Array, gradient: Array,
    state: Mapping[str, Array],
) -> None:  # fmt: skip
    """One step of the rule by NumPy, in place. weights: with the statistics that this step has made."""
    e = EagerEmitter(scalars, weights.dtype)
    n = layout.entries
    trained, given = weights[:n], {name: EagerValue(flat[:n], False) for name, flat in state.items()}
    new, kept = rule.advance(e, EagerValue(trained, False), EagerValue(gradient, False), given)
    if rule.average is not None and layout.total > n:
        behind = EagerValue(weights[n:], False), EagerValue(state[AVERAGE][n:], False)
        state[AVERAGE][n:] = rule.followed(e, *behind).array
    trained[...] = new.array
    for name, value in kept.items():
        state[name][:n] = value.array
