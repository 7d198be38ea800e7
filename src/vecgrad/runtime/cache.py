"""Compiled kernels on disk. What is read back is machine code, so a file is loaded only if it is
provably what this program wrote for exactly this key, in a directory nobody else can write to."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import time
import warnings
from pathlib import Path

from vecgrad.runtime import _llvm
from vecgrad.spec.machine import Machine
from vecgrad.spec.places import cache_directory

# Raise it when the meaning of a key or the file's layout changes; kernels need no change here, as their text
# is part of the key.
GENERATOR_VERSION = 1
LIMIT_BYTES = 256 << 20

# magic (8), key (32), SHA-256 of the object (32), then the object.
_MAGIC = b"vecgrad\x01"
_HEADER = len(_MAGIC) + 64
_SUFFIX = ".vgo"
_DAY = 86400.0


def object_key(name: str, text: str, machine: Machine) -> bytes:
    """32 bytes that stand for everything the object code depends on; text: the IR, or what determines it."""
    parts = (
        f"generator {GENERATOR_VERSION}",
        _llvm.version(),
        _llvm.OPTIONS,
        machine.triple,
        machine.cpu,
        ",".join(machine.features),
        name,
        text,
    )
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


class ObjectCache:
    """A directory of compiled objects. It never raises: what it cannot read or write it does without.

    directory: made with mode 0700 when missing. One that belongs to somebody else or that others may
    write to is refused with a warning, and the cache stays empty. limit: bytes kept; the files
    unused for longest go first.
    """

    def __init__(self, directory: Path, limit: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self.limit = limit
        self._stored: int | None = None
        problem = _prepare(directory)
        self._reads = self._writes = problem is None
        if problem is not None:
            self._complain(problem)

    def get(self, key: bytes) -> bytes | None:
        """The object stored under ``key``; None if there is none that can be trusted."""
        if not self._reads:
            return None
        try:
            with open(self._path(key), "rb", opener=_open_plain) as file:
                status = os.fstat(file.fileno())
                if not _private(status) or not stat.S_ISREG(status.st_mode):
                    return None
                content = file.read()
                # The time of last use decides what is dropped; a day's precision spares most writes.
                if time.time() - status.st_mtime > _DAY:
                    with contextlib.suppress(OSError):
                        os.utime(file.name)
        except OSError:
            return None
        data = content[_HEADER:]
        return data if data and content[:_HEADER] == _header(key, data) else None

    def put(self, key: bytes, data: bytes) -> None:
        """Store ``data`` under ``key``, atomically. If that fails the cache stops writing, with a warning."""
        if not self._writes:
            return
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.directory, suffix=".tmp")  # mode 0600
            try:
                # No fsync, which takes milliseconds: what a crash leaves half written its digest gives away.
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_header(key, data) + data)
                os.replace(temporary, self._path(key))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            self._keep_bounded(_HEADER + len(data))
        except OSError as error:
            self._writes = False
            self._complain(f"cannot be written ({error.strerror or error})")

    def _path(self, key: bytes) -> Path:
        return self.directory / (key.hex() + _SUFFIX)

    def _keep_bounded(self, added: int) -> None:
        """Drop the oldest files when over the limit, down to three quarters of it so that it lasts."""
        if self._stored is not None:
            self._stored += added
            if self._stored <= self.limit:
                return
        files: list[tuple[float, int, str]] = []
        with os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(_SUFFIX):
                        files.append((status.st_mtime, status.st_size, entry.path))
                    elif entry.name.endswith(".tmp") and time.time() - status.st_mtime > _DAY:
                        os.unlink(entry.path)  # left by a process that was killed
        self._stored = sum(size for _, size, _ in files)
        if self._stored > self.limit:
            for _, size, path in sorted(files):
                if self._stored <= self.limit * 3 // 4:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    self._stored -= size

    def _complain(self, problem: str) -> None:
        warnings.warn(
            f"the cache of compiled kernels, {self.directory}, {problem}: "
            "kernels are compiled anew each time. Set VECGRAD_CACHE_DIR to a private, writable directory.",
            stacklevel=3,
        )


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory)


def default_cache() -> ObjectCache:
    """The process's cache at :func:`cache_directory`."""
    return _cache_at(cache_directory())


def _header(key: bytes, data: bytes) -> bytes:
    return _MAGIC + key + hashlib.sha256(data).digest()


def _prepare(directory: Path) -> str | None:
    """Make the directory; what is wrong with it, or None."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        status = os.stat(directory)
    except OSError as error:
        return f"cannot be used ({error.strerror or error})"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    return None if _private(status) else "belongs to another user or can be written by others"


def _private(status: os.stat_result) -> bool:
    """Ours, and writable by nobody else. (Windows keeps the user's directories private by its own lists.)"""
    if os.name == "nt":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _open_plain(path: str, flags: int) -> int:
    """Open, but no symbolic link; a pipe does not block."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
