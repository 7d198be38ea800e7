"""What this processor can run, and programs for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.networks import Network

import vecgrad as vg
from vecgrad.program import Program
from vecgrad.runtime import host_machine, native_available, set_num_threads
from vecgrad.spec.machine import Machine, restricted

Array = np.ndarray[Any, np.dtype[Any]]

if not native_available():
    pytest.skip("compiled programs need llvmlite", allow_module_level=True)


def _machines() -> list[Machine]:
    """This processor, and the narrower instruction sets that it has too."""
    host = host_machine()
    order = ["avx512", "avx2", "baseline"] if host.is_x86 else [host.isa]
    return [restricted(host, isa) for isa in order[order.index(host.isa) :]]


MACHINES = _machines()
FUSED = [machine for machine in MACHINES if machine.fma]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Programs compiled without ``threads`` use so many inside."""
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(None)


def compiled(network: Network, **more: Any) -> Program:
    """A program for a network of the corpus, with its integer parameters."""
    settings: dict[str, Any] = {
        "loss": network.loss,
        "batch_size": network.batch,
        "parameters": network.parameters(),
    }
    return vg.compile(network.model, network.shape, **(settings | more))


def gradients(program: Program, x: Array, t: Array, weight: Array | None = None) -> dict[str, Array]:
    """All gradients of a batch."""
    return {f"gradient of {name}": a for name, a in program.gradients(x, t, weight, inputs=True).items()}


def everything(program: Program, x: Array, t: Array, weight: Array | None = None) -> dict[str, Array]:
    """All that a program says of a batch: outputs, gradients, traces."""
    found = {"output": program.forward(x)} | gradients(program, x, t, weight)
    for name, layer in program.trace(x, t, weight).items():
        found |= {f"x of {name}": layer.x, f"dx of {name}": layer.dx}
    return found


def same_bits(found: dict[str, Array], expected: dict[str, Array], what: str = "") -> None:
    """Equal to the last bit, the sign of zero aside."""
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype, f"{what} {name}"
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{what} {name}")
