"""Decoded archives, kept on the disk: what was unpacked and decoded once is read back at once.

A file of the cache is an uncompressed .npz, whose checksums tell a damaged one, named by the digest of the archive's
bytes, of what was asked for and of the decoder. It holds 8-bit pixels and labels, no code. Whatever goes wrong here
costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._reader import Options, Part, Source
from vecgrad.spec.places import cache_directory

# Counts up when the same archive would be decoded to other images, or the file's layout changes.
_VERSION = 3
_MOST_BYTES = 4 << 30
# What a file holds beside the pixels, at most; only pixels count against the memory for images.
_HEADERS = 64 << 20
_DAY = 86_400.0
_PARTS = ("train", "validation", "test")


def remembered(path: Path, options: Options, make: Callable[[], Source]) -> Source:
    """What ``make`` returns for the archive at ``path``, from the cache where it has been made before.

    Only a source whose images all fit into ``options.keep`` is kept.
    """
    folder, digest = cache_directory() / "images", _digest(path)
    place = folder / _name(digest, options, options.size, options.channels)
    found = _load(place, options)
    if found is None:
        # Images that came with the size and the channels that are asked for now are the same without asking.
        found = _load(folder / _name(digest, options, None, None), options)
    if found is None:
        found = make()
        # Not being able to write is no reason to stop: the images are here.
        with contextlib.suppress(OSError):
            _store(place, found)
    return replace(found, name=path.name.partition(".")[0] or path.name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(digest: str, options: Options, size: tuple[int, int] | None, channels: int | None) -> str:
    from PIL import __version__, features

    decoders = [features.version(name) for name in ("jpg", "libjpeg_turbo", "webp", "zlib")]
    asked = (_VERSION, digest, size, channels, options.broken, __version__, decoders)
    return f"{hashlib.sha256(repr(asked).encode()).hexdigest()}.npz"


def _load(place: Path, options: Options) -> Source | None:
    try:
        if place.stat().st_size > options.keep + _HEADERS or not _own(place):
            return None
        with np.load(place, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            parts: dict[str, Part] = {
                part: (archive[f"x_{part}"], archive[f"y_{part}"])
                for part in _PARTS
                if f"x_{part}" in archive
            }
        if sum(images.nbytes for images, _ in parts.values()) > options.keep:
            return None
        *size, channels = parts["train"][0].shape[1:]
        if options.size not in (None, tuple(size)) or options.channels not in (None, channels):
            return None
        with contextlib.suppress(OSError):
            os.utime(place)  # the time of last use decides what is dropped
        return Source(
            "",
            parts["train"],
            parts.get("validation"),
            parts.get("test"),
            class_names=tuple(about["class_names"]),
            white=255,
            targets="classes",
            skipped=tuple(about["skipped"]),
            names={part: tuple(about["names"][part]) for part in parts},
            remarks=tuple(about["remarks"]),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _own(place: Path) -> bool:
    """Whether nobody else can have written the file."""
    status = place.lstat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _store(place: Path, source: Source) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for part in _PARTS:
        if (given := getattr(source, part)) is not None:
            arrays[f"x_{part}"], arrays[f"y_{part}"] = given
    size = sum(array.nbytes for array in arrays.values())
    if size > _MOST_BYTES // 2 or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        return
    fields = ("class_names", "skipped", "names", "remarks")
    about = json.dumps({name: getattr(source, name) for name in fields}).encode()
    arrays["about"] = np.frombuffer(about, np.uint8)
    place.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.parent.mkdir(exist_ok=True, mode=0o700)
    _keep_bounded(place.parent, _MOST_BYTES - size)
    descriptor, temporary = tempfile.mkstemp(dir=place.parent, suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _keep_bounded(folder: Path, most: int) -> None:
    """Drop the files unused for longest until the others take ``most`` bytes, and what killed processes left."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            status = path.stat()
            if path.suffix == ".npz":
                files.append((status.st_mtime, status.st_size, path))
            elif time.time() - status.st_mtime > _DAY:
                path.unlink()
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
