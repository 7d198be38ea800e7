"""Reader of a folder with the binary files of CIFAR-10 or CIFAR-100 (the version for C programs).

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


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the two data sets: its files, the label bytes of a record (the last is used), its classes."""

    train: tuple[str, ...]
    test: str
    label_bytes: int
    classes: int
    names: str


_KINDS = (
    _Kind(tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 1, 10, "batches.meta.txt"),
    _Kind(("train.bin",), "test.bin", 2, 100, "fine_label_names.txt"),
)


def _kind(folder: Path) -> _Kind | None:
    return next((kind for kind in _KINDS if any((folder / name).is_file() for name in kind.train)), None)


def _recognises(source: object) -> bool:
    return isinstance(source, (str, os.PathLike)) and _kind(Path(source)) is not None


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    kind = _kind(folder)
    assert kind is not None, "read follows recognises"
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
    size, record = path.stat().st_size, kind.label_bytes + _PIXELS
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
    "cifar", "a folder with CIFAR's binary files (data_batch_1.bin … or train.bin)", _recognises, _read
)
