"""What a reader is: a name, a test whether a source is its own, and the reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vecgrad.data._checks import DataFormat

# Images and labels as they came, not checked yet.
Part = tuple[Any, Any]


Targets = Literal["classes", "numbers"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of ``open`` said; a reader looks at what concerns it, and ``open`` explains each."""

    data_format: DataFormat | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    broken: Literal["error", "skip"] = "error"
    keep: int = 1 << 30
    targets: Targets | None = None
    columns: Mapping[str, str | tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found. ``white`` is the number that means white, None where the arrays must tell.

    ``class_names`` None: numbers. ``targets`` None: class numbers unless the caller says otherwise.
    ``skipped`` says of each broken image that was left out what is wrong with it. ``names``: what the source calls the
    images of a part, in their order, where they have names. ``remarks`` are warnings.
    """

    name: str
    train: Part
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    white: float | None = None
    data_format: DataFormat | None = "channels_last"
    targets: Targets | None = None
    skipped: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """One kind of source. ``looks_for`` completes "a source is …" in the message of the door.

    ``recognises`` may look at names in the file system and at the first bytes of a file, and raises nothing;
    ``read`` raises DataError for everything that is wrong with a source it has recognised. ``decodes``: its images are
    files, for which ``size``, ``channels`` and ``broken`` are meant. ``minds``: which of ``data_format`` and ``columns`` it
    looks at.
    """

    name: str
    looks_for: str
    recognises: Callable[[object], bool]
    read: Callable[[Any, Options], Source]
    decodes: bool = False
    minds: tuple[str, ...] = ()


def holdings(path: Path) -> str:
    """What is at a path, in a few words for an error message."""
    if not path.is_dir():
        return f"a file of {path.stat().st_size:,} bytes"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    if not names:
        return "an empty folder"
    return (
        f"a folder that holds {', '.join(names[:8])}{f' … ({len(names)} entries)' if len(names) > 8 else ''}"
    )
