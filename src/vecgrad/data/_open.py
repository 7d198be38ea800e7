"""The one door to data, and the one table of readers behind it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._arrays import ARRAYS
from vecgrad.data._checks import DataFormat, check_labels, check_numbers, check_stored
from vecgrad.data._cifar import CIFAR
from vecgrad.data._csv import CSV
from vecgrad.data._dataset import Dataset, broken_images, some_names
from vecgrad.data._digits import DIGITS
from vecgrad.data._folder import FOLDER
from vecgrad.data._idx import IDX
from vecgrad.data._lazy import Images, LazyImages, chosen
from vecgrad.data._memory import memory_for_images
from vecgrad.data._npy import NPY
from vecgrad.data._npz import NPZ
from vecgrad.data._numbers import fraction, integer, is_integer, is_number
from vecgrad.data._order import split
from vecgrad.data._preparation import Preparation
from vecgrad.data._reader import Options, Part, Reader, Source, Targets, holdings
from vecgrad.data._tar import TAR
from vecgrad.spec.errors import ArgumentError, DataError

# The first that recognises a source reads it; folders of images come last, being the least particular.
READERS: tuple[Reader, ...] = (ARRAYS, DIGITS, NPZ, NPY, IDX, CIFAR, TAR, CSV, FOLDER)

_LOG = logging.getLogger("vecgrad.data")
# A side longer than this is a slip of the keyboard: one image of it would take gigabytes.
_MOST_SIDE = 1 << 14


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
    targets: Targets | None = None,
    columns: Mapping[str, str | tuple[str, ...]] | None = None,
    broken: Literal["error", "skip"] = "error",
    keep: int | None = None,
) -> Dataset:
    """Images and labels from any source, checked; nothing is ever downloaded.

    source:
        arrays ``(X, y)`` or ``((X, y), (X_test, y_test))``, also mapped ones (``numpy.memmap``); ``"digits"``
        (1,797 scans of 8×8 that scikit-learn carries, 360 of them always the same test images; ``"sklearn:digits"``
        where there is also a file or folder called digits); a folder with MNIST's four IDX files, plain or gzip;
        a ``.npz`` file, or a folder with the same arrays as ``.npy`` files;
        a folder with CIFAR-10's or CIFAR-100's binary files, or one such file; a folder with a sub-folder of image
        files for each class, below train/, val/ and test/ if present, or a tar archive of such a folder, plain or
        packed; a CSV file with columns path and label (or target, target_1 …), and split if there are parts.
        What a file is says its content, not its name.
    validation, test:
        fractions of the training images to hold out, stratified by label, chosen by ``seed``. They hold for a source
        that brings no such part; one that does keeps its own.
    data_format:
        of rank-4 arrays. Without it channels last, and arrays that look otherwise are refused.
    classes:
        the number of classes, where not every label from 0 to the largest occurs.
    white:
        the number that means white. Without it what the format says; for arrays 255 for uint8, 65535 for
        uint16, 1 for floats that do not exceed 1, else the largest number among the training images.
    size, channels:
        for image files: (height, width) to resize to (bilinear, antialiased, stretched), 1 for grey or 3 for colour.
        Without ``size`` all must have one size; without ``channels`` they are grey if all of training are.
        Files are turned upright (EXIF) first, palettes become colour, and what is transparent lies on white.
        16-bit grey is brought to 8 bits, with a warning where most such images use less than an eighth of their range.
        Arrays are taken as they are: another size or number of channels than theirs is refused.
    normalise, invert:
        go into the preparation: see ``Preparation``.
    targets:
        "classes": labels are class numbers; "numbers": they are numbers to predict, float32 (n, k). Without it classes,
        but a CSV file that has only target columns brings numbers.
    columns:
        which columns of a CSV file are meant, where their names are unusual: {"path": …, "label": …} or
        {"path": …, "targets": (…)}, and "split".
    broken:
        "skip" leaves image files out that cannot be decoded, with a warning and their number in ``Dataset.skipped``;
        "error" refuses the source. PNG, JPEG, BMP, PPM (PBM, PGM) and WebP are; files in the folders of classes that
        are images by their names but of other formats (TIFF, GIF, HEIC …) count as broken, other files not at all.
        Every file is decoded once, here.
    keep:
        bytes of images that may be held in memory; by default a quarter of it. What exceeds it is read from the disk,
        batch by batch, and gives the same results: such parts are ``LazyImages``. An archive that fits is
        also kept decoded in the cache directory (see ``VECGRAD_CACHE_DIR``), so that the next opening is quick.

    Raises DataError for a source that is not there, damaged or not usable; ArgumentError for
    options that mean nothing.

    >>> import numpy as np
    >>> print(open((np.zeros((4, 2, 2)), [0, 1, 0, 1]), validation=0.5))
    arrays: 2 training, 2 validation images of 2×2×1, 2 classes
    """
    options = Options(
        data_format, _size(size),
        None if channels is None else integer("channels", channels, "a positive integer, 1 (grey) or 3 (colour)"),
        _one_of("broken", broken, ("error", "skip")),
        memory_for_images() if keep is None else integer("keep", keep, "a whole number of bytes", 0),
        _one_of("targets", targets, (None, "classes", "numbers")), columns,
    )  # fmt: skip
    if white is not None and not (is_number(white) and white > 0):
        raise ArgumentError(f"white must be a positive number, got {white!r}")
    test, validation = fraction("test", test), fraction("validation", validation)
    seed = integer("seed", seed, "an integer", -(1 << 63))
    classes = None if classes is None else integer("classes", classes, "a positive integer")
    found, decoded = _found(source, options)
    if found.skipped:
        _LOG.warning(
            "%s: %s skipped, the first: %s", found.name, broken_images(found.skipped), found.skipped[0]
        )
    for remark in found.remarks:
        warnings.warn(remark, stacklevel=2)
    kind: Targets = options.targets or found.targets or "classes"
    images, labels = _checked(found, found.train, "training", kind, classes)
    if not decoded:
        _check_arrays(found.name, images.shape[1:], options)
    count = 0
    if kind == "classes":
        count = len(found.class_names) if found.class_names is not None else classes or int(labels.max()) + 1
        _check_classes(found, labels, count, explicit=classes is not None)
    names = found.names.get("train")
    parts: dict[str, tuple[Any, ...]] = {
        part: (*_checked(found, given, part, kind, count, images.shape[1:]), found.names.get(part))
        for part, given in (("validation", found.validation), ("test", found.test))
        if given is not None
    }
    # The test images are taken first, so that asking for validation images does not change them.
    for part, share in (("test", test), ("validation", validation)):
        if not share or part in parts:
            continue
        kept, held_out = split(labels if kind == "classes" else len(labels), share, seed)
        parts[part] = chosen(images, held_out), labels[held_out], some_names(names, held_out)
        images, labels, names = chosen(images, kept), labels[kept], some_names(names, kept)
    held: dict[str, Any] = {
        f"{part}_{what}": array
        for part, arrays in parts.items()
        for what, array in zip(("images", "labels", "names"), arrays, strict=True)
    }
    return Dataset(
        name=found.name,
        train_images=images,
        train_labels=labels,
        class_names=() if kind == "numbers" else found.class_names or tuple(map(str, range(count))),
        preparation=Preparation.of(images, scale=white or found.white, normalise=normalise, invert=invert),
        skipped=found.skipped,
        train_names=names,
        **held,
    )


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ArgumentError(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}")
    return value


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(is_integer(side) and side <= _MOST_SIDE for side in sides):
        raise ArgumentError(f"size must be (height, width), integers from 1 to {_MOST_SIDE:,}, got {size!r}")
    return int(sides[0]), int(sides[1])


def _check_arrays(name: str, shape: tuple[int, ...], options: Options) -> None:
    """Raises ArgumentError where image files are asked for that arrays (h, w, c) are not."""
    height, width, channels = shape
    for asked, has, option, said in (
        (options.size, (height, width), "size", "size (--size)"),
        (options.channels, channels, "channels", "channels"),
    ):
        if asked not in (None, has):
            raise ArgumentError(
                f"{name}: its images are arrays of (height, width, channels) = {shape}, which are taken as they are; "
                f"asked for was {option} = {asked}: bring the arrays to it first, or leave {said} out"
            )
    if options.broken == "skip":
        raise ArgumentError(
            f"{name}: its images are arrays of (height, width, channels) = {shape}, none of which is broken; "
            'broken="skip" (--skip-broken) is for image files: leave it out'
        )


def _found(source: object, options: Options) -> tuple[Source, bool]:
    """What is read, and whether from image files."""
    try:
        reader = _reader(source)
        _check_minded(reader, source, options)
        return reader.read(source, options), reader.decodes
    except OSError as error:
        raise DataError(f"{error.filename or source}: cannot be read: {error.strerror}"[-300:]) from error


def _check_minded(reader: Reader, source: object, options: Options) -> None:
    """Raises ArgumentError for an option that sources of other kinds have a use for."""
    for option in ("data_format", "columns"):
        if getattr(options, option) is not None and option not in reader.minds:
            meant = " or ".join(other.looks_for for other in READERS if option in other.minds)
            given = source if isinstance(source, (str, os.PathLike)) else reader.name
            raise ArgumentError(f"{given}: read as {reader.looks_for}; {option} is for {meant}: leave it out")


def _reader(source: object) -> Reader:
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file():
        # A file that nobody may read is not of an unknown kind: the system says what is wrong.
        Path(source).open("rb").close()
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
    found: Source,
    part: Part,
    name: str,
    kind: Targets,
    classes: int | None,
    shape: tuple[int, ...] | None = None,
) -> tuple[Images | LazyImages, NDArray[Any]]:
    given_images, given_labels = part
    images = check_stored(
        given_images, what=f"{found.name}: {name} images", data_format=found.data_format, shape=shape
    )
    what = f"{found.name}: {name} labels"
    if kind == "numbers":
        return images, check_numbers(given_labels, what=what, count=len(images))
    return images, check_labels(given_labels, classes, what=what, count=len(images))


def _check_classes(found: Source, labels: NDArray[Any], count: int, *, explicit: bool) -> None:
    counts = np.bincount(labels, minlength=count)
    missing = np.flatnonzero(counts == 0)
    if missing.size and found.skipped and found.class_names is not None:
        raise DataError(
            f"{found.name}: not one image of the class {found.class_names[missing[0]]} can be read; the first broken: "
            f"{found.skipped[0]}"
        )
    if np.count_nonzero(counts) < 2:
        raise DataError(
            f"{found.name}: every training image has the label {labels[0]}; expected two classes or more"
        )
    if missing.size and found.class_names is None and not explicit:
        raise DataError(
            f"{found.name}: labels reach {count - 1}, but no training image has the label {missing[0]}; "
            f"number the classes 0 … K - 1, or pass classes={count} if that is meant"
        )
