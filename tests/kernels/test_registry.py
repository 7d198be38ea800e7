"""The list of kernels: names, choice, and what is said when nothing fits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vecgrad.kernels import registry
from vecgrad.kernels.offer import Offer, Refusal, predicted
from vecgrad.spec.errors import CompileError
from vecgrad.spec.geometry import window
from vecgrad.spec.kernel import (
    AvgPoolDxSpec,
    AvgPoolSpec,
    CopySpec,
    FlatMapSpec,
    FlatMeasureSpec,
    FlatSumSpec,
    KernelSpec,
    MapSpec,
    MaxPoolDxSpec,
    MaxPoolSpec,
    ReduceChannelsSpec,
    ReducePixelsSpec,
    SlabSumSpec,
)
from vecgrad.spec.machine import AVX2, AVX512
from vecgrad.spec.scalar import Operand
from vecgrad.spec.tensor import Layout

X, Y, INDEX, ONE = (
    Layout(4, 4, 16, 16),
    Layout(2, 2, 16, 16),
    Layout(2, 2, 16, 16, "uint8"),
    Layout(4, 4, 1, 1),
)
G = window((4, 4), 2, 2)
SPECS: tuple[KernelSpec, ...] = (
    MapSpec((Operand(0),), (X,), (X,)),
    CopySpec(X, Layout(1, 1, 256, 256)),
    FlatMapSpec((Operand(0),), 1, 0),
    FlatSumSpec((Operand(0),), 1, 160, 64, 16),
    FlatMeasureSpec((Operand(0),), 1, 3, 16),
    SlabSumSpec(),
    ReduceChannelsSpec("sum", Operand(0), (X,), ONE),
    ReducePixelsSpec((Operand(0),), (X,), 16),
    MaxPoolSpec(G, X, Y, INDEX),
    MaxPoolDxSpec(G, Y, INDEX, X),
    AvgPoolSpec(G, X, Y),
    AvgPoolDxSpec(G, Y, X),
)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_answers_carry_the_names_of_the_list(spec: KernelSpec) -> None:
    names = [kernel.name for kernel in registry.KERNELS if kernel.spec is type(spec)]
    assert [answer.kernel for answer in registry.candidates(spec, AVX512)] == names
    assert registry.chosen(spec, AVX512).kernel in names


def test_names_are_unique() -> None:
    names = [kernel.name for kernel in registry.KERNELS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_code_is_the_same_every_time_and_named_after_the_spec(spec: KernelSpec) -> None:
    ir = registry.generate(spec, AVX2)
    assert f"define void @{spec.name}(" in ir
    assert ir == registry.generate(spec, AVX2)
    assert ir != registry.generate(spec, AVX512)


def test_a_spec_without_kernel() -> None:
    @dataclass(frozen=True)
    class FftSpec(KernelSpec):
        pass

    with pytest.raises(CompileError, match="no kernel computes fft on avx2: none is known"):
        registry.generate(FftSpec(), AVX2)


def test_a_spec_that_all_kernels_refuse() -> None:
    with pytest.raises(
        CompileError, match=r"map on avx2: map.flat: uint8 is not .*; map.pixels: uint8 is not"
    ):
        registry.generate(MapSpec((Operand(0),), (INDEX,), (INDEX,)), AVX2)


def test_the_cheapest_offer_wins_and_the_first_of_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(name: str, seconds: float) -> registry.Kernel:
        offer = Offer(name, 0, 0, 0, seconds)
        return registry.Kernel(name, SlabSumSpec, lambda spec, machine: offer, lambda spec, machine: name)

    refusing = registry.Kernel(
        "r", SlabSumSpec, lambda spec, machine: Refusal("r", "no"), lambda spec, machine: "r"
    )
    entries = (refusing, kernel("dear", 2.0), kernel("first", 1.0), kernel("second", 1.0))
    monkeypatch.setattr(registry, "KERNELS", entries)
    assert registry.generate(SlabSumSpec(), AVX2) == "first"


def test_a_price_is_the_slower_of_arithmetic_and_traffic() -> None:
    assert predicted(AVX512, flops=0, nbytes=150e9) == 1.0
    assert predicted(AVX512, flops=90e9, nbytes=75e9, dtype="float64") == 1.0
    assert predicted(AVX512, flops=90e9, nbytes=0, share=0.5) == 1.0
