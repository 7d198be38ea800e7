"""Memory for native code: page-aligned, on huge pages when large, and guarded for tests."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vecgrad.spec.errors import ArgumentError, CompileError

PAGE = mmap.PAGESIZE
HUGE = 2 << 20  # a huge page on x86-64 and on ARM with 4 KB pages


class Memory:
    """A block of zeroed memory that nobody else uses. It lives as long as it or one of its arrays does.

    address: of the first byte. nbytes: how many may be used.
    """

    __slots__ = ("_buffer", "_start", "address", "nbytes")

    def __init__(self, buffer: mmap.mmap, start: int, nbytes: int) -> None:
        self._buffer = buffer
        self._start = start
        self.nbytes = nbytes
        self.address = _address(buffer) + start

    def array(self, dtype: DTypeLike, shape: int | Sequence[int], offset: int = 0) -> NDArray[Any]:
        """A C-contiguous array over the memory, ``offset`` bytes in; it keeps the memory alive.

        Raises ArgumentError if it would reach beyond the block.

        >>> block = aligned(64)
        >>> block.array("float32", (2, 3), offset=32).sum()
        np.float32(0.0)
        """
        kind = np.dtype(dtype)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        need = int(np.prod(sizes, dtype=np.int64)) * kind.itemsize
        if offset < 0 or need < 0 or offset + need > self.nbytes:
            raise ArgumentError(
                f"an array of {need} bytes at offset {offset} does not fit a block of {self.nbytes} bytes"
            )
        return np.ndarray(sizes, kind, buffer=self._buffer, offset=self._start + offset)


def aligned(nbytes: int) -> Memory:
    """Zeroed memory aligned to a page; from 2 MB on to 2 MB, with huge pages asked for where it fills them.

    It is private to the process: after a fork each side has its own. Raises ArgumentError for a
    negative size, OSError or MemoryError when the system has no such memory.

    >>> aligned(100).address % 4096
    0
    """
    if nbytes < 0:
        raise ArgumentError(f"the size of a memory block must not be negative, got {nbytes}")
    if nbytes < HUGE:
        return Memory(_map(max(nbytes, 1)), 0, nbytes)
    buffer = _map(nbytes + HUGE)
    start = -_address(buffer) % HUGE
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without huge pages: ordinary ones serve
            # Ordinary ones also end the block: a huge page that it fills in part would be resident as a whole.
            buffer.madvise(mmap.MADV_HUGEPAGE, start, nbytes // HUGE * HUGE)
    return Memory(buffer, start, nbytes)


def guarded(nbytes: int, side: Literal["end", "start"] = "end") -> Memory:
    """Memory for tests whose end (or start) touches a page that faults when it is read or written.

    The other side faults too, at the first byte beyond the page that holds it.
    """
    body = -(-max(nbytes, 1) // PAGE) * PAGE
    buffer = _map(body + 2 * PAGE)
    address = _address(buffer)
    _forbid(address)
    _forbid(address + PAGE + body)
    return Memory(buffer, PAGE + body - nbytes if side == "end" else PAGE, nbytes)


def address_of(array: NDArray[Any]) -> int:
    """The address of an array's first entry. Whoever keeps it must keep the array too."""
    return int(array.ctypes.data)


def _map(nbytes: int) -> mmap.mmap:
    try:
        if os.name == "nt":
            return mmap.mmap(-1, nbytes)
        # The default, MAP_SHARED, would let a forked child write into its parent's arena.
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise CompileError(
            f"the system does not give {nbytes:,} bytes of memory ({error}); use a smaller batch_size or smaller images"
        ) from None


def _address(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _forbid(address: int) -> None:
    """Make the page at ``address`` inaccessible."""
    if sys.platform == "win32":
        previous = ctypes.c_ulong()
        failed = not ctypes.windll.kernel32.VirtualProtect(
            ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 1, ctypes.byref(previous)
        )
    else:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = bool(libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0))
    if failed:
        raise OSError(ctypes.get_errno(), "cannot protect a guard page")
