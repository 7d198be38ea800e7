"""Every network of the zoo trains as its twin in PyTorch does: gradients and curves, in float64 and in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecgrad.runtime import native_available

torch: Any = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
from tests.exchange import beside  # noqa: E402

if not native_available():
    pytest.skip("compiled programs need llvmlite", allow_module_level=True)

# Of PyTorch's distance from float64, the larger of its two layouts', with direct convolutions and with Winograd's.
GRADIENTS, CURVES = 3.0, 2.0
SIDES = ("direct", "winograd")
# Made of blocks that others have and long to compile, or, the MobileNet, of curves that show little: trained when asked for.
LARGE = ("mobilenet", "vgg11", "vgg16", "resnet32", "resnet56", "resnet18", "resnet34", "resnet50")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in beside.CASES]
)
def test_a_training(name: str) -> None:
    """Float64: the twin's losses. Float32: gradients and losses no further from them than rounding leads PyTorch."""
    true, found = beside.exact_curves(name)
    np.testing.assert_array_less(np.abs(found - true), 1e-8 * np.minimum(true, 1))
    far = []
    if beside.CASES[name].seeds:
        # Gradients that are exactly zero need no floor: rounding leaves something of them on both sides.
        errors, _ = beside.gradient_errors(name)
        nchw, last = errors["PyTorch NCHW"], errors["PyTorch channels last"]
        for side in SIDES:
            for key, error in errors.get(side, {}).items():
                if error > GRADIENTS * (peer := max(nchw[key], last[key])):
                    far.append(f"{side}, gradient of {key}: {error:.1e}, PyTorch {peer:.1e}")
    distances = beside.distances(name)
    spread = beside.spread(distances)
    for side in SIDES:
        if (distance := distances.get(side, 0.0)) > CURVES * spread:
            far.append(f"{side}, losses: {distance:.1e}, PyTorch {spread:.1e}")
    assert not far


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in beside.CASES.items() if not case.seeds])
def test_gradients_in_float64(name: str) -> None:
    """Where no batch is fit for float32."""
    found = beside.Own(name, "float64").gradients(0)
    expected, _ = beside.Peer(name, torch.float64).gradients(0)
    assert set(found) == set(expected)
    # What is left of a gradient that is exactly zero is as large as the rounding of all that cancels in it.
    whole = np.sqrt(sum(float(np.vdot(a, a)) for a in expected.values()))
    for key, array in expected.items():
        distance = np.linalg.norm(found[key] - array)
        assert distance <= 1e-10 * np.linalg.norm(array) + 1e-13 * whole, key
