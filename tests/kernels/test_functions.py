"""exp, log, tanh, erf against NumPy in higher precision, in units in the last place."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from vecgrad.spec.kernel import MapSpec
from vecgrad.spec.machine import Machine
from vecgrad.spec.scalar import Operand, Unary
from vecgrad.spec.tensor import Layout

# What functions.py states, rounded up.
LIMITS = {"exp": 1.0, "log": 0.9, "tanh": 1.4, "erf": 1.4}


def spec_of(op: str, dtype: str, count: int) -> MapSpec:
    layout = Layout(1, 1, count, count, dtype)
    return MapSpec((Unary(op, Operand(0)),), (layout,), (layout,))


def evaluate(lab: Any, machine: Machine, op: str, x: Any) -> Any:
    spec = spec_of(op, x.dtype.name, 64)
    padded = np.resize(x, -(-x.size // 64) * 64)
    return lab.run(spec, machine, [padded, np.zeros_like(padded)], padded.size // 64)[1][: x.size]


def erf(x: Any) -> Any:
    """By its series 2/√π e^(−x²) Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)), whose terms have one sign; 7 is as good as infinity."""
    size = np.minimum(np.abs(x), 7)
    found = np.empty_like(size)
    # Pieces of like size, for a small argument needs few terms.
    for piece in np.array_split(np.argsort(size), 100):
        some = size[piece]
        term = total = some
        n = 0
        while (term > total * 2.0**-70).any():
            n += 1
            term = term * (2 * some * some / (2 * n + 1))
            total = total + term
        found[piece] = total * np.exp(-some * some)
    root_pi = np.sqrt(4 * np.arctan(np.longdouble(1)))
    return np.sign(x) * found * 2 / root_pi


def ulps(found: Any, x: Any, exact: Any) -> Any:
    """Distance to the exact value, in units in the last place of the exact value."""
    unit = np.spacing(np.maximum(np.abs(exact), np.finfo(x.dtype).tiny).astype(x.dtype)).astype(np.longdouble)
    return np.abs(found.astype(np.longdouble) - exact) / unit


def arguments(op: str, dtype: str, count: int = 200_000) -> Any:
    rng = np.random.default_rng(7)
    wide = {"float32": (-87.3, 88.7), "float64": (-708.3, 709.7)}[dtype]
    tiny = np.finfo(dtype).tiny
    if op == "exp":
        parts = [rng.uniform(*wide, count), rng.normal(0, 1, count), rng.normal(0, 1e-4, count)]
    elif op == "log":
        parts = [
            np.exp(rng.uniform(*wide, count)),
            rng.uniform(0.5, 2, count),
            1 + rng.normal(0, 1e-3, count),
            [tiny],
        ]
    else:
        small = np.exp(rng.uniform(wide[0] + 1, 0, count)) * rng.choice([-1, 1], count)
        parts = [rng.normal(0, 1, count), rng.normal(0, 5, count), small]
    return np.concatenate(parts).astype(dtype)


@functools.cache
def exact(op: str, dtype: str) -> Any:
    """At ``arguments``, once for all machines."""
    wide = arguments(op, dtype).astype(np.longdouble)
    return erf(wide) if op == "erf" else getattr(np, op)(wide)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["exp", "log", "tanh", "erf"])
def test_accuracy(lab: Any, machine: Machine, op: str, dtype: str) -> None:
    if dtype == "float64" and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("no wider type to compare float64 with")
    x = arguments(op, dtype)
    assert ulps(evaluate(lab, machine, op, x), x, exact(op, dtype)).max() <= LIMITS[op]


SPECIAL = {
    "exp": [(np.inf, np.inf), (-np.inf, 0), (np.nan, np.nan), (0, 1), (-0.0, 1), (1e30, np.inf), (-1e30, 0)],
    "log": [
        (np.inf, np.inf),
        (-np.inf, np.nan),
        (np.nan, np.nan),
        (0, -np.inf),
        (-0.0, -np.inf),
        (-1, np.nan),
        (1, 0),
    ],
    "tanh": [(np.inf, 1), (-np.inf, -1), (np.nan, np.nan), (0, 0), (-0.0, -0.0), (50, 1), (-50, -1)],
    "erf": [(np.inf, 1), (-np.inf, -1), (np.nan, np.nan), (0, 0), (-0.0, -0.0), (6, 1), (-6, -1)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["exp", "log", "tanh", "erf"])
def test_special_arguments(lab: Any, machine: Machine, op: str, dtype: str) -> None:
    x, expected = np.array(SPECIAL[op]).T.astype(dtype)
    found = evaluate(lab, machine, op, x)
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_exp_leaves_the_range(lab: Any, machine: Machine, dtype: str) -> None:
    """The last finite result, the first infinite one, and results too small for a normal number."""
    info = np.finfo(dtype)
    last = np.log(np.longdouble(info.max)).astype(dtype)
    last = last if np.exp(np.longdouble(last)) < info.max else np.nextafter(last, 0)
    x = np.array([last, np.nextafter(last, last * 2), -1.01 * last, -1.2 * last, -2 * last], dtype)
    found = evaluate(lab, machine, "exp", x)
    assert np.isfinite(found[0])
    assert np.isinf(found[1])
    assert (found[2:] < info.tiny).all()
    assert (found[2:] >= 0).all()
    assert found[4] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormal_arguments_count_as_zero(lab: Any, machine: Machine, dtype: str) -> None:
    x = np.array([1, -1], dtype) * np.finfo(dtype).tiny / 4
    np.testing.assert_array_equal(evaluate(lab, machine, "exp", x), [1, 1])
    np.testing.assert_array_equal(evaluate(lab, machine, "log", x), [-np.inf, -np.inf])
    assert (np.abs(evaluate(lab, machine, "tanh", x)) <= np.abs(x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["exp", "log", "tanh", "erf"])
def test_bits_do_not_depend_on_the_width(lab: Any, op: str, dtype: str) -> None:
    x = arguments(op, dtype, 5000)
    lab.same_on_fma({m.isa: evaluate(lab, m, op, x) for m in lab.host})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["tanh", "erf"])
def test_odd_and_never_beyond_one(lab: Any, machine: Machine, op: str, dtype: str) -> None:
    x = arguments(op, dtype, 5000)
    y = evaluate(lab, machine, op, x)
    np.testing.assert_array_equal(evaluate(lab, machine, op, -x), -y)
    assert (np.abs(y) <= 1).all()


def test_no_call_is_left_in_the_code(lab: Any, any_machine: Machine) -> None:
    """Nothing but instructions: no C library, no rounding function, for any machine."""
    for op in ("exp", "log", "tanh", "erf", "sqrt", "abs"):
        for dtype in ("float32", "float64"):
            assembly = lab.assembly(spec_of(op, dtype, 64), any_machine)
            assert not {"call", "callq", "bl", "jmp_plt"} & set(assembly.split())
