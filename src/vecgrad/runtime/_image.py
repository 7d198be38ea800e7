"""Object files put into executable memory without LLVM, whose linker alone would touch 7 MB of its code.

What kernels are made of is little: functions, read-only constants, and distances between them, on Linux in ELF for
x86-64. :func:`link` knows exactly that and leaves everything else to LLVM.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vecgrad.runtime.memory import PAGE, Memory, aligned

_HEADER = struct.Struct("<4sBB10xHH20xQ10xHHH")  # up to the number of the section with the sections' names
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DISTANCE = struct.Struct("<i")

_IS_64_LITTLE, _RELOCATABLE, _X86_64 = (2, 1), 1, 62
_PROGBITS, _SYMTAB, _RELA, _REL, _UNWIND = 1, 2, 4, 9, 0x70000001
_WRITE, _ALLOC, _EXECUTABLE, _TLS = 1, 2, 4, 0x400
_PC32, _PLT32 = 2, 4
_LINE = 64


class _Foreign(Exception):
    """Something in an object that only a real linker handles."""


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int

    @property
    def placed(self) -> bool:
        """Whether it belongs in memory. (Tables for unwinding do not: no exception passes through a kernel.)"""
        return bool(self.flags & _ALLOC and self.size and self.kind != _UNWIND)


class Image:
    """Linked code. addresses: of each object's function; valid as long as the image lives."""

    def __init__(self, memory: Memory, addresses: Mapping[str, int]) -> None:
        self._memory = memory
        self.addresses = addresses


def link(objects: Mapping[str, bytes]) -> Image | None:
    """The objects, function name -> object file that defines it, in memory that can be executed but not written.

    None where that takes more than this module knows: another system or processor, another kind of object, a
    reference to something outside the object, or a system that does not let a process make executable memory.
    """
    if not sys.platform.startswith("linux") or sys.byteorder != "little":
        return None
    try:
        parsed = {name: _Object(data) for name, data in objects.items()}
        end = 0
        for code in (True, False):
            end = -(-end // PAGE) * PAGE
            for one in parsed.values():
                end = one.place(end, code)
        memory = aligned(max(end, 1))
        content = memory.array("uint8", max(end, 1)).data
        for one in parsed.values():
            one.write(content)
        addresses = {name: memory.address + one.function(name) for name, one in parsed.items()}
    except (_Foreign, struct.error, IndexError, ValueError):
        return None
    content.release()
    size = -(-max(end, 1) // PAGE) * PAGE
    if _protect()(memory.address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    return Image(memory, addresses)


class _Object:
    """An object file: its sections, and after :meth:`place` where each of them is in the image."""

    def __init__(self, data: bytes) -> None:
        magic, *kind, form, machine, at, size, count, _ = _HEADER.unpack_from(data)
        if (magic, tuple(kind), form, machine, size) != (
            b"\x7fELF", _IS_64_LITTLE, _RELOCATABLE, _X86_64, _SECTION.size,
        ):  # fmt: skip
            raise _Foreign
        self._data = data
        self._sections = [_Section(*row) for row in _SECTION.iter_unpack(data[at : at + count * size])]
        self._places: dict[int, int] = {}
        for section in self._sections:
            unknown = section.kind != _PROGBITS or section.flags & (_WRITE | _TLS)
            outside = section.offset + section.size > len(data) or section.align > PAGE
            if (section.placed and (unknown or outside)) or section.kind == _REL:
                raise _Foreign

    def place(self, end: int, code: bool) -> int:
        """Give the sections that are code, or those that are not, their places from ``end`` on; the new end."""
        for number, section in enumerate(self._sections):
            if section.placed and bool(section.flags & _EXECUTABLE) == code:
                align = max(section.align, _LINE)
                self._places[number] = -(-end // align) * align
                end = self._places[number] + section.size
        return end

    def write(self, content: Any) -> None:
        """The sections into the image, with the distances between them settled."""
        for number, place in self._places.items():
            section = self._sections[number]
            content[place : place + section.size] = self._data[section.offset : section.offset + section.size]
        for relocations in self._sections:
            if relocations.kind == _RELA and relocations.info in self._places:
                self._relocate(content, relocations)

    def _relocate(self, content: Any, relocations: _Section) -> None:
        start, size = self._places[relocations.info], self._sections[relocations.info].size
        symbols = list(self._rows(self._sections[relocations.link], _SYMBOL))
        for offset, info, addend in self._rows(relocations, _RELOCATION):
            _, _, _, section, value, _ = symbols[info >> 32]
            if info & 0xFFFFFFFF not in (_PC32, _PLT32) or section not in self._places:
                raise _Foreign
            if offset + _DISTANCE.size > size:
                raise _Foreign
            at = start + offset
            _DISTANCE.pack_into(content, at, self._places[section] + value + addend - at)

    def function(self, name: str) -> int:
        """Where the function is in the image."""
        for table in self._sections:
            if table.kind == _SYMTAB:
                names = self._sections[table.link].offset
                wanted = name.encode() + b"\0"
                for at, _, _, section, value, _ in self._rows(table, _SYMBOL):
                    if section in self._places and self._data.startswith(wanted, names + at):
                        return self._places[section] + int(value)
        raise _Foreign

    def _rows(self, section: _Section, record: struct.Struct) -> Iterator[tuple[Any, ...]]:
        return record.iter_unpack(self._data[section.offset : section.offset + section.size])


@functools.cache
def _protect() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
