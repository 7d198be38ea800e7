"""Augmentations as text for a command line and as JSON for a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from vecgrad.data.augment._affine import Affine
from vecgrad.data.augment._base import Augmentation
from vecgrad.data.augment._colour import ColorJitter
from vecgrad.data.augment._erase import Cutout
from vecgrad.data.augment._mix import CutMix, Mixup
from vecgrad.data.augment._normalize import Normalize
from vecgrad.data.augment._shift import Flip, PadCrop
from vecgrad.spec.errors import ArgumentError, DataError

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "flip": Flip,
    "pad-crop": PadCrop,
    "affine": Affine,
    "color-jitter": ColorJitter,
    "cutout": Cutout,
    "mixup": Mixup,
    "cutmix": CutMix,
    "normalize": Normalize,
}


def augmentations(given: Any) -> tuple[Augmentation, ...]:
    """A pipeline from itself, from one augmentation, from text or from None. Raises ArgumentError for anything else.

    Text is names with fields in their order or by name, as ``vecgrad train --augment`` takes it; a tuple is written with
    slashes.

    >>> augmentations("flip:mode=alternating,pad-crop:4,affine:rotation=10:scale=0.9/1.1")[1:]
    (PadCrop(padding=4, mode='reflect'), Affine(rotation=10, translate=0.0, scale=(0.9, 1.1), shear=0.0, mode='zero'))
    """
    if given is None:
        return ()
    if isinstance(given, Augmentation):
        return (given,)
    if isinstance(given, str):
        return tuple(_parsed(part.strip()) for part in given.split(",") if part.strip())
    if not isinstance(given, Iterable):
        raise ArgumentError(f"augment must be augmentations or text such as 'flip,pad-crop:4', got {given!r}")
    found = tuple(given)
    for each in found:
        if not isinstance(each, Augmentation):
            raise ArgumentError(
                f"augment holds {each!r}; expected augmentations such as Flip() and PadCrop(4), or one text for them all"
            )
    return found


def _parsed(text: str) -> Augmentation:
    name, *words = text.split(":")
    if name not in AUGMENTATIONS:
        raise ArgumentError(
            f"augment: there is no augmentation {name!r}; choose among {', '.join(AUGMENTATIONS)}"
        )
    kind = AUGMENTATIONS[name]
    order = _order(kind)
    values: dict[str, Any] = {}
    for place, word in enumerate(words):
        field, sign, value = word.partition("=")
        if not sign:
            field, value = (order[place] if place < len(order) else ""), word
        if field not in order or field in values:
            raise ArgumentError(
                f"augment: {text!r}: {name} takes each of {', '.join(order)} once, got {word!r}"
            )
        values[field] = _value(value)
    return kind(**values)


def _order(kind: type[Augmentation]) -> list[str]:
    """The fields in the order of the class's own text."""
    return [field.name for field in fields(kind)]


def _value(text: str) -> Any:
    if "/" in text:
        return tuple(_value(part) for part in text.split("/"))
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def to_json(pipeline: Iterable[Augmentation]) -> list[dict[str, Any]]:
    """One dict for each, with its class and its fields, as JSON can hold it."""
    return [
        {"class": type(each).__name__} | {field.name: getattr(each, field.name) for field in fields(each)}
        for each in pipeline
    ]


def from_json(
    data: object, classes: Mapping[str, type[Augmentation]] | None = None
) -> tuple[Augmentation, ...]:
    """The pipeline back. ``classes``: augmentations of your own by name. Raises DataError for what is none."""
    known = {kind.__name__: kind for kind in AUGMENTATIONS.values()} | dict(classes or {})
    if not isinstance(data, (list, tuple)):
        raise DataError(f"augmentations must be a list, got {type(data).__name__}")
    found = []
    for each in data:
        name = each.get("class") if isinstance(each, dict) else None
        if name not in known:
            raise DataError(f"there is no augmentation {name!r}; it may be given in classes")
        given = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in each.items()
            if key != "class"
        }
        try:
            found.append(known[name](**given))
        except (ArgumentError, TypeError) as error:
            raise DataError(f"{name} cannot be made of these fields: {error}") from error
    return tuple(found)
