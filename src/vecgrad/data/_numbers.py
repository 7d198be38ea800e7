"""Numbers that callers pass: NumPy's count as Python's, truth values as none."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from vecgrad.spec.errors import ArgumentError


def is_integer(value: object, least: int = 1) -> bool:
    """Whether it is an integer of at least ``least``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: object) -> bool:
    """Whether it is a finite real number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def plain(value: Any) -> Any:
    """NumPy's scalars, within tuples and lists too, as Python's, which JSON can hold; anything else as it is.

    >>> plain((np.int64(3), "a", 2.5))
    (3, 'a', 2.5)
    """
    if isinstance(value, (tuple, list)):
        return type(value)(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def integer(name: str, value: Any, expected: str, least: int = 1) -> int:
    """The argument as an int. ArgumentError for what is no integer of at least ``least``."""
    if not is_integer(value, least):
        raise ArgumentError(f"{name} must be {expected}, got {value!r}")
    return int(value)


def fraction(name: str, value: Any) -> float:
    """The argument as a float from 0 to below 1. ArgumentError for anything else."""
    if not is_number(value) or not 0 <= value < 1:
        raise ArgumentError(f"{name} must be a number from 0 (none) to below 1, got {value!r}")
    return float(value)
