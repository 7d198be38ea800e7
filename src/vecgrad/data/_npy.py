"""Reader of a folder of ``.npy`` files, which stay on the disk: for arrays that are larger than memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._npz import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES
from vecgrad.data._reader import Options, Part, Reader, Source, holdings
from vecgrad.spec.errors import DataError


def _part(folder: Path, names: tuple[tuple[str, str], ...]) -> tuple[Path, Path] | None:
    pairs = ((folder / f"{images}.npy", folder / f"{labels}.npy") for images, labels in names)
    return next((pair for pair in pairs if all(path.is_file() for path in pair)), None)


def _recognises(source: object) -> bool:
    return isinstance(source, (str, os.PathLike)) and _part(Path(source), TRAIN_NAMES) is not None


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    train, validation, test = (
        _arrays(_part(folder, names)) for names in (TRAIN_NAMES, VALIDATION_NAMES, TEST_NAMES)
    )
    if train is None:
        raise DataError(f"{folder}: {holdings(folder)}; expected x_train.npy and y_train.npy")
    return Source(folder.resolve().name, train, validation, test, data_format=options.data_format)


def _arrays(pair: tuple[Path, Path] | None) -> Part | None:
    # Labels are looked through anyway, and what is mapped could change behind the checks.
    return None if pair is None else (_mapped(pair[0]), np.array(_mapped(pair[1])))


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # The header is a Python literal, and the parsers behind the call have many ways to refuse one.
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: cannot be read as an array: {reason}; get a good copy of the file"
        ) from error
    return array


NPY = Reader(
    "npy",
    "a folder with x_train.npy and y_train.npy (or X.npy, y.npy)",
    _recognises,
    _read,
    minds=("data_format",),
)
