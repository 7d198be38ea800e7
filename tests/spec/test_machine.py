"""Machine records: what the planner and the kernels may rely on."""

from __future__ import annotations

import pytest

from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.machine import AVX2, AVX512, BASELINE, ISAS, ITEM_BYTES, NEON, Machine, restricted


def test_the_isas_are_known_by_name() -> None:
    assert {name: machine.isa for name, machine in ISAS.items()} == {n: n for n in ISAS}
    assert set(ISAS) == {"avx512", "avx2", "baseline", "neon"}


@pytest.mark.parametrize("machine", [AVX512, AVX2, BASELINE, NEON], ids=lambda m: m.isa)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pitch_is_the_fewest_whole_vectors(machine: Machine, dtype: str) -> None:
    lanes = machine.lanes(dtype)
    assert lanes * ITEM_BYTES[dtype] * 8 == machine.vector_bits
    for channels in (1, lanes - 1, lanes, lanes + 1, 4 * lanes - 1, 4 * lanes, 4 * lanes + 1):
        pitch = machine.pitch(channels, dtype)
        assert pitch % lanes == 0
        assert channels <= pitch < channels + lanes


def test_restriction_keeps_the_caches_and_narrows_the_rest() -> None:
    host = Machine("avx512", "x86_64-pc-windows-msvc", "znver5", ("+a",), 512, 32, True, 48, 2048, 9, 200.0)
    less = restricted(host, "avx2")
    assert (less.isa, less.cpu, less.features, less.vector_bits) == ("avx2", AVX2.cpu, (), 256)
    assert less.triple == host.triple
    assert (less.l1, less.l2, less.l3) == (48, 2048, 9)
    assert less.gflops == 100.0
    least = restricted(host, "baseline")
    assert not least.fma
    assert least.gflops == 25.0
    assert restricted(host, "avx512") is host


def test_another_architecture_brings_its_own_triple() -> None:
    assert restricted(AVX512, "neon").triple == NEON.triple
    assert not restricted(AVX512, "neon").is_x86


def test_an_unknown_isa_is_refused() -> None:
    with pytest.raises(ArgumentError, match="avx512, avx2, baseline, neon"):
        restricted(AVX512, "sse4")
