"""Sums over images: partial sums in slabs, one per chunk of a grid fixed by shapes alone, that meet in a fixed order.

This is the reduction contract: which images a slab covers and the tree by which slabs are added depend on the
plan's batch size and the layer's shape, never on threads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from vecgrad.plan.draft import Buffer

# The most slabs of one sum, and the most entries of one task when slabs meet: 16 slabs × 1024 entries × 4 bytes
# pass through the second-level cache and leave enough tasks for the threads.
MOST_SLABS = 16
SEGMENT = 1024
# Entries of a task where nothing meets and only the rule changes parameters, three arrays of 16 KB; and of a large sum's, whose
# table would be large itself.
_ALONE = 4096
_ALONE_LARGE = 8192

# A weight gradient with at most this many entries is summed chunk by chunk beside the layer's other
# work (16 slabs of 128 KB); a larger one by tasks over blocks of it.
BESIDE = 40 * 1024
_FEW_TASKS = 8


def slabs_for(batch_size: int) -> int:
    """Slabs when chunks are groups of images: the largest power of two ≤ min(16, batch size).

    >>> slabs_for(64), slabs_for(10), slabs_for(1)
    (16, 8, 1)
    """
    slabs = 1
    while slabs * 2 <= min(MOST_SLABS, batch_size):
        slabs *= 2
    return slabs


def image_groups(blocks: int, batch_size: int, least: int = 1, most: int = 0) -> int:
    """Image groups of a weight gradient that is cut into ``blocks``: enough for 64 tasks, a power of two, at most 16.

    least: images that a group should have, where 8 tasks are left. most: images that it should not exceed (0: any number),
    so that a long chain of additions does not gather rounding errors.

    >>> image_groups(1, 128), image_groups(16, 128), image_groups(64, 128), image_groups(4, 32, 16)
    (16, 4, 1, 2)
    >>> image_groups(64, 128, most=16)
    8
    """
    groups = 1
    while groups * 2 <= min(MOST_SLABS, batch_size):
        wanted = groups * blocks < 64 and not (
            groups * blocks >= _FEW_TASKS and groups * 2 * least > batch_size
        )
        if not wanted and not (most and groups * most < batch_size):
            break
        groups *= 2
    return groups


def record(
    source: int, stride: int, slabs: int, destination: int, length: int, parameter: int, update: int,
    rate: float = 1.0, decay: float = 1.0,
) -> tuple[int, ...]:  # fmt: skip
    """A record of the table (see ``FlatMapSpec``); the factors as the bits of their float64."""
    return (
        source,
        stride,
        slabs,
        destination,
        length,
        parameter,
        update,
        *struct.unpack("<2q", struct.pack("<2d", rate, decay)),
    )


@dataclass(eq=False)
class Accumulator:
    """One sum over images: ``slabs`` partial sums of ``length`` entries, ``stride`` entries apart, that end at
    ``destination`` in the gradients. ``parameter``: it is a parameter's gradient. With one slab it is written there at once.

    home: where the parameter begins in the flat arrays, in entries. alone: its one slab lies in the arena instead. at_once: it
    exists block by block only, each of which the rule has at once; its one record says where the parameter is.
    """

    slab: Buffer
    length: int
    stride: int
    slabs: int
    destination: int
    parameter: bool
    summed: bool = False
    alone: bool = False
    at_once: bool = False
    home: int = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.destination

    @property
    def segment(self) -> int:
        """Entries of one record of the table; the last may have fewer."""
        if self.at_once:
            return self.length
        if self.slabs > 1:
            return SEGMENT
        return _ALONE_LARGE if self.length >= 128 * SEGMENT else _ALONE

    @property
    def records(self) -> int:
        """How many records of the table it has."""
        return -(-self.length // self.segment)

    def segments(self, item: int, rate: float = 1.0, decay: float = 1.0) -> list[tuple[int, ...]]:
        """Its records of the table (see ``FlatMapSpec``); to be asked when the slab has its place."""
        found: list[tuple[int, ...]] = []
        destination = self.slab.offset // item if self.alone else 0 if self.at_once else self.destination
        for start in range(0, self.length, self.segment):
            length = min(self.segment, self.length - start)
            direct = self.slabs == 1
            found.append(
                record(
                    0 if direct else self.slab.offset // item + start,
                    self.stride,
                    self.slabs,
                    destination + start,
                    0 if direct else length,
                    self.home + start,
                    length if self.parameter else 0,
                    rate,
                    decay,
                )
            )
        return found
