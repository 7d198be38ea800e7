"""Listed image files become images: all of them looked at before training, as many kept as memory allows.

Every file is decoded once at the door, so that a broken one is known before training starts. The 8-bit pixels are
kept as long as they fit; a data set that does not fit keeps its first images and decodes the others each time they are
asked for, in whatever thread asks. Which images those are changes time and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._image_file import FORMATS, bombs_refused, image_size, read_image
from vecgrad.data._lazy import Indices, LazyImages, chosen
from vecgrad.data._listing import ImageFile, Listing, is_foreign
from vecgrad.data._reader import Options, Part, Source
from vecgrad.spec.errors import DataError

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]
# The least and the greatest value of a 16-bit image, before it is brought to 8 bits.
_Span = tuple[int, int] | None

# Files that one thread decodes in a row.
_RUN = 64
# Bytes of a file from which several threads decode faster than one: below, they mostly wait for the interpreter.
_WORTH_A_THREAD = 8 << 10
_MOST_THREADS = 8
# Sizes that the error about mixed sizes lists.
_LISTED_SIZES = 6
# 16-bit images whose values lie closer together keep fewer than 32 levels of the 256 that 8 bits have.
_NARROW = 65536 // 8


# What is wrong with files, and the values of 16-bit ones, by number.
_Found = tuple[dict[int, DataError], dict[int, tuple[int, int]]]


class _ColourFound(Exception):
    """An image has colour where all before it were grey."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What every image is brought to: ``shape``; ``resize`` says whether other sizes may be, ``sure`` whether
    the channels were decided by the user or by an image in colour."""

    shape: Shape
    resize: bool
    sure: bool

    def read(self, file: ImageFile) -> tuple[Pixels, _Span]:
        """As of ``_read``. DataError for a broken image; _ColourFound; another height or width is left to the caller."""
        pixels, span = _read(
            file, self.shape[2] if self.sure else None, self.shape[:2] if self.resize else None
        )
        if pixels.shape[2] != self.shape[2]:
            raise _ColourFound
        return pixels, span


@dataclass(frozen=True, slots=True)
class _Store:
    """Files and as many of their pixels as are kept. Called with index numbers it returns those images."""

    files: Sequence[ImageFile]
    form: _Form
    kept: Pixels

    def __call__(self, places: Indices) -> Pixels:
        images = np.empty((len(places), *self.form.shape), np.uint8)
        here = places < len(self.kept)
        images[here] = self.kept[places[here]]
        with bombs_refused:
            for row in np.flatnonzero(~here):
                file = self.files[places[row]]
                pixels, _ = self.form.read(file)
                if pixels.shape != self.form.shape:
                    raise DataError(f"{file.name}: has changed since the data were opened; open them again")
                images[row] = pixels
        return images


def decoded(name: str, listing: Listing, options: Options) -> Source:
    """The source whose images these files are; training decides about size and channels of the other parts.

    Raises DataError for broken images, unless they are to be skipped, and for images of several sizes
    unless ``options.size`` is given.
    """
    if options.broken == "error":
        _check_formats([file for listed in listing.parts.values() for file in listed.files])
    parts: dict[str, Part] = {}
    names: dict[str, tuple[str, ...]] = {}
    skipped: list[str] = []
    deep: dict[str, tuple[int, int]] = {}
    form: _Form | None = None
    budget = options.keep
    for part, listed in listing.parts.items():
        store, errors, spans = _looked_at(name, listed.files, options, form, budget)
        deep |= {listed.files[number].name: span for number, span in spans.items()}
        budget -= store.kept.nbytes
        form = _Form(store.form.shape, True, True)
        good = np.setdiff1d(np.arange(len(listed.files)), np.array(list(errors), np.int64))
        images: Pixels | LazyImages = store.kept
        if len(store.kept) < len(listed.files):
            images = LazyImages(store, np.arange(len(listed.files)), store.form.shape, np.uint8)
        if errors:
            images = chosen(images, good)
            skipped += map(str, errors.values())
        parts[part] = images, listed.labels[good]
        names[part] = tuple(listed.files[number].inside for number in good)
    return Source(
        name, parts["train"], parts.get("validation"), parts.get("test"),
        class_names=listing.class_names, white=255, skipped=tuple(skipped),
        targets="numbers" if listing.class_names is None else "classes", names=names,
        remarks=_remarks(name, deep),
    )  # fmt: skip


def _check_formats(files: Sequence[ImageFile]) -> None:
    """Raises DataError where files that are images by their names are of formats that are not read."""
    foreign: list[ImageFile] = []
    for file in files:
        if is_foreign(file.inside):
            try:
                # What it is says its content: a .gif may be a PNG.
                image_size(io.BytesIO(file.load()), what=file.name)
            except (DataError, OSError):
                foreign.append(file)
    if foreign:
        several = f", the first of {len(foreign):,} such files" if len(foreign) > 1 else ""
        raise DataError(
            f"{foreign[0].name}: not an image that can be read{several}; expected {', '.join(FORMATS)}: convert them, "
            'to PNG for example, or leave them out with broken="skip", on the command line --skip-broken'
        )


def _looked_at(
    name: str, files: Sequence[ImageFile], options: Options, form: _Form | None, budget: int
) -> tuple[_Store, dict[int, DataError], dict[int, tuple[int, int]]]:
    """All files decoded once; the broken ones by number, and the values of 16-bit ones (least, greatest)."""
    if form is None:
        form = _first(name, files, options)
    while True:
        kept = np.empty((min(len(files), max(0, budget) // int(np.prod(form.shape))), *form.shape), np.uint8)
        try:
            errors, spans = _fill(_Store(files, form, kept), options)
        except _ColourFound:
            form = _Form((*form.shape[:2], 3), form.resize, True)
            continue
        if len(errors) == len(files):
            raise DataError(f"{name}: not one of {len(files):,} images can be read; the first: {errors[0]}")
        return _Store(files, form, kept), errors, spans


def _first(name: str, files: Sequence[ImageFile], options: Options) -> _Form:
    """The form that the first readable image suggests; a later one in colour may still change grey."""
    for file in files:
        try:
            shape = _read(file, options.channels, options.size)[0].shape
        except DataError:
            if options.broken == "error":
                raise
            continue
        sure = options.channels is not None or shape[2] == 3
        return _Form((shape[0], shape[1], shape[2]), options.size is not None, sure)
    raise DataError(f"{name}: not one of {len(files):,} images can be read")


def _fill(store: _Store, options: Options) -> _Found:
    """Decodes every file, into ``store.kept`` as far as that goes. The first error, in the order of files, is raised
    unless errors are to be skipped."""
    errors: dict[int, DataError] = {}
    deep: dict[int, tuple[int, int]] = {}
    spans = [range(i, min(i + _RUN, len(store.files))) for i in range(0, len(store.files), _RUN)]
    with bombs_refused:
        for found, values in _runs(store, spans):
            deep |= values
            if found and options.broken == "error":
                raise next(iter(found.values()))
            errors |= found
    return errors, deep


def _runs(store: _Store, spans: list[range]) -> Iterator[_Found]:
    threads = min(_MOST_THREADS, _processors(), len(spans))
    if threads < 2 or max(map(len, _sample(store.files)), default=0) < _WORTH_A_THREAD:
        for span in spans:
            yield _decode(store, span)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vecgrad-decode")
    try:
        yield from pool.map(_decode, [store] * len(spans), spans)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _sample(files: Sequence[ImageFile]) -> Iterator[bytes]:
    """The bytes of some of the files."""
    for file in files[:: max(1, len(files) // 8)]:
        with contextlib.suppress(OSError):
            yield file.load()


def _decode(store: _Store, span: range) -> _Found:
    errors: dict[int, DataError] = {}
    deep: dict[int, tuple[int, int]] = {}
    for number in span:
        try:
            pixels, values = store.form.read(store.files[number])
        except DataError as error:
            errors[number] = error
            continue
        if pixels.shape != store.form.shape:
            raise _mixed(store.files)
        if number < len(store.kept):
            store.kept[number] = pixels
        if values is not None:
            deep[number] = values
    return errors, deep


def _read(file: ImageFile, channels: int | None, size: tuple[int, int] | None) -> tuple[Pixels, _Span]:
    """uint8 (h, w, c); 16-bit grey is brought to 8 bits, and its least and greatest value are told."""
    try:
        data = file.load()
    except OSError as error:
        raise DataError(f"{file.name}: cannot be read: {error.strerror or error}") from error
    pixels, white = read_image(io.BytesIO(data), channels=channels, size=size, what=file.name)
    if white == 255:
        return pixels, None
    values = int(pixels.min()), int(pixels.max())
    return np.rint(pixels * (255 / white)).astype(np.uint8), values


def _remarks(name: str, deep: dict[str, tuple[int, int]]) -> tuple[str, ...]:
    """What is lost where most 16-bit images use little of their range; one even grey has nothing to lose."""
    uneven = {file: values for file, values in deep.items() if values[0] < values[1]}
    narrow = [file for file, (least, greatest) in uneven.items() if greatest - least < _NARROW]
    if not narrow or 2 * len(narrow) < len(uneven):
        return ()
    least, greatest = uneven[narrow[0]]
    return (
        f"{name}: {len(narrow):,} of {len(deep):,} 16-bit images use less than an eighth of their range, the first: "
        f"{narrow[0]} with values {least} to {greatest}. Image files are brought to 8 bits (one level for 257 values), "
        f"which leaves little of these: stretch their values to 0 … 65535 first, or pass arrays of uint16",
    )


def _mixed(files: Sequence[ImageFile]) -> DataError:
    """The sizes there are, the commonest first, each with a file that has it."""
    counts: Counter[tuple[int, int]] = Counter()
    example: dict[tuple[int, int], str] = {}
    for file in files:
        try:
            size = image_size(io.BytesIO(file.load()), what=file.name)
        except (DataError, OSError):
            continue
        counts[size] += 1
        example.setdefault(size, file.name)
    listed = [
        f"{height}×{width} ({count:,}, as {example[height, width]})"
        for (height, width), count in counts.most_common(_LISTED_SIZES)
    ]
    more = f" and {len(counts) - _LISTED_SIZES} more" if len(counts) > _LISTED_SIZES else ""
    return DataError(
        f"images of {len(counts)} sizes: {', '.join(listed)}{more}; pass size=(height, width), on the command line "
        "--size, to resize them all"
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
