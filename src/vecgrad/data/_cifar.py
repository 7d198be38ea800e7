"""Reader of the binary files of CIFAR-10 or CIFAR-100 (the version for C programs): their folder, or one of them.

A record is one label byte (CIFAR-100: coarse, then fine) and 32×32 bytes each of red, green, blue.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecgrad.data._reader import Options, Part, Reader, Source, holdings
from vecgrad.spec.errors import DataError

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
# Records of a file without a telling name whose labels must be possible: ten at random would pass once in 10¹⁴.
_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the two data sets: its files, the label bytes of a record (the last is used), its classes."""

    train: tuple[str, ...]
    test: str
    label_bytes: int
    classes: int
    names: str
    folder: str

    @property
    def record(self) -> int:
        """Bytes of an image and its labels."""
        return self.label_bytes + _PIXELS


_KINDS = (
    _Kind(
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        1,
        10,
        "batches.meta.txt",
        "cifar-10-batches-bin",
    ),
    _Kind(("train.bin",), "test.bin", 2, 100, "fine_label_names.txt", "cifar-100-binary"),
)


# What the archives for Python programs hold; it is pickle, which can run any program.
_PICKLED = (("data_batch_1", "batches.meta"), ("train", "meta"))


def _kind(path: Path) -> tuple[_Kind, Path] | None:
    """Which of the two is at the path, and the folder or file that holds it."""
    if path.is_file():
        return next(((kind, path) for kind in _KINDS if _holds_records(path, kind)), None)
    places = (path, *(path / kind.folder for kind in _KINDS))
    return next(
        (
            (kind, place)
            for place in places
            for kind in _KINDS
            if any((place / name).is_file() for name in kind.train)
        ),
        None,
    )


def _holds_records(path: Path, kind: _Kind) -> bool:
    """Whether a file could be this kind's: by its name, or by its size and its first labels."""
    if path.name in (*kind.train, kind.test):
        return True
    try:
        if not path.stat().st_size or path.stat().st_size % kind.record:
            return False
        records = np.fromfile(path, np.uint8, count=_LOOKED_AT * kind.record).reshape(-1, kind.record)
    except OSError:
        return False
    return bool((records[:, kind.label_bytes - 1] < kind.classes).all())


def _is_pickled(path: Path) -> bool:
    folders = (path, path / "cifar-10-batches-py", path / "cifar-100-python")
    return any(all((folder / name).is_file() for name in pair) for folder in folders for pair in _PICKLED)


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    return _kind(Path(source)) is not None or _is_pickled(Path(source))


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    found = _kind(Path(source))
    if found is None:
        raise DataError(
            f"{source}: holds CIFAR for Python programs, which is pickle and never read; "
            "get the binary version (for C programs)"
        )
    kind, folder = found
    if folder.is_file():
        images = _read_file(folder.parent, folder.name, kind)
        return Source(
            folder.name, images, class_names=_class_names(folder.parent / kind.names, kind), white=255
        )
    parts = [_read_file(folder, name, kind) for name in kind.train]
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test = _read_file(folder, kind.test, kind)
    return Source(
        folder.resolve().name,
        (train[0], train[1]),
        test=test,
        class_names=_class_names(folder / kind.names, kind),
        white=255,
    )


def _read_file(folder: Path, name: str, kind: _Kind) -> Part:
    path = folder / name
    if not path.is_file():
        raise DataError(f"{folder}: {holdings(folder)}; expected also {name}")
    size, record = path.stat().st_size, kind.record
    if size == 0 or size % record:
        raise DataError(
            f"{path}: {size:,} bytes; expected a multiple of {record:,}, one record for each image: "
            "the file is cut short or no CIFAR file; get a good copy"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, record)
    labels = records[:, kind.label_bytes - 1].astype(np.int64)
    if (labels >= kind.classes).any():
        first = int((labels >= kind.classes).argmax())
        raise DataError(
            f"{path}: image {first} has the label {labels[first]}; expected 0 to {kind.classes - 1}: "
            "get a good copy of the file"
        )
    planes = records[:, kind.label_bytes :].reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _class_names(path: Path, kind: _Kind) -> tuple[str, ...]:
    """The names beside the data; numbers where that file is missing or has another number of lines."""
    if path.is_file():
        names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
        if len(names) == kind.classes:
            return names
    return tuple(map(str, range(kind.classes)))


CIFAR = Reader(
    "cifar", "CIFAR's binary files or their folder (data_batch_1.bin …, train.bin)", _recognises, _read
)
