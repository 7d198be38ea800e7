"""The estimators' parameters: what each may be, said in scikit-learn's words, and the fields within them by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from vecgrad.data.augment import VIEWS, augmentations
from vecgrad.layers import Layer
from vecgrad.train import MODELS, SCHEDULES, Schedule
from vecgrad.updates import UPDATES, Update

Rule = tuple[str, Callable[[Any], bool]]


def _integer(value: Any, least: int = 1) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _boolean(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _architecture(value: Any) -> bool:
    if isinstance(value, str):
        return value == "auto" or value in MODELS
    if isinstance(value, Sequence):
        return all(isinstance(layer, Layer) for layer in value) and len(value) > 0
    return isinstance(value, Layer) or callable(value)


def _image_shape(value: Any) -> bool:
    return value is None or (
        isinstance(value, Sequence) and len(value) in (2, 3) and all(_integer(side) for side in value)
    )


_NAMES = ", ".join(repr(name) for name in ("auto", *MODELS))
RULES: dict[str, Rule] = {
    "architecture": (
        f"a str among {{{_NAMES}}}, a layer, a list of layers or a callable (input_shape, outputs) -> layers",
        _architecture,
    ),
    "optimizer": (
        f"None, a str among {{{', '.join(map(repr, UPDATES))}}} or an update rule such as vecgrad.SGD(0.05)",
        lambda v: v is None or isinstance(v, Update) or (isinstance(v, str) and v in UPDATES),
    ),
    "schedule": (
        f"a str among {{{', '.join(map(repr, ('auto', *SCHEDULES)))}}}, None or a vecgrad.train.Schedule",
        lambda v: v is None or isinstance(v, Schedule) or v == "auto" or v in SCHEDULES,
    ),
    "max_iter": ("the str 'auto' or an int in the range [1, inf)", lambda v: _integer(v) or v == "auto"),
    "batch_size": ("the str 'auto' or an int in the range [1, inf)", lambda v: v == "auto" or _integer(v)),
    "image_shape": ("None or a tuple of 2 or 3 ints in the range [1, inf)", _image_shape),
    "data_format": (
        "a str among {'channels_last', 'channels_first'}",
        lambda v: v in ("channels_last", "channels_first"),
    ),
    "dtype": ("a str among {'auto', 'float32', 'float64'}", lambda v: v in ("auto", "float32", "float64")),
    "augment": (
        "None, augmentations such as (Flip(), PadCrop(4)) or their text such as 'flip,pad-crop:4'",
        lambda v: augmentations(v) is not None,
    ),
    "tta": ("None or a str among {'flip', 'flip-shift'}", lambda v: v is None or v in VIEWS),
    "early_stopping": ("an instance of 'bool'", _boolean),
    "validation_fraction": ("a float in the range (0.0, 1.0)", lambda v: _number(v) and 0 < v < 1),
    "n_iter_no_change": ("an int in the range [1, inf)", _integer),
    "tol": ("a float in the range [0.0, inf)", lambda v: _number(v) and 0 <= v < float("inf")),
    "warm_start": ("an instance of 'bool'", _boolean),
    "label_smoothing": ("a float in the range [0.0, 1.0]", lambda v: _number(v) and 0 <= v <= 1),
    "loss": ("a str among {'squared_error', 'huber'}", lambda v: v in ("squared_error", "huber")),
    "threads": ("None or an int in the range [1, 256]", lambda v: v is None or (_integer(v) and v <= 256)),
    "verbose": ("an instance of 'bool' or an int", lambda v: _boolean(v) or isinstance(v, Integral)),
}


def check(estimator: Any) -> None:
    """ValueError for the first parameter that means nothing."""
    for name, (words, good) in RULES.items():
        # and not get_params: a subclass may have fewer parameters of its own
        if not hasattr(estimator, name):
            continue
        value = getattr(estimator, name)
        try:
            fine = good(value)
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be {words}. Got {value!r} instead."
            )


class NestedParameters:
    """``optimizer__learning_rate`` and the like: the fields of parameters that are records, read and replaced by name.

    Update rules and schedules are immutable, so a new one takes the place of the old.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; deep: with the fields of the optimizer and the schedule, as optimizer__momentum."""
        found: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        if deep:
            for name, value in list(found.items()):
                if isinstance(value, (Update, Schedule)) and is_dataclass(value):
                    found |= {f"{name}__{field.name}": getattr(value, field.name) for field in fields(value)}
        return found

    def set_params(self, **params: Any) -> Any:
        """Sets parameters by name, nested ones too; returns the estimator. Raises ValueError for unknown names."""
        plain = {name: value for name, value in params.items() if "__" not in name}
        super().set_params(**plain)  # type: ignore[misc]
        within: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            if name not in plain:
                outer, inner = name.split("__", 1)
                within.setdefault(outer, {})[inner] = value
        for outer, values in within.items():
            record = getattr(self, outer, None)
            known = (
                {field.name for field in fields(record)} if isinstance(record, (Update, Schedule)) else set()
            )
            unknown = sorted(set(values) - known)
            if unknown:
                hint = (
                    f"; set {outer} to a rule such as SGD() first"
                    if outer == "optimizer" and not known
                    else ""
                )
                raise ValueError(
                    f"Invalid parameter {f'{outer}__{unknown[0]}'!r} for estimator {self}. "
                    f"Valid parameters are: {sorted(self.get_params())!r}{hint}."
                )
            setattr(self, outer, replace(record, **values))  # type: ignore[type-var]
        return self
