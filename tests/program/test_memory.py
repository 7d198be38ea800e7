"""Whole plans on memory that tells: between forbidden pages, and full of NaN wherever nothing may be read before it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.networks import NETWORKS, Network
from tests.program.host import MACHINES, compiled, gradients, same_bits, threads

import vecgrad as vg
from vecgrad.program import native_backend
from vecgrad.runtime.memory import Memory, guarded
from vecgrad.spec.machine import Machine

Array = np.ndarray[Any, np.dtype[Any]]
EXACT = {name: network for name, network in NETWORKS.items() if network.exact}
FEW = ("odd maps, one channel", "groups", "uneven padding", "batch of seventeen")


def fenced(array: Array, side: Any, kept: list[Memory]) -> Array:
    """A copy whose last byte (or first) is the last (first) that may be touched."""
    memory = guarded(array.nbytes, side)
    kept.append(memory)
    copy = memory.array(array.dtype, array.shape, 0)
    copy[...] = array
    return copy


def weights(n: int) -> Array:
    w = np.ones(n, np.float32)
    w[-1] = 32 - (n - 1)
    return w


@pytest.mark.parametrize(
    ("name", "side"), [*((name, "end") for name in EXACT), *((name, "start") for name in FEW)]
)
def test_nothing_beyond_an_array_is_touched(name: str, side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A touched page would end the process; the program's own memory lies between such pages as well."""
    network = EXACT[name]
    kept: list[Memory] = []
    monkeypatch.setattr(native_backend, "aligned", lambda nbytes: guarded(nbytes, side))
    program = compiled(network, machine=MACHINES[0], optimizer=vg.SGD(0.0))
    for n in {1, network.batch}:
        x, t, w = (fenced(a, side, kept) for a in (network.images(n), network.targets(n), weights(n)))
        found = gradients(program, x, t, w)
        same_bits(found, gradients(compiled(network, backend="reference"), x, t, w))
        if name in FEW:
            assert np.isfinite(program.step(x, t, w))


def poison(compiled: Any) -> None:
    """Every byte that a run may not rely on becomes 255: NaN, and nonsense as an index."""
    memories = [
        compiled._memory["arena"],
        compiled._memory["gradients"],
        compiled._frames,
        compiled._job._scratch,
    ]
    for memory in memories:
        memory.array("uint8", (memory.nbytes,), 0)[...] = 255


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.isa)
def test_nothing_is_read_before_it_is_written(machine: Machine) -> None:
    for name in EXACT if machine is MACHINES[0] else FEW:
        network: Network = EXACT[name]
        program = compiled(network, machine=machine)
        for n in (network.batch, 1):
            x, t, w = network.images(n), network.targets(n), weights(n)
            with threads(2):
                expected = gradients(program, x, t, w)
                for made in program._backend._compiled.values():  # type: ignore[attr-defined]
                    poison(made)
                same_bits(gradients(program, x, t, w), expected, name)
