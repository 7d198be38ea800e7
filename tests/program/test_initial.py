"""First values: a function of (seed, parameter's number, entry) alone, however many entries are drawn at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vecgrad.layers import Parameter
from vecgrad.program.initial import initial
from vecgrad.spec.random import STREAM_INITIAL, draw, substream

SEED = 2**63 + 5


@pytest.mark.parametrize("law", ["he_normal", "glorot_normal", "he_uniform", "glorot_uniform"])
def test_an_entry_does_not_depend_on_how_many_there_are(law: str) -> None:
    whole = initial(Parameter((3, 5, 1021), law, 9, 4), 2, SEED).reshape(-1)  # type: ignore[arg-type]
    for count in (1, 4095, 4096, 4097, 8193):
        part = initial(Parameter((count,), law, 9, 4), 2, SEED)  # type: ignore[arg-type]
        assert np.array_equal(part, whole[:count])
    assert len(np.unique(whole)) == len(whole)


def test_an_entry_is_its_own_draw() -> None:
    values = initial(Parameter((9000,), "he_uniform", 6, 1), 3, SEED)
    for i in (0, 4095, 4096, 8192, 8999):
        a, b, _, _ = draw(SEED, substream(STREAM_INITIAL, 3), 0, i)
        u = ((a >> 5) * 2.0**26 + (b >> 6) + 0.5) / 2.0**53
        assert values[i] == (2.0 * u - 1.0) * (math.sqrt(2.0 / 6) * math.sqrt(3.0))
