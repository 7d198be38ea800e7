"""Batches made beside the training step, a little ahead of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from vecgrad.data._lazy import LazyImages
from vecgrad.data._numbers import is_integer
from vecgrad.spec.errors import ArgumentError

Batch = tuple[NDArray[Any], NDArray[Any] | None]
Made = TypeVar("Made")
Self = TypeVar("Self", bound="Ahead[Any]")


class Ahead(Iterator[Made], Generic[Made]):
    """Yields work(indices) for each index array of ``batches``, in their order.

    ``workers`` background threads work up to ``depth`` batches ahead, each on a batch of its own; which of them makes a
    batch changes nothing. What goes wrong in a thread is raised where its batch is asked for. Use it in a ``with``
    statement, or call ``close``: no thread then outlives the loop, however it was left. An iterator that was exhausted or
    has failed is closed already. ``work`` must not hold a reference to the iterator: one that is dropped without ``close``
    is then collected, and its idle threads end with it.
    """

    def __init__(
        self,
        work: Callable[[NDArray[Any]], Made],
        batches: Iterable[NDArray[Any]],
        *,
        depth: int = 2,
        workers: int = 1,
    ) -> None:
        if not is_integer(depth):
            raise ArgumentError(f"depth must be at least 1 batch ahead, got {depth!r}")
        if not is_integer(workers) or workers > depth:
            raise ArgumentError(f"workers must be from 1 to depth ({depth}), got {workers!r}")
        self._work = work
        self._indices = iter(batches)
        self._ahead: deque[Future[Made]] = deque()
        self._worker: ThreadPoolExecutor | None = ThreadPoolExecutor(
            workers, thread_name_prefix="vecgrad-prefetch"
        )
        try:
            for _ in range(depth):
                self._submit()
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Made:
        if not self._ahead:
            self.close()
            raise StopIteration
        try:
            batch = self._ahead.popleft().result()
            self._submit()
        except BaseException:
            # Also a KeyboardInterrupt while waiting: the caller gets it, and nothing is left running.
            self.close()
            raise
        return batch

    def close(self) -> None:
        """Drop the batches that are ahead and end the thread; calling it again does nothing."""
        worker, self._worker = self._worker, None
        self._ahead.clear()
        if worker is not None:
            worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self) -> None:
        """Ask the thread for the next batch, if there is one. The indices advance in the caller's thread."""
        indices = next(self._indices, None)
        if indices is not None and self._worker is not None:
            self._ahead.append(self._worker.submit(self._work, indices))


class Prefetch(Ahead[Batch]):
    """Yields (images[indices], labels[indices]) for each index array of ``batches``, as ``Ahead`` does.

    ``prepare`` (for instance ``dataset.preparation.arrays``) is applied in the thread to each batch of images; and
    ``LazyImages`` are read and decoded there; without ``labels`` the second of the pair is None.

    >>> import numpy as np
    >>> X, y = np.arange(12).reshape(3, 2, 2, 1), np.arange(3)
    >>> with Prefetch(X, y, [np.array([2, 0]), np.array([1])]) as loader:
    ...     [labels.tolist() for _, labels in loader]
    [[2, 0], [1]]
    """

    def __init__(
        self,
        images: NDArray[Any] | LazyImages,
        labels: NDArray[Any] | None,
        batches: Iterable[NDArray[Any]],
        *,
        prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        depth: int = 2,
        workers: int = 1,
    ) -> None:
        super().__init__(partial(_gather, images, labels, prepare), batches, depth=depth, workers=workers)


def _gather(
    images: NDArray[Any] | LazyImages,
    labels: NDArray[Any] | None,
    prepare: Callable[[NDArray[Any]], NDArray[Any]] | None,
    indices: NDArray[Any],
) -> Batch:
    picked = images[indices]
    return (picked if prepare is None else prepare(picked)), (None if labels is None else labels[indices])
