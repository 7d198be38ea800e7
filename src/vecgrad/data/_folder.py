"""Reader of a folder of image files: one sub-folder for each class, below train/, val/, test/ if present."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._image_file import SUFFIXES, read_image
from vecgrad.data._reader import Options, Part, Reader, Source, holdings
from vecgrad.spec.errors import DataError

_TRAIN = ("train", "training")
_VALIDATION = ("val", "valid", "validation", "dev")
_TEST = ("test", "testing")


def _recognises(source: object) -> bool:
    return isinstance(source, (str, os.PathLike)) and any(True for _ in _folders(Path(source)))


def _folders(folder: Path) -> Iterable[Path]:
    """Sub-folders in the order of their names; hidden ones are none of the data."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    train = _sub_folder(folder, _TRAIN)
    roots = {"train": train or folder}
    if train is not None:
        roots |= {
            part: root
            for part, names in (("validation", _VALIDATION), ("test", _TEST))
            if (root := _sub_folder(folder, names)) is not None
        }
    class_names = tuple(entry.name for entry in _folders(roots["train"]))
    if len(class_names) < 2:
        raise DataError(
            f"{roots['train']}: {holdings(roots['train'])}; expected two sub-folders of images or more, "
            "one for each class"
        )
    files = {part: _files(root, class_names) for part, root in roots.items()}
    channels = options.channels or _channels(path for path, _ in files["train"])
    size = options.size
    parts: dict[str, Part] = {}
    for part, listed in files.items():
        images = _stack([path for path, _ in listed], channels, size)
        size = size or (images.shape[1], images.shape[2])
        parts[part] = images, np.array([label for _, label in listed], dtype=np.int64)
    return Source(
        folder.resolve().name,
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        class_names=class_names,
        white=255,
    )


def _sub_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _files(root: Path, class_names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """(file, label) in the order of class and file names; every class must have a file in training."""
    labels = {name: label for label, name in enumerate(class_names)}
    found: list[tuple[Path, int]] = []
    for folder in _folders(root):
        if folder.name not in labels:
            raise DataError(
                f"{folder}: there is no such class in training; expected {', '.join(class_names)}"
            )
        files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not files:
            raise DataError(
                f"{folder}: {holdings(folder)}; expected image files ({', '.join(sorted(SUFFIXES))})"
            )
        found += [(path, labels[folder.name]) for path in files]
    if not found:
        raise DataError(f"{root}: {holdings(root)}; expected a sub-folder of images for each class")
    return found


def _channels(paths: Iterable[Path]) -> int:
    """1 if every file is grey, else 3."""
    return 3 if any(read_image(path)[0].shape[-1] == 3 for path in paths) else 1


def _stack(paths: list[Path], channels: int, size: tuple[int, int] | None) -> NDArray[Any]:
    """All images as uint8 (n, h, w, c); 16-bit grey is brought to 8 bits."""
    stack: NDArray[np.uint8] | None = None
    for index, path in enumerate(paths):
        pixels, white = read_image(path, channels=channels, size=size)
        if white != 255:
            pixels = np.rint(pixels * (255 / white)).astype(np.uint8)
        if stack is None:
            stack = np.empty((len(paths), *pixels.shape), dtype=np.uint8)
        if pixels.shape != stack.shape[1:]:
            raise DataError(
                f"{path}: {pixels.shape[0]}×{pixels.shape[1]} pixels, but {paths[0]} has {stack.shape[1]}×"
                f"{stack.shape[2]}; pass size=(height, width) to resize them all"
            )
        stack[index] = pixels
    assert stack is not None, "a part without files was refused"
    return stack


FOLDER = Reader("folder", "a folder with a sub-folder of image files for each class", _recognises, _read)
