"""Masks drawn by counter: the stated words in plain integers, their share of zeros, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from vecgrad.reference.masks import keep
from vecgrad.spec import random


@pytest.mark.parametrize("shape", [(1,), (16,), (70,), (3, 2, 5), (2, 3, 16), (1, 3, 33)], ids=str)
def test_each_entry_is_its_word_of_its_draw(shape: tuple[int, ...]) -> None:
    seed, step, mask, rate = 2**40 + 5, 7, 3, 0.3
    found = keep(2, shape, rate, seed, step, mask).reshape(2, -1, shape[-1])
    assert found.dtype == np.uint8
    runs = -(-shape[-1] // 16)
    for image, pixel, channel in np.ndindex(*found.shape):
        run = pixel * runs + channel // 16
        counter = (run // 4 * 16 + channel % 16, image, step, random.STREAM_DROPOUT + (mask << 8))
        word = random.philox(counter, (seed % 2**32, seed >> 32))[run % 4]
        assert found[image, pixel, channel] == (word >= round(rate * 2**32))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_zeros(rate: float) -> None:
    """Within five standard deviations."""
    found = keep(20, (25, 20, 10), rate, seed=1, step=0, mask=0)
    n = found.size
    assert abs((found == 0).mean() - rate) <= 5 * np.sqrt(rate * (1 - rate) / n)


def test_another_seed_step_mask_or_image_is_another_draw() -> None:
    first = keep(2, (9, 9, 8), 0.5, seed=1, step=0, mask=0)
    others = [
        keep(2, (9, 9, 8), 0.5, **key)
        for key in (
            {"seed": 2, "step": 0, "mask": 0},
            {"seed": 1, "step": 1, "mask": 0},
            {"seed": 1, "step": 0, "mask": 1},
        )
    ]
    for other in (*others, first[::-1]):
        assert 0.4 < (first != other).mean() < 0.6


def test_a_smaller_batch_has_the_first_images_masks() -> None:
    np.testing.assert_array_equal(keep(2, (5,), 0.5, 1, 0, 0), keep(5, (5,), 0.5, 1, 0, 0)[:2])
