"""The one door to data, and the one table of readers behind it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from vecgrad.data._arrays import ARRAYS
from vecgrad.data._checks import DataFormat, Images, Labels, check_images, check_labels
from vecgrad.data._cifar import CIFAR
from vecgrad.data._dataset import Dataset
from vecgrad.data._digits import DIGITS
from vecgrad.data._folder import FOLDER
from vecgrad.data._idx import IDX
from vecgrad.data._npz import NPZ
from vecgrad.data._order import split
from vecgrad.data._preparation import Preparation
from vecgrad.data._reader import Options, Part, Reader, Source, holdings
from vecgrad.spec.errors import ArgumentError, DataError

# The first that recognises a source reads it; folders of images come last, being the least particular.
READERS: tuple[Reader, ...] = (ARRAYS, DIGITS, NPZ, IDX, CIFAR, FOLDER)


def open(
    source: object,
    *,
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    data_format: DataFormat | None = None,
    classes: int | None = None,
    white: float | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    normalise: bool = True,
    invert: Literal["auto"] | bool = "auto",
) -> Dataset:
    """Images and labels from any source, checked; nothing is ever downloaded.

    source:
        arrays ``(X, y)`` or ``((X, y), (X_test, y_test))``; ``"digits"`` (1,797 scans of 8×8 that
        scikit-learn carries, 360 of them always the same test images); a folder with MNIST's four IDX
        files, plain or gzip; a ``.npz`` file; a folder with CIFAR-10's or CIFAR-100's binary files; a
        folder with a sub-folder of image files for each class, below train/, val/ and test/ if present.
    validation, test:
        fractions of the training images to hold out, stratified by label, chosen by ``seed``. Only
        for a source that brings no such part of its own.
    data_format:
        of rank-4 arrays. Without it channels last, and arrays that look otherwise are refused.
    classes:
        the number of classes, where not every label from 0 to the largest occurs.
    white:
        the number that means white. Without it what the format says; for arrays 255 for uint8, 65535 for
        uint16, 1 for floats that do not exceed 1, else the largest number among the training images.
    size, channels:
        for image files: (height, width) to resize to, 1 for grey or 3 for colour.
    normalise, invert:
        go into the preparation: see ``Preparation``.

    Raises DataError for a source that is not there, damaged or not usable; ArgumentError for
    options that mean nothing.

    >>> import numpy as np
    >>> print(open((np.zeros((4, 2, 2)), [0, 1, 0, 1]), validation=0.5))
    arrays: 2 training, 2 validation images of 2×2×1, 2 classes
    """
    found = _found(source, Options(data_format, size, channels))
    images, labels = _checked(found, found.train, "training", classes)
    count = len(found.class_names) if found.class_names is not None else classes or int(labels.max()) + 1
    _check_classes(found, labels, count, explicit=classes is not None)
    parts = {
        part: _checked(found, given, part, count, images.shape[1:])
        for part, given in (("validation", found.validation), ("test", found.test))
        if given is not None
    }
    # The test images are taken first, so that asking for validation images does not change them.
    for part, fraction in (("test", test), ("validation", validation)):
        if not fraction:
            continue
        if part in parts:
            raise ArgumentError(f"{found.name}: has {part} images of its own; leave {part}={fraction} out")
        kept, held_out = split(labels, fraction, seed)
        parts[part] = images[held_out], labels[held_out]
        images, labels = images[kept], labels[kept]
    if white is not None and not white > 0:
        raise ArgumentError(f"white must be a positive number, got {white}")
    return Dataset(
        name=found.name,
        train_images=images,
        train_labels=labels,
        class_names=found.class_names or tuple(map(str, range(count))),
        preparation=Preparation.of(images, scale=white or found.white, normalise=normalise, invert=invert),
        **{
            f"{part}_{kind}": array
            for part, arrays in parts.items()
            for kind, array in zip(("images", "labels"), arrays, strict=True)
        },
    )


def _found(source: object, options: Options) -> Source:
    try:
        return _reader(source).read(source, options)
    except OSError as error:
        raise DataError(f"{error.filename or source}: cannot be read: {error.strerror}"[-300:]) from error


def _reader(source: object) -> Reader:
    for reader in READERS:
        if reader.recognises(source):
            return reader
    known = "; ".join(reader.looks_for for reader in READERS)
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(f"data source of type {type(source).__name__}; expected one of: {known}")
    path = Path(source)
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder, and nothing is ever downloaded; expected one of: {known}"
        )
    raise DataError(f"{path}: {holdings(path)}; expected one of: {known}")


def _checked(
    found: Source, part: Part, name: str, classes: int | None, shape: tuple[int, ...] | None = None
) -> tuple[Images, Labels]:
    given_images, given_labels = part
    images = check_images(
        given_images, what=f"{found.name}: {name} images", data_format=found.data_format, shape=shape
    )
    labels = check_labels(given_labels, classes, what=f"{found.name}: {name} labels", count=len(images))
    return images, labels


def _check_classes(found: Source, labels: Labels, count: int, *, explicit: bool) -> None:
    counts = np.bincount(labels, minlength=count)
    if np.count_nonzero(counts) < 2:
        raise DataError(
            f"{found.name}: every training image has the label {labels[0]}; expected two classes or more"
        )
    missing = np.flatnonzero(counts == 0)
    if missing.size and found.class_names is None and not explicit:
        raise DataError(
            f"{found.name}: labels reach {count - 1}, but no training image has the label {missing[0]}; "
            f"number the classes 0 … K - 1, or pass classes={count} if that is meant"
        )
