"""What a reader is: a name, a test whether a source is its own, and the reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecgrad.data._checks import DataFormat

# Images and labels as they came, not checked yet.
Part = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of ``open`` said about the pixels; a reader looks at what concerns it."""

    data_format: DataFormat | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found. ``white`` is the number that means white, None where the arrays must tell."""

    name: str
    train: Part
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    white: float | None = None
    data_format: DataFormat | None = "channels_last"


@dataclass(frozen=True, slots=True)
class Reader:
    """One kind of source. ``looks_for`` completes "a source is …" in the message of the door.

    ``recognises`` may look at names in the file system but reads no file and raises nothing;
    ``read`` raises DataError for everything that is wrong with a source it has recognised.
    """

    name: str
    looks_for: str
    recognises: Callable[[object], bool]
    read: Callable[[Any, Options], Source]


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
