"""How a tensor lies in memory: one layout, compact channels last, with a pixel pitch."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.machine import ITEM_BYTES

Shape = tuple[int, ...]


def as_map(shape: Shape) -> tuple[int, int, int]:
    """(H, W, C) of a per-image shape: a vector of F features is one pixel of F channels; leading axes beyond three are folded.

    >>> as_map((10,)), as_map((4, 4, 3)), as_map((3, 3, 8, 16))
    ((1, 1, 10), (4, 4, 3), (9, 8, 16))
    """
    if len(shape) > 3:
        return (size(shape[:-2]), shape[-2], shape[-1])
    padded = (1,) * (3 - len(shape)) + tuple(shape)
    return (padded[0], padded[1], padded[2])


def size(shape: Shape) -> int:
    """Number of entries.

    >>> size((3, 4)), size(())
    (12, 1)
    """
    total = 1
    for extent in shape:
        total *= extent
    return total


@dataclass(frozen=True)
class Layout:
    """H × W pixels of C channels; entry (h, w, c) of an image is number (h·W + w)·pitch + c.

    ``batched`` tensors have one such block per image, one behind the other; others exist once
    (parameters, per-channel vectors). The lanes C … pitch − 1 hold undefined values.
    """

    height: int
    width: int
    channels: int
    pitch: int
    dtype: str = "float32"
    batched: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def entries(self) -> int:
        """Entries per image, padding lanes included."""
        return self.height * self.width * self.pitch

    @property
    def nbytes(self) -> int:
        """Bytes per image."""
        return self.entries * ITEM_BYTES[self.dtype]

    @property
    def row(self) -> int:
        """Entries from one row to the next."""
        return self.width * self.pitch
