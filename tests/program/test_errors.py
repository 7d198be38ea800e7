"""Rounding errors of compiled convolutions beside PyTorch's, on the same numbers, against float64.

PyTorch's error is the larger of its two layouts': they sum in different orders, and its users get either. The absolute bounds,
which need no peer, are in tests/kernels.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from tests.corpus import Case
from tests.program.host import FUSED

import vecgrad as vg
from vecgrad.graph.build import Wanted
from vecgrad.layers import Conv2D, Sequential
from vecgrad.losses import Loss
from vecgrad.reference import ops

torch = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")

Array = np.ndarray[Any, np.dtype[Any]]
Results = dict[str, Array]
DIRECT, STRASSEN, WINOGRAD = 2.0, 4.0, 6.0
CASES = {
    "16 channels": Case((16, 16), 16, 16, 3, padding=1, images=8),
    "64 channels": Case((16, 16), 64, 64, 3, padding=1, images=8),
    "128 channels": Case((8, 8), 128, 128, 3, padding=1, images=32),
    "512 channels": Case((8, 8), 512, 512, 3, padding=1, images=16),
    "5 x 5": Case((14, 14), 32, 32, 5, padding=2, images=4),
    "7 x 7 by 2": Case((32, 32), 3, 32, 7, stride=2, padding=3, images=4),
    "1 x 1": Case((14, 14), 64, 64, 1, padding=0, images=8),
    "1 x 1 of 512": Case((4, 4), 512, 512, 1, padding=0, images=32),
}


class Given(Loss):
    """z = Σ x t: the gradient with respect to the prediction is the target itself."""

    targets = "values"

    def forward(self, e: Any, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        rows = e.reduce("sum", e.map(lambda x, t: x * t, x, t), over="channels")
        return e.reduce("sum", rows, over="pixels"), t

    def backward(self, e: Any, saved: Any) -> Any:
        return saved


@functools.cache
def numbers(name: str) -> tuple[Array, Array, Array]:
    """x, w, dy."""
    case = CASES[name]
    shapes = (case.images, *case.conv.in_shape), case.conv.weight_shape, (case.images, *case.conv.out_shape)
    x, w, dy = (np.random.default_rng(n).standard_normal(s, np.float32) for n, s in enumerate(shapes))
    return x, w, dy


@functools.cache
def true(name: str) -> Results:
    conv = CASES[name].conv
    x, w, dy = (a.astype(np.float64) for a in numbers(name))
    return {"forward": ops.conv(x, w, conv), "dx": ops.conv_dx(dy, w, conv), "dw": ops.conv_dw(x, dy, conv)}


@functools.cache
def peers(name: str) -> dict[str, float]:
    """PyTorch's errors."""
    case = CASES[name]
    found: dict[str, float] = dict.fromkeys(true(name), 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w, dy = (
            torch.tensor(np.ascontiguousarray(a.transpose(order))).contiguous(memory_format=layout)
            for a, order in zip(numbers(name), [(0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)], strict=True)
        )
        x.requires_grad_(), w.requires_grad_()
        y = torch.nn.functional.conv2d(x, w, None, case.stride, case.padding)
        y.backward(dy)
        results = {
            "forward": y.detach().numpy().transpose(0, 2, 3, 1),
            "dx": x.grad.numpy().transpose(0, 2, 3, 1),
            "dw": w.grad.numpy().transpose(2, 3, 1, 0),
        }
        found = {key: max(found[key], error(results[key], true(name)[key])) for key in found}
    torch.set_num_threads(before)
    return found


def error(found: Array, expected: Array) -> float:
    """Relative, in the L2 norm."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def ours(name: str, machine: Any, algorithm: Any) -> tuple[Results, dict[str, str]]:
    """What a program computes, and by which kernel."""
    case, (x, w, dy) = CASES[name], numbers(name)
    layer = Conv2D(case.filters, case.kernel, case.stride, case.padding, bias=False)
    program = vg.compile(
        Sequential([layer]), case.conv.in_shape, Given(), batch_size=case.images, machine=machine,
        parameters={"0.weight": w}, algorithm=algorithm,
    )  # fmt: skip
    gradients = program.gradients(x, dy, inputs=True)
    results = {"forward": program.forward(x), "dx": gradients["x"], "dw": gradients["0.weight"]}
    plans = (Wanted(prediction=True), Wanted(gradients=True, input_gradient=True))
    calls = [call for wanted in plans for call in program._backend.compiled(wanted).plan.calls()]  # type: ignore[attr-defined]
    names = {"conv": "forward", "conv_dx": "dx", "conv_dw": "dw"}
    return results, {names[call.op]: call.kernel.partition(".")[2] for call in calls if call.op in names}


@pytest.mark.parametrize("machine", FUSED, ids=lambda m: m.isa)
def test_errors_of_products_of_matrices(machine: Any) -> None:
    name = "1 x 1 of 512"
    results, kernels = ours(name, machine, "auto")
    assert kernels == {"forward": "strassen", "dx": "strassen", "dw": "direct"}
    for direction, factor in (("forward", STRASSEN), ("dx", STRASSEN), ("dw", DIRECT)):
        found, peer = error(results[direction], true(name)[direction]), peers(name)[direction]
        assert found <= factor * peer, f"{direction}: {found:.2e}, PyTorch {peer:.2e}"


@pytest.mark.parametrize("machine", FUSED, ids=lambda m: m.isa)
@pytest.mark.parametrize("name", CASES)
def test_errors(name: str, machine: Any) -> None:
    wide = name.endswith("channels")
    for algorithm, kernel, factor in (("direct", "direct", DIRECT), ("auto", "winograd", WINOGRAD)):
        if algorithm == "auto" and not wide:
            continue
        results, kernels = ours(name, machine, algorithm)
        expected = dict.fromkeys(("forward", "dx", "dw"), kernel)
        if kernel == "direct" and kernels["dx"] == "slide":
            expected["dx"] = "slide"
        assert kernels == expected
        for direction, peer in peers(name).items():
            found = error(results[direction], true(name)[direction])
            assert found <= factor * peer, f"{kernel} {direction}: {found:.2e}, PyTorch {peer:.2e}"
        if algorithm == "auto":
            assert error(results["forward"], true(name)["forward"]) <= 5e-6
