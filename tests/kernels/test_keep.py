"""The compiled masks are the reference's, bit by bit, on every machine, from any image on, and nothing beside them is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Refusal
from vecgrad.reference.masks import keep
from vecgrad.spec.kernel import KeepSpec
from vecgrad.spec.machine import AVX2, Machine
from vecgrad.spec.random import threshold
from vecgrad.spec.tensor import Layout

SCALARS = ("images", "seed_high", "mask_step", "seed_low")
SHAPES = [
    (1, 1, 1),
    (1, 1, 15),
    (1, 1, 16),
    (1, 1, 64),
    (1, 1, 250),
    (3, 3, 3),
    (2, 5, 17),
    (5, 3, 32),
    (4, 4, 40),
]


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_the_reference(
    lab: Any, some_machine: Machine, shape: tuple[int, int, int], real: str
) -> None:
    layout = Layout(*shape, some_machine.pitch(shape[2], real), "uint8")
    spec = KeepSpec(layout, mask=2, threshold=threshold(0.4), scalars=SCALARS)
    for begin, images in ((0, 3), (5, 2), (4, 0)):
        values = (images, 9.0, 2.0**32 - 1, 2.0**31 + 3)
        [found] = lab.run(spec, some_machine, [lab.blank(layout, max(images, 1))], images, values, begin)
        expected = keep(begin + images, shape, 0.4, (9 << 32) + 2**31 + 3, 2**32 - 1, 2)[begin:]
        if images:
            np.testing.assert_array_equal(lab.loaded(layout, found), expected.reshape(images, *shape))
        else:
            assert (lab.loaded(layout, found) == 77).all()


def test_code_for_every_machine_calls_nothing(lab: Any, any_machine: Machine) -> None:
    spec = KeepSpec(Layout(3, 3, 20, any_machine.pitch(20, "float32"), "uint8"), 0, threshold(0.5), SCALARS)
    assert not {"call", "callq", "bl"} & set(lab.assembly(spec, any_machine).split())


def test_without_seeds_it_is_refused() -> None:
    spec = KeepSpec(Layout(1, 1, 16, 16, "uint8"), 0, 1, ("images",))
    [answer] = registry.candidates(spec, AVX2)
    assert isinstance(answer, Refusal)
    assert "seed_low" in str(answer.reason)
