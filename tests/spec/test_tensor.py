"""Shapes and layouts in memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecgrad.spec.tensor import Layout, as_map, size


@given(st.lists(st.integers(1, 5), max_size=5))
def test_a_map_holds_the_same_entries_with_the_same_last_axes(extents: list[int]) -> None:
    shape = tuple(extents)
    h, w, c = as_map(shape)
    assert h * w * c == size(shape) == math.prod(shape)
    assert (1, 1, *shape)[-2:] == (w, c)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (1, 1, 1)),
        ((7,), (1, 1, 7)),
        ((2, 7), (1, 2, 7)),
        ((3, 2, 7), (3, 2, 7)),
        ((5, 3, 2, 7), (15, 2, 7)),
    ],
)
def test_maps_of_every_rank(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert as_map(shape) == expected


def test_a_layout_counts_padding_in_bytes_but_not_in_shape() -> None:
    layout = Layout(2, 3, 5, 8)
    assert layout.shape == (2, 3, 5)
    assert layout.row == 24
    assert layout.entries == 48
    assert layout.nbytes == 192
    assert Layout(2, 3, 5, 8, "float64").nbytes == 384
    assert Layout(2, 3, 5, 8, "uint8").nbytes == 48
