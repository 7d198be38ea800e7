"""Reader of a tar archive, plain or packed by gzip, bzip2 or xz, that holds a folder of image files by class.

Nothing is extracted. A plain archive is read in place; a packed one is unpacked once, into memory or, where that would
exceed the limit, into a nameless temporary file. Members are then read at their offsets.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

from vecgrad.data._decoding import decoded
from vecgrad.data._listing import ImageFile, Listing, by_folder, is_hidden, part_of
from vecgrad.data._pixel_cache import remembered
from vecgrad.data._reader import Options, Reader, Source
from vecgrad.spec.errors import DataError

_UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)
# What a packed archive may make this program write: images hardly shrink when packed, so more is a trap.
_MOST_UNPACKED = 64 << 30
_PIECE = 1 << 20
_BLOCK = 512
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    try:
        with _unpacking(Path(source)) as (stream, _):
            head = stream.read(_BLOCK)
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except (OSError, *_DAMAGE):
        return False
    return True


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    path = Path(source)
    return remembered(path, options, partial(_decoded, path, options))


def _decoded(path: Path, options: Options) -> Source:
    try:
        archive = _unpacked(path, options.keep)
        listing = _listed(path, archive)
    except DataError:
        raise  # a ValueError too
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged archive ({error}); get a good copy of the file") from error
    return decoded(path.name.partition(".")[0] or path.name, listing, options)


class _Archive:
    """An unpacked archive that several threads read from. Pickled, it is its path: whoever has it back opens it anew."""

    def __init__(self, file: IO[bytes], again: tuple[str, tuple[int, int], int]) -> None:
        self.file = file
        self._again = again
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self.file.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, self._again

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            self.file.seek(offset)
            return self.file.read(size)


# The last one stays: of many tasks that a process is sent, only the first has to unpack.
@lru_cache(maxsize=1)
def _reopened(place: str, state: tuple[int, int], in_memory: int) -> _Archive:
    """The archive that another process opened, or this one before. DataError where it is gone or another by now."""
    path = Path(place)
    try:
        if _state(path) != state:
            raise DataError(f"{path}: has changed since the data were opened; open them again")
        return _unpacked(path, in_memory)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; images that are read when asked for need the archive where "
            "it was opened"
        ) from error


def _state(path: Path) -> tuple[int, int]:
    """What tells a file from one that was written later: its size and its time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@contextmanager
def _unpacking(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """(the archive's bytes, whether they are unpacked on the way), by what the file begins with."""
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        unpacker = next((make for magic, make in _UNPACKERS.items() if head.startswith(magic)), None)
        yield (file, False) if unpacker is None else (unpacker(file), True)


def _unpacked(path: Path, in_memory: int) -> _Archive:
    again = os.path.abspath(path), _state(path), in_memory
    with _unpacking(path) as (stream, packed):
        if not packed:
            return _Archive(path.open("rb"), again)
        # The limit 0 would mean none.
        found = tempfile.SpooledTemporaryFile(max_size=max(1, in_memory))  # noqa: SIM115 (the archive closes it)
        while piece := stream.read(_PIECE):
            if found.tell() + len(piece) > _MOST_UNPACKED:
                found.close()
                raise DataError(f"{path}: unpacks to more than {_MOST_UNPACKED:,} bytes; unpack it with tar")
            found.write(piece)
    return _Archive(found, again)


def _listed(path: Path, archive: _Archive) -> Listing:
    files: dict[tuple[str, ...], ImageFile] = {}
    folders: set[tuple[str, ...]] = set()
    archive.file.seek(0)
    with tarfile.open(fileobj=archive.file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            parts = _checked(path, member)
            if is_hidden(parts):
                continue
            folders.update(parts[:depth] for depth in range(1, len(parts)))
            if member.isdir():
                folders.add(parts)
            else:
                load = partial(archive.read, member.offset_data, member.size)
                files[parts] = ImageFile(f"{path}: {member.name}", load, member.name)
        end = tar.offset
    # tarfile takes a damaged header, and an archive that was cut between two members, for its end.
    mark = archive.read(end, _BLOCK)
    if len(mark) < _BLOCK or mark.strip(b"\0"):
        raise DataError(
            f"{path}: damaged archive (at byte {end:,} there is neither a member nor the end mark); "
            "get a good copy of the file"
        )
    return _below_one_folder(f"{path}: ", files, folders - {()})


def _checked(path: Path, member: tarfile.TarInfo) -> tuple[str, ...]:
    """The parts of the member's path. Raises DataError for what no archive of images holds."""
    name = member.name
    wrong = None
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        wrong = "an absolute path"
    elif ".." in name.replace("\\", "/").split("/"):
        wrong = "a path with .."
    elif not member.isdir() and (not member.isreg() or member.issparse()):
        wrong = _KINDS.get(member.type, "neither a file nor a folder")
    if wrong is not None:
        raise DataError(
            f"{path}: {name!r} is {wrong}; an archive of images holds only folders and plain files: "
            "do not trust this one, or pack the images anew"
        )
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _below_one_folder(
    root: str, files: dict[tuple[str, ...], ImageFile], folders: set[tuple[str, ...]]
) -> Listing:
    """The listing, below a single outer folder where everything was packed within one."""
    top = {folder[0] for folder in folders}
    inner = {folder[1] for folder in folders if len(folder) > 1}
    if len(top) == 1 and (len(inner) > 1 or any(map(part_of, inner))) and not any(map(part_of, top)):
        (outer,) = top
        files = {parts[1:]: file for parts, file in files.items() if parts[0] == outer and len(parts) > 1}
        folders = {folder[1:] for folder in folders if len(folder) > 1}
        root += outer
    return by_folder(root, files, folders)


TAR = Reader("tar", "a .tar or .tar.gz of a folder of images", _recognises, _read, decodes=True)
