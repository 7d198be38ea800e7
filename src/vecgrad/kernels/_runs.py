"""Copying and clearing runs of entries: whole vectors in a loop, an exact tail."""

from __future__ import annotations

from collections.abc import Callable

from vecgrad.kernels.builder import Builder, Value

_UNROLL = 4
_STRAIGHT = 8  # up to this many vectors no loop is made


def copy_run(b: Builder, target: Value, source: Value, entries: int) -> None:
    """``entries`` entries from ``source`` to ``target``; neither need be aligned, nothing else is touched."""

    def move(at: Value | int, count: int) -> None:
        b.store_lanes(b.load_lanes(b.at(source, at), count), b.at(target, at), count)

    _run(b, entries, move)


def fill_run(b: Builder, target: Value, entries: int) -> None:
    """``entries`` zeros from ``target`` on."""

    def clear(at: Value | int, count: int) -> None:
        b.store_lanes(b.zero(), b.at(target, at), count)

    _run(b, entries, clear)


def _run(b: Builder, entries: int, step: Callable[[Value | int, int], None]) -> None:
    """``step(byte offset, lanes)`` for each vector of the run."""
    width = b.lanes * b.item
    whole, tail = divmod(entries, b.lanes)
    looped = whole // _UNROLL * _UNROLL if whole > _STRAIGHT else 0
    if looped:
        with b.loop(0, looped * width, step=_UNROLL * width) as loop:
            for u in range(_UNROLL):
                step(b.add(loop.i, u * width), b.lanes)
    for n in range(looped, whole):
        step(n * width, b.lanes)
    if tail:
        step(whole * width, tail)
