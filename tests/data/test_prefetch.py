"""Prefetch: the same batches, a little earlier, and no thread left behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from vecgrad.data import Prefetch, batches
from vecgrad.spec.errors import ArgumentError

X = np.arange(23 * 4, dtype=np.float32).reshape(23, 2, 2, 1)
Y = np.arange(23) % 5


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vecgrad-prefetch")]


@pytest.fixture(autouse=True)
def _no_thread_outlives_a_test() -> Iterator[None]:
    yield
    gc.collect()
    for thread in workers():
        thread.join(timeout=5)
    assert workers() == []


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_batches_come_in_order_and_prepared(depth: int) -> None:
    expected = list(batches(23, 5, seed=0, epoch=1))
    loader = Prefetch(X, Y, iter(expected), prepare=lambda images: images * 2, depth=depth)
    got = list(loader)
    assert workers() == []
    assert len(got) == 5
    for indices, (images, labels) in zip(expected, got, strict=True):
        assert labels is not None
        assert np.array_equal(images, 2 * X[indices])
        assert np.array_equal(labels, Y[indices])
    assert list(loader) == []


def test_labels_may_be_missing() -> None:
    assert [labels for _, labels in Prefetch(X, None, batches(23, 8, 0, 0))] == [None] * 3


def test_it_runs_ahead_in_one_other_thread_and_no_further_than_depth() -> None:
    started: list[int] = []
    two = threading.Event()

    def prepare(images: np.ndarray) -> np.ndarray:
        started.append(threading.get_ident())
        if len(started) == 2:
            two.set()
        return images

    with Prefetch(X, Y, batches(23, 1, 0, 0), prepare=prepare, depth=2) as loader:
        assert two.wait(timeout=5), "two batches must be gathered before the first is asked for"
        assert len(started) == 2
        next(loader)
    assert len(set(started)) == 1
    assert started[0] != threading.get_ident()


def test_what_the_thread_raises_arrives_with_its_batch() -> None:
    indices = [np.array([1, 2]), np.array([99]), np.array([3])]
    loader = Prefetch(X, Y, indices)
    images, _ = next(loader)
    assert np.array_equal(images, X[[1, 2]])
    with pytest.raises(IndexError):
        next(loader)
    assert workers() == []
    with pytest.raises(StopIteration):
        next(loader)


def test_what_the_indices_raise_closes_it_too() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.array([0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Prefetch(X, Y, broken())
    assert workers() == []


def test_leaving_early_ends_the_thread() -> None:
    loader = Prefetch(X, Y, batches(23, 2, 0, 0))

    def interrupted() -> None:
        with loader:
            next(loader)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert workers() == []
    loader.close()
    with pytest.raises(StopIteration):
        next(loader)


def test_one_that_is_dropped_without_close_ends_by_itself() -> None:
    for _, _ in Prefetch(X, Y, batches(23, 2, 0, 0)):
        break  # the fixture finds no thread afterwards


def test_depth_must_be_positive() -> None:
    with pytest.raises(ArgumentError, match="depth"):
        Prefetch(X, Y, [], depth=0)
