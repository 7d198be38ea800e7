"""Layers, losses and update rules as JSON and back: a class by its name, and its fields.

Names from a file are looked up in tables, never imported: a file cannot choose what code runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from vecgrad import layers, losses, updates
from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.spec.errors import RunError, VecgradError
from vecgrad.updates import Update

Kind = TypeVar("Kind", Layer, Loss, Update)
_BASES = (Layer, Loss, Update)

_KNOWN: dict[str, type] = {
    name: value
    for module in (layers, losses, updates)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, _BASES) and value not in _BASES
}


def to_json(value: Layer | Loss | Update) -> dict[str, Any]:
    """The object as a dict that JSON can hold.

    A class of the package goes by its name, others by module and name. Raises RunError for an object that
    could not be made again: an attribute that is no field, or a field that holds anything but numbers,
    text, tuples and other layers.

    >>> to_json(layers.MaxPool2D((2, 1)))["pool_size"]
    [2, 1]
    """
    cls = type(value)
    name = cls.__name__ if _KNOWN.get(cls.__name__) is cls else f"{cls.__module__}.{cls.__qualname__}"
    names = [f.name for f in fields(value)]  # every base is a dataclass
    # What a cached property leaves behind is derived, and has a namesake in the class.
    strange = [key for key in vars(value) if key not in names and not hasattr(cls, key)]
    if strange:
        raise RunError(
            f"{name} cannot be saved: it keeps {strange[0]!r} beside its fields; make it a frozen dataclass "
            f"whose fields say all there is to know"
        )
    return {"class": name} | {key: _plain(getattr(value, key), f"{name}.{key}") for key in names}


def from_json(
    data: object, kind: type[Kind], classes: Mapping[str, type] | None = None, *, what: str = "model"
) -> Kind:
    """The object back. ``classes`` holds layers, losses and update rules of the caller's own by class name.

    ``what`` names the file and the place in it. Raises RunError for an unknown class and for fields
    that the class does not take.

    >>> print(from_json({"class": "Dense", "units": 10, "bias": False}, Layer))
    Dense(10, bias=False)
    """
    made = _revived(data, dict(classes or {}), what)
    if not isinstance(made, kind):
        raise RunError(f"{what}: expected a {kind.__name__.lower()}, got {type(made).__name__}")
    return made


def _plain(value: object, where: str) -> Any:
    if isinstance(value, _BASES):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(part, where) for part in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise RunError(
        f"{where} is {value!r}, which cannot be saved; expected finite numbers, text, tuples or layers"
    )


def _revived(value: object, classes: dict[str, type], what: str) -> Any:
    if isinstance(value, list):
        return tuple(_revived(part, classes, f"{what}[{i}]") for i, part in enumerate(value))
    if not isinstance(value, dict):
        return value
    name = value.get("class")
    if not isinstance(name, str):
        raise RunError(f"{what}: an object without a class; the file was changed")
    cls = _class(name, classes, what)
    given = {key: _revived(part, classes, f"{what}.{key}") for key, part in value.items() if key != "class"}
    allowed = {f.name for f in fields(cls)}
    if unknown := sorted(set(given) - allowed):
        raise RunError(f"{what}: {name} has no field {unknown[0]!r}; it has {', '.join(sorted(allowed))}")
    try:
        return cls(**given)
    except (VecgradError, TypeError, ValueError) as error:
        raise RunError(f"{what}: {name} cannot be made of these fields: {error}") from error


def _class(name: str, classes: dict[str, type], what: str) -> type[Any]:
    short = name.rpartition(".")[2]
    if "." not in name and name in _KNOWN:
        return _KNOWN[name]
    cls = classes.get(name, classes.get(short))
    if cls is None:
        raise RunError(
            f"{what}: there is no class {name} in this version of vecgrad; if it is your own, "
            f'load the run with layers={{"{short}": {short}}}'
        )
    if not (isinstance(cls, type) and issubclass(cls, _BASES)):
        raise RunError(f"{what}: {cls!r} was given for {name}; expected a class of layers, losses or updates")
    return cls
