"""Weight gradients whose lanes are a kernel row of filters: exact on integers, and to the bit what the direct kernel gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import CONVOLUTIONS, Case
from tests.kernels.test_conv import Operands, cases, same
from tests.kernels.test_conv_code import bodies

from vecgrad.kernels import registry
from vecgrad.kernels._dw_tile import rowwise_refusal, rowwise_tile
from vecgrad.kernels.choose import dw_spec
from vecgrad.reference import ops
from vecgrad.spec.geometry import Conv, window
from vecgrad.spec.kernel import DwTile
from vecgrad.spec.machine import AVX2, AVX512, Machine
from vecgrad.spec.tensor import Layout

SERVED = [name for name, case in CONVOLUTIONS.items() if not rowwise_refusal(case.conv)]


def run(a: Operands) -> Any:
    return a.dw(rowwise_tile(a.conv, a.dtype, a.machine))


@pytest.mark.parametrize("name", SERVED)
def test_integers(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name])
    same(run(a), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", ["odd channels", "rows that are staged in blocks", "uneven padding"])
@pytest.mark.parametrize("padded", [True, False], ids=["arena", "user"])
def test_float64_and_arrays_without_padding(lab: Any, machine: Machine, name: str, padded: bool) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name], "float64" if padded else "float32", padded)
    same(run(a), ops.conv_dw(a.x, a.dy, a.conv))


@given(case=cases(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_geometry_and_tile(lab: Any, case: Case, data: st.DataObject) -> None:
    rows = case.stride[0] if isinstance(case.stride, tuple) else case.stride
    dilation = case.dilation[0] if isinstance(case.dilation, tuple) else case.dilation
    case = replace(
        case, channels=case.channels // case.groups, filters=case.filters // case.groups, groups=1,
        stride=(rows, 1), dilation=(dilation, 1),
    )  # fmt: skip
    a = Operands(lab, lab.host[0], case)
    sides = [data.draw(st.integers(1, most)) for most in (4, 3, 5, 7)]
    tile = DwTile(sides[0], sides[1], 1, sides[2], sides[3], rowwise=True)
    same(a.dw(tile), ops.conv_dw(a.x, a.dy, a.conv))


@pytest.mark.parametrize("name", ["grey first layer", "odd channels", "rows that are staged in blocks"])
def test_bits_are_the_direct_kernels(lab: Any, machine: Machine, name: str) -> None:
    a = Operands(lab, machine, CONVOLUTIONS[name], real=True)
    direct = a.dw(DwTile(1, 1, 1, 2, 1, k_block=64, c_block=8))
    np.testing.assert_array_equal(run(a).view(np.uint32), direct.view(np.uint32))


def test_thin_layers_take_it() -> None:
    """Six filters of sixteen lanes; not where blocks of the weights are tasks, nor where six of eight lanes work."""
    first = Conv(window((28, 28), 5), 1, 6)
    for machine, mode, kernel in (
        (AVX512, "images", "conv_dw.rows"),
        (AVX512, "blocks", "conv_dw.direct"),
        (AVX2, "images", "conv_dw.direct"),
    ):
        y = Layout(24, 24, 6, machine.pitch(6, "float32"))
        spec = dw_spec(first, Layout(28, 28, 1, 1), y, machine, mode=mode)  # type: ignore[arg-type]
        assert registry.chosen(spec, machine).kernel == kernel


def test_inner_loop(lab: Any, any_machine: Machine) -> None:
    conv = Conv(window((28, 28), 5), 1, 6)
    y = Layout(24, 24, 6, any_machine.pitch(6, "float32"))
    tile = rowwise_tile(conv, "float32", any_machine)
    spec = replace(dw_spec(conv, Layout(28, 28, 1, 1), y, any_machine), tile=tile)
    found = [body for body in bodies(lab.assembly(spec, any_machine), any_machine) if body.products >= 12]
    assert found
    loads, spills = (0.8, 0.0) if any_machine.fma else (1.5, 0.3)
    for body in found:
        assert body.count(r"\(%rsp|\[sp\b") <= spills * body.products, body.text
    largest = max(found, key=lambda body: body.products)
    assert largest.loads <= loads * largest.products, f"{tile}\n{largest.text}"
