"""Compiled convolutions against each other: what stride, padding and groups mean, on integers to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Conv2D

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES = [(9, 8, 3), (7, 11, 1), (12, 5, 17), (8, 8, 16)]


def filled(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def convolved(layer: Conv2D, x: Array, weight: Array) -> Array:
    program = vg.compile(
        [layer], x.shape[1:], batch_size=4, parameters={"0.weight": weight}, algorithm="direct"
    )
    return program.forward(x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [(2, 2), (3, 1), (2, 3)])
def test_stride_is_subsampling(shape: tuple[int, int, int], stride: tuple[int, int]) -> None:
    x, w = filled((3, *shape), 0), filled((3, 3, shape[2], 5), 1)
    strided = convolved(Conv2D(5, 3, stride=stride, bias=False), x, w)
    every = convolved(Conv2D(5, 3, bias=False), x, w)
    np.testing.assert_array_equal(strided, every[:, :: stride[0], :: stride[1]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 2), (3, 1)), ((4, 0), (0, 5))])
def test_padding_is_a_larger_image(shape: tuple[int, int, int], padding: Any) -> None:
    x, w = filled((3, *shape), 2), filled((4, 3, shape[2], 17), 3)
    padded = convolved(Conv2D(17, (4, 3), padding=padding, bias=False), x, w)
    larger = np.pad(x, ((0, 0), *padding, (0, 0)))
    np.testing.assert_array_equal(padded, convolved(Conv2D(17, (4, 3), bias=False), larger, w))


@pytest.mark.parametrize(("channels", "filters", "groups"), [(6, 4, 2), (16, 48, 4), (5, 5, 5), (34, 17, 17)])
def test_groups_are_weights_with_zero_blocks(channels: int, filters: int, groups: int) -> None:
    x, w = filled((3, 7, 6, channels), 4), filled((3, 3, channels // groups, filters), 5)
    whole = np.zeros((3, 3, channels, filters), np.float32)
    c, k = channels // groups, filters // groups
    for g in range(groups):
        whole[:, :, g * c : (g + 1) * c, g * k : (g + 1) * k] = w[:, :, :, g * k : (g + 1) * k]
    grouped = convolved(Conv2D(filters, 3, padding=1, groups=groups, bias=False), x, w)
    np.testing.assert_array_equal(grouped, convolved(Conv2D(filters, 3, padding=1, bias=False), x, whole))
