"""The figures of ``python -m bench errors`` and ``curves``, without a peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench.curves import distances
from bench.errors import CASES, errors, judged, notes


def row(kernel: str, direction: str, error: float, peers: tuple[float, float]) -> dict[str, Any]:
    torch = {name: [peer, peer] for name, peer in zip(("NCHW", "channels_last"), peers, strict=True)}
    return {"kernel": kernel, "direction": direction, "errors": [error, error], "torch": torch}


def test_errors_are_relative_to_the_true_result() -> None:
    true = np.array([3.0, -4.0, 0.0, 0.0])
    assert errors(true, true) == (0.0, 0.0)
    assert errors(true + 5e-3 * np.eye(4)[3], true) == pytest.approx((1e-3, 2e-3))
    with pytest.raises(ValueError, match="shape"):
        errors(true[:3], true)


@pytest.mark.parametrize(
    ("kernel", "direction", "error", "numbers", "within"),
    [
        ("conv.direct", "forward", 3.9e-7, "normal", True),
        ("conv.direct", "forward", 4.1e-7, "normal", False),
        ("conv_dw.winograd", "dw", 1.19e-6, "normal", True),
        ("conv_dw.winograd", "dw", 1.21e-6, "normal", False),
    ],
)
def test_bounds_are_of_the_larger_error(
    kernel: str, direction: str, error: float, numbers: str, within: bool
) -> None:
    found = judged(row(kernel, direction, error, (2e-7, 1e-7)), numbers)
    assert found["within"] is within
    assert found["ratios"]["smaller"][0] == pytest.approx(2 * found["ratios"]["larger"][0])


def test_winograd_s_forward_pass_has_a_bound_of_its_own() -> None:
    far = row("conv.winograd", "forward", 6e-6, (2e-6, 2e-6))
    assert not judged(far, "normal")["within"]
    assert judged(far, "positive")["within"]
    assert judged({**far, "direction": "dx"}, "normal")["within"]


def test_notes_count_what_passes_the_smaller_error() -> None:
    rows = [
        judged(row("conv.direct", "forward", 3e-7, (2e-7, smaller)), "normal") for smaller in (1e-7, 2e-7)
    ]
    assert "1 of 2 rows" in notes(rows)[0]


def test_every_case_is_one_that_torch_can_pad() -> None:
    for case, _ in CASES:
        for axis in (case.conv.window.rows, case.conv.window.cols):
            assert axis.before == axis.after


def test_distances_of_curves() -> None:
    assert distances([1.0, 2.0, 3.0], [1.0, 2.0, 5.0]) == pytest.approx([2 / 3**0.5, 0, 0, 2])
