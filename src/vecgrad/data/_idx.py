"""Reader of a folder with MNIST's four IDX files, plain or gzip (also Fashion-MNIST, KMNIST, EMNIST).

IDX: two zero bytes, the code of the number type (8: unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit integer, then the numbers, last dimension fastest. The header is
only believed as far as the size of the file bears it out.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._reader import Options, Part, Reader, Source, holdings
from vecgrad.spec.errors import DataError

_IMAGES, _LABELS = "images-idx3", "labels-idx1"
_PREFIXES = ("train", "t10k")
_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_GZIP_MAGIC = b"\x1f\x8b"
# No DEFLATE stream expands further (zlib, Technical Details, "Maximum Compression Factor").
_MOST_EXPANSION = 1032
# What a small file may make this program allocate; the largest of the MNIST family unpacks to 0.6 GB.
_MOST_UNPACKED = 2 << 30
_PIECE = 1 << 20


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, which must have ``rank`` dimensions.

    Raises DataError for a file that is no IDX file, holds another type or rank, is empty, or whose
    header and size disagree.
    """
    size = path.stat().st_size
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP_MAGIC
        plain.seek(0)
        if not packed:
            shape = _header(plain, path, rank)
            _check_size(path, shape, rank, size)
            return np.fromfile(plain, dtype=np.uint8, count=math.prod(shape)).reshape(shape)
        try:
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _unpack(unpacked, path, rank, size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error}); get a good copy of the file") from error


def _unpack(stream: BinaryIO | gzip.GzipFile, path: Path, rank: int, size: int) -> NDArray[np.uint8]:
    shape = _header(stream, path, rank)
    count, header = math.prod(shape), _header_size(rank)
    if header + count > _MOST_EXPANSION * size:
        raise DataError(
            f"{path}: its header promises {_text(shape)} bytes, more than {size:,} bytes of gzip can hold; "
            "get a good copy of the file"
        )
    if count > _MOST_UNPACKED:
        raise DataError(f"{path}: its header promises {count:,} bytes; unpack it with gunzip first")
    data = bytearray()
    # One byte more than promised: it must not be there, and asking for it checks the gzip checksum.
    while piece := stream.read(min(_PIECE, count + 1 - len(data))):
        data += piece
    _check_size(path, shape, rank, header + len(data), more_may_follow=len(data) > count)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _header_size(rank: int) -> int:
    return 4 + 4 * rank


def _header(stream: BinaryIO | gzip.GzipFile, path: Path, rank: int) -> tuple[int, ...]:
    head = stream.read(_header_size(rank))
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(
            f"{path}: begins with the bytes {head[:4].hex(' ') or '(none)'}; "
            f"an IDX file begins with 00 00 08 {rank:02x}: is this the right file?"
        )
    if head[2] != 0x08:
        kind = _TYPES.get(head[2], "unknown")
        raise DataError(f"{path}: IDX type code 0x{head[2]:02x} ({kind}); only 0x08 (unsigned byte) is read")
    if head[3] != rank:
        kind = "images" if rank == 3 else "labels"
        raise DataError(
            f"{path}: IDX array of {head[3]} dimensions; {kind} have {rank}: are two files swapped?"
        )
    if len(head) < _header_size(rank):
        raise DataError(f"{path}: ends inside its header ({len(head)} bytes); get a good copy of the file")
    shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    if 0 in shape:
        raise DataError(f"{path}: its header says {_text(shape)}: there is nothing in it")
    return shape


def _check_size(
    path: Path, shape: tuple[int, ...], rank: int, came: int, *, more_may_follow: bool = False
) -> None:
    expected = _header_size(rank) + math.prod(shape)
    if came != expected:
        came_text = f"more than {expected:,}" if more_may_follow else f"{came:,}"
        raise DataError(
            f"{path}: its header says {_text(shape)}, which takes {expected:,} bytes, but there are "
            f"{came_text}: the file is {'cut short' if came < expected else 'too long'}; get a good copy"
        )


def _text(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{side:,}" for side in shape)


def _candidates(prefix: str, kind: str) -> list[str]:
    return [
        f"{prefix}-{kind.replace('-', separator)}-ubyte{suffix}"
        for separator in "-."
        for suffix in ("", ".gz")
    ]


def _find(folder: Path, prefix: str, kind: str) -> Path | None:
    return next((folder / name for name in _candidates(prefix, kind) if (folder / name).is_file()), None)


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    folder = Path(source)
    return any(_find(folder, prefix, kind) for prefix in _PREFIXES for kind in (_IMAGES, _LABELS))


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    train, test = (_read_part(folder, prefix) for prefix in _PREFIXES)
    return Source(folder.resolve().name, train, test=test, white=255)


def _read_part(folder: Path, prefix: str) -> Part:
    found = []
    for kind in (_IMAGES, _LABELS):
        path = _find(folder, prefix, kind)
        if path is None:
            raise DataError(
                f"{folder}: {holdings(folder)}; expected also one of {', '.join(_candidates(prefix, kind))}"
            )
        found.append(path)
    images, labels = read_idx(found[0], 3), read_idx(found[1], 1)
    if len(images) != len(labels):
        raise DataError(
            f"{found[1]}: {len(labels):,} labels for the {len(images):,} images of {found[0].name}; "
            "the two files do not belong together"
        )
    return images, labels


IDX = Reader("idx", "a folder with MNIST's IDX files (train-images-idx3-ubyte[.gz] …)", _recognises, _read)
