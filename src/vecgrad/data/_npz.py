"""Reader of ``.npz`` archives, without pickle.

The archive's own tables are not believed: what an array's header promises must agree with what its
member of the zip file unpacks to, and that with what its packed bytes could ever hold.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vecgrad.data._reader import Options, Part, Reader, Source
from vecgrad.spec.errors import DataError

# (images, labels) as archives in the wild name them; the first pair of a part that is there counts.
TRAIN_NAMES = (
    ("x_train", "y_train"),
    ("train_images", "train_labels"),
    ("X", "y"),
    ("x", "y"),
    ("images", "labels"),
)
VALIDATION_NAMES = (("x_val", "y_val"), ("val_images", "val_labels"))
TEST_NAMES = (("x_test", "y_test"), ("test_images", "test_labels"))
# As for gzip: no DEFLATE stream expands further.
_MOST_EXPANSION = 1032


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)) or not Path(source).is_file():
        return False
    return Path(source).suffix == ".npz" or _begins_as_zip(Path(source))


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    path = Path(source)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            train, validation, test = (
                _part(archive, members, path, names, options.keep)
                for names in (TRAIN_NAMES, VALIDATION_NAMES, TEST_NAMES)
            )
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: an encrypted member; NotImplementedError: a way of packing that NumPy never writes.
        raise DataError(f"{path}: damaged .npz file ({error}); get a good copy of the file") from error
    if train is None:
        pairs = ", ".join(f"{images} and {labels}" for images, labels in TRAIN_NAMES)
        raise DataError(f"{path}: holds {', '.join(members) or 'nothing'}; expected one of the pairs {pairs}")
    return Source(path.name, train, validation, test, data_format=options.data_format)


def _part(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    path: Path,
    names: tuple[tuple[str, str], ...],
    keep: int,
) -> Part | None:
    for images, labels in names:
        if images in members and labels in members:
            return _array(archive, path, members[images], keep), _array(archive, path, members[labels])
    return None


def _array(
    archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, keep: int | None = None
) -> NDArray[Any]:
    """The array; one of more than ``keep`` bytes that is not packed stays in the file, mapped."""
    what = f"{path}: {info.filename}"
    try:
        with archive.open(info) as member:
            shape, fortran, dtype = _header(member)
            if dtype.hasobject:
                raise ValueError("its dtype is object, which only pickle could read: save integers or floats")
            header = member.tell()
            promised = header + math.prod(shape) * dtype.itemsize
        packed = min(info.compress_size, path.stat().st_size)
        if promised != info.file_size or promised > _MOST_EXPANSION * packed:
            raise ValueError(
                f"its header says {dtype} {shape}, which takes {promised:,} bytes, "
                f"but the archive holds {info.file_size:,} for it, packed in {packed:,}"
            )
        if keep is not None and promised > keep and info.compress_type == zipfile.ZIP_STORED:
            return np.memmap(
                path, dtype, "r", _data_offset(path, info) + header, shape, order="F" if fortran else "C"
            )
        with archive.open(info) as member:
            array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{what}: cannot be read as an array: {error}") from error
    return array


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, 30 bytes with the lengths of two fields at 26 and 28."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name) + int(extra)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format is for records, not for images")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, dtype = read(member)
    except Exception as error:
        # The header is a Python literal, and the parsers behind the call have many ways to refuse one.
        raise ValueError(f"damaged header: {' '.join(str(error).split())[:200]}") from error
    return shape, fortran, dtype


NPZ = Reader(
    "npz",
    "a .npz file with x_train, y_train, x_test, y_test (or X, y)",
    _recognises,
    _read,
    minds=("data_format",),
)
