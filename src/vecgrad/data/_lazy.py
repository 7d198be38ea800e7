"""Images that stay where they are until a batch of them is asked for."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import partial
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
        image_shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> None:
        self._read, self._places = read, places
        self.shape: tuple[int, ...] = (len(places), *image_shape)
        self.dtype = np.dtype(dtype)

    @classmethod
    def of(cls, images: Images) -> LazyImages:
        """An array (n, h, w, c), of which copies of some images are made when they are asked for."""
        return cls(images.__getitem__, np.arange(len(images)), images.shape[1:], images.dtype)

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
        return LazyImages(self._read, self._places[indices], self.shape[1:], self.dtype)

    def then(self, convert: Callable[[Images, Indices], Images], dtype: DTypeLike) -> LazyImages:
        """The same with ``convert`` done to what is read: images (k, h, w, c), and the numbers they are known under.

        What it returns is of ``dtype`` and of the same shape.
        """
        return LazyImages(partial(_converted, self._read, convert), self._places, self.shape[1:], dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Images:
        if copy is False:
            raise ValueError("images that are read when asked for cannot become an array without a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"LazyImages(shape={self.shape}, dtype={self.dtype})"


def _converted(
    read: Callable[[Indices], Images], convert: Callable[[Images, Indices], Images], places: Indices
) -> Images:
    return convert(read(places), places)


def chosen(images: Images | LazyImages, indices: Indices) -> Images | LazyImages:
    """``images[indices]``, but unread where the images are not in memory."""
    if isinstance(images, LazyImages):
        return images.take(indices)
    if is_mapped(images):
        return LazyImages.of(images).take(indices)
    return images[indices]


def is_mapped(array: object) -> bool:
    """Whether an array lies in a file that is mapped into memory (a ``numpy.memmap`` or a view of one)."""
    # By what owns the memory and not by the class: numpy.asarray drops the one, copies keep the other.
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)
