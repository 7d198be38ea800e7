"""Images as users hand them in, whole or unread: what is too large for memory comes in batch by batch.

Pixels as they were read become the network's input by the preparation that the program's ``data`` knows. Images that are in
memory go through the door at once, as long as memory has room for the result; all others when a batch of them is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.data import Ahead, Dataset, LazyImages, Preparation, at_once
from vecgrad.program import door
from vecgrad.spec.errors import ArgumentError, DataError
from vecgrad.spec.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]
Batches = Iterator[tuple[slice, Array]]

# Images that the checks of a large array look at together: bounds the memory.
_CHUNK = 1024


@dataclass(frozen=True)
class Incoming:
    """What a program takes: images of ``shape`` in ``dtype``; integers too where its model ``rescales`` them."""

    shape: Shape
    dtype: str
    rescales: bool

    def images(self, x: Any, data: Mapping[str, Any] | None) -> Array | LazyImages:
        """x (n, *shape) as every method takes it, C-contiguous and of ``dtype``, or LazyImages whose batches are.

        data: what the program knows of its images. Raises ShapeError and DataError as ``door.images``; of LazyImages for the
        shape and the dtype now, for an entry that is not finite when its batch is read.
        """
        if isinstance(x, Dataset):
            raise ArgumentError(
                f"{x.name} is a whole data set; pass the images and labels of a part: *dataset.part('test')"
            )
        if type(x) is np.ndarray and x.dtype == self.dtype:
            return door.images(x, self.shape, self.dtype, self.rescales)
        array = x if isinstance(x, LazyImages) else np.asarray(x)
        preparation = self._preparation(array, data)
        lazy = self._unread(array, preparation)
        if lazy is None:
            return self._taken(np.asarray(array), preparation)
        if not isinstance(x, LazyImages) and array.dtype.kind == "f":
            for start in range(0, len(lazy), _CHUNK):  # what can be looked at is, before anything is changed
                lazy[start : start + _CHUNK]
        return lazy

    def _preparation(self, x: Any, data: Mapping[str, Any] | None) -> Preparation | None:
        """How x is prepared: whole numbers by what training did to whole numbers; floats have been."""
        told = (data or {}).get("preparation")
        if self.rescales or told is None or x.dtype.kind not in "iu":
            return None
        found = Preparation.from_json(told)
        # Where it was floats that were trained on, integers of another scale would pass for them.
        return found if found.whole_numbers and found.shape == self.shape else None

    def _unread(self, x: Array | LazyImages, preparation: Preparation | None) -> LazyImages | None:
        """x batch by batch; None where it is to be taken at once."""
        if not isinstance(x, LazyImages):
            as_it_is = x.dtype == self.dtype and x.flags.c_contiguous
            small = at_once(x.size * np.dtype(self.dtype).itemsize)
            if as_it_is or small or len(self.shape) != 3:
                return None
        unread = np.broadcast_to(np.zeros((), x.dtype), x.shape)
        stands = door.shaped(unread, self.shape, self.rescales or preparation is not None)
        if not isinstance(x, LazyImages):
            x = LazyImages.of(x.reshape(stands.shape))

        def convert(images: Array, places: Array) -> Array:
            try:
                return self._taken(images, preparation)
            except DataError as error:
                raise DataError(f"among the images {places.min()} to {places.max()}: {error}") from None

        return x.then(convert, self.dtype)

    def _taken(self, x: Array, preparation: Preparation | None) -> Array:
        if preparation is not None:
            x = preparation.arrays(door.shaped(x, self.shape, True), what="images", dtype=self.dtype)
        return door.images(x, self.shape, self.dtype, self.rescales)


@contextmanager
def batches(x: Array | LazyImages, count: int) -> Iterator[Batches]:
    """(slice, images) of x, ``count`` at a time; what is not in memory is read a little ahead, in a thread."""
    parts = [slice(i, min(i + count, len(x))) for i in range(0, len(x), count)]
    if not isinstance(x, LazyImages):
        yield ((part, x[part]) for part in parts)
        return
    indices = (np.arange(part.start, part.stop) for part in parts)
    with Ahead(x.__getitem__, indices) as ahead:
        yield zip(parts, ahead, strict=True)
