"""Image files by name, with their labels: what readers of folders, archives and lists agree on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._image_file import FOREIGN, SUFFIXES
from vecgrad.spec.errors import DataError

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation", "dev")
TEST = ("test", "testing")
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
# Names that macOS puts beside every file of an archive.
_FOREIGN = "__MACOSX"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file: its name in errors, a function that returns its bytes (OSError where it cannot), its name in the source."""

    name: str
    load: Callable[[], bytes]
    inside: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Files of one part and what they show: class numbers (n,) int64, or numbers (n, k) float32."""

    files: tuple[ImageFile, ...]
    labels: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """The parts of a source ("train" and, where there are such, "validation" and "test") before decoding."""

    parts: Mapping[str, Listed]
    class_names: tuple[str, ...] | None


Path = tuple[str, ...]


def regular_file(path: os.PathLike[str]) -> bytes:
    """The bytes of a file. OSError where there is none, and for a pipe or a device, which might never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "a pipe, a device or a folder; expected a plain file", os.fspath(path))
    with open(path, "rb") as file:
        return file.read()


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is none of the data: hidden, or below something hidden."""
    return any(name.startswith(".") or name == _FOREIGN for name in path)


def by_folder(root: str, files: Mapping[Path, ImageFile], folders: Iterable[Path]) -> Listing:
    """Classes from folder names, below train/, val/, test/ (in small letters or capitals) if there is a train/.

    files: every file, by its path from ``root``; ``folders``: every folder, the empty ones too. Classes are
    the folders of training in the order of their names, files come in the order of theirs; a class may
    have folders within. Raises DataError for fewer than two classes, a class without images, a class
    that only validation or test knows, images that belong to no class, and folders beside train/ that are no part.
    """
    files = {path: file for path, file in files.items() if not is_hidden(path)}
    folders = list(folders)
    roots = _parts(root, files, folders) or {"train": ()}
    classes = _children(folders, roots["train"])
    if len(classes) < 2:
        raise DataError(
            f"{_at(root, roots['train'])}: {_holds(files, folders, roots['train'])}; expected two sub-folders "
            "of images or more, one for each class"
        )
    labels = {name: label for label, name in enumerate(classes)}
    parts = {part: _part(root, files, folders, place, labels) for part, place in roots.items()}
    return Listing(parts, tuple(classes))


def part_of(name: str) -> str | None:
    """The part that a folder of this name is, as "train"; None for any other name."""
    return next((part for part, names in PARTS.items() if name.lower() in names), None)


def _parts(root: str, files: Mapping[Path, ImageFile], folders: list[Path]) -> dict[str, Path]:
    """Where each part is; nothing where the folders are classes, those too that are called as a part."""
    images = [path for path in files if _is_image(path[-1])]
    filled = {path[0] for path in images if len(path) > 1}
    # Folders of images within: such a folder is a part, and one with images alone may be a class.
    nested = {path[0] for path in images if len(path) > 2}
    named = {part: [n for n in _children(folders, ()) if part_of(n) == part] for part in PARTS}
    others = sorted(name for name in filled if part_of(name) is None)
    training = [name for name in named["train"] if name in nested or name not in filled or not others]
    if not training:
        held = sorted(n for n in filled if part_of(n) is not None and (n in nested or not others))
        if held:
            raise DataError(
                f"{_at(root, ())}: has images for {_listed(held)} but no train/ with a sub-folder of images for each class; "
                "expected one beside: put the training images into train/, or give a class another name"
            )
        return {}
    if others:
        raise DataError(
            f"{_at(root, ())}: images in {_listed(others)} beside {_listed(training)} would be left out; the names of parts are "
            f"{_known()}: rename these folders or move them away, or, where {training[0]} is a class, put its images "
            "into it without sub-folders"
        )
    found: dict[str, Path] = {}
    for part, names in (named | {"train": training}).items():
        names = [name for name in names if name in filled] or names
        if len(names) > 1:
            raise DataError(
                f"{_at(root, ())}: {_listed(names)} are all called as the {part} part; expected one of them: put the images "
                "together, or move the others away"
            )
        if names:
            found[part] = (names[0],)
    return found


def _listed(names: Iterable[str]) -> str:
    names = [f"{name}/" for name in names]
    more = f" … ({len(names)} folders)" if len(names) > 8 else ""
    return " and ".join(filter(None, (", ".join(names[:8][:-1]), names[:8][-1]))) + more


def _known() -> str:
    return ", ".join(name for names in PARTS.values() for name in names)


def _part(
    root: str, files: Mapping[Path, ImageFile], folders: list[Path], place: Path, labels: Mapping[str, int]
) -> Listed:
    depth = len(place)
    own = _children(folders, place)
    for name in own:
        if name not in labels:
            raise DataError(
                f"{_at(root, (*place, name))}: there is no such class in training; expected {', '.join(labels)}"
            )
    stray = sorted(path for path in files if path[:-1] == place and _is_image(path[-1]))
    if stray and own:
        raise DataError(
            f"{_at(root, stray[0])}: lies beside the folders of the classes, as do {len(stray):,} images in all; "
            "expected each in the folder of its class: move them there, or away"
        )
    found: dict[str, list[Path]] = {name: [] for name in own}
    for path in files:
        if len(path) > depth + 1 and path[:depth] == place and _is_image(path[-1]):
            found[path[depth]].append(path)
    for name, paths in found.items():
        if not paths:
            raise DataError(
                f"{_at(root, (*place, name))}: {_holds(files, folders, (*place, name))}; expected image files "
                f"({', '.join(sorted(SUFFIXES))})"
            )
    if not found:
        raise DataError(
            f"{_at(root, place)}: {_holds(files, folders, place)}; expected a sub-folder of images for each class"
        )
    ordered = [(path, labels[name]) for name, paths in found.items() for path in sorted(paths)]
    return Listed(
        tuple(files[path] for path, _ in ordered), np.array([label for _, label in ordered], np.int64)
    )


def _is_image(name: str) -> bool:
    return _suffix(name) in SUFFIXES or is_foreign(name)


def is_foreign(name: str) -> bool:
    """Whether a file is an image by its name, but of a format that is not read."""
    return _suffix(name) in FOREIGN


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"


def _children(folders: Iterable[Path], place: Path) -> list[str]:
    """Names of the folders directly below ``place``, in order."""
    depth = len(place)
    return sorted(
        {
            path[depth]
            for path in folders
            if len(path) > depth and path[:depth] == place and not is_hidden(path)
        }
    )


def _at(root: str, place: Path) -> str:
    if root.endswith(": "):  # an archive, whose members follow
        return (root + "/".join(place)).removesuffix(": ")
    return "/".join((root.rstrip("/"), *place))


def _holds(files: Iterable[Path], folders: Iterable[Path], place: Path) -> str:
    depth = len(place)
    names = [f"{name}/" for name in _children(folders, place)]
    names += sorted(path[-1] for path in files if len(path) == depth + 1 and path[:depth] == place)
    if not names:
        return "an empty folder"
    more = f" … ({len(names)} entries)" if len(names) > 8 else ""
    return f"a folder that holds {', '.join(names[:8])}{more}"
