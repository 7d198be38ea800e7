"""Images that stay where they are until a batch of them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Indices = NDArray[np.int64]
Images = NDArray[Any]


class LazyImages:
    """Stands where an array (n, h, w, c) of images would: indexing reads those images and returns an array.

    ``read`` (index array (k,) → new array (k, h, w, c)) does the reading and may be called from several threads.
    ``places`` are the numbers under which it knows the images, one for each of them. An int, a slice, an index
    array or a mask may stand in the brackets; ``take`` chooses without reading anything. ``numpy.asarray`` reads
    them all, which is only wise where they fit into memory.

    >>> store = np.arange(12).reshape(3, 2, 2, 1)
    >>> images = LazyImages(store.__getitem__, np.array([2, 0]), (2, 2, 1), store.dtype)
    >>> images.shape, images[1:].ravel().tolist(), images.take(np.array([1, 1])).shape
    ((2, 2, 2, 1), [0, 1, 2, 3], (2, 2, 2, 1))
    """

    __slots__ = ("_places", "_read", "dtype", "shape")

    def __init__(
        self,
        read: Callable[[Indices], Images],
        places: Indices,
        image_shape: tuple[int, int, int],
        dtype: DTypeLike,
    ) -> None:
        self._read, self._places = read, places
        self.shape: tuple[int, ...] = (len(places), *image_shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """4, as of an array of images."""
        return 4

    @property
    def nbytes(self) -> int:
        """What the whole array would take, bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: Any) -> Images:
        places = self._places[key]
        return self._read(places) if places.ndim else self._read(places[np.newaxis])[0]

    def take(self, indices: Indices) -> LazyImages:
        """The chosen images, unread."""
        height, width, channels = self.shape[1:]
        return LazyImages(self._read, self._places[indices], (height, width, channels), self.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Images:
        if copy is False:
            raise ValueError("images that are read when asked for cannot become an array without a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"LazyImages(shape={self.shape}, dtype={self.dtype})"


def chosen(images: Images | LazyImages, indices: Indices) -> Images | LazyImages:
    """``images[indices]``, but unread where the images are not in memory."""
    if isinstance(images, LazyImages):
        return images.take(indices)
    if is_mapped(images):
        height, width, channels = images.shape[1:]
        return LazyImages(images.__getitem__, indices, (height, width, channels), images.dtype)
    return images[indices]


def is_mapped(array: object) -> bool:
    """Whether an array lies in a file that is mapped into memory (``numpy.memmap`` or a view of one)."""
    return isinstance(array, np.memmap)
