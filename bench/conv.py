"""How near the convolutions come to the peak: ``python -m bench.conv [--isa avx2] [--only 64] [--batch 128]
[--algorithm direct]``.

Each round runs a sample of the peak loop, the kernel on a few images that fit L2 (a plan runs chunks depth
first, so that is where they are), and the peak loop again. Rounds in which the peak was below 0.95 of the
run's 90th percentile are dropped; what is printed is the median of the others' ratios, with the middle
half's spread. Flops are nominal: padding and idle lanes count against a kernel, and
Winograd's algorithm may pass the peak.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bench.loaded import Loaded, filled
from bench.peak import Peak
from vecgrad.kernels import algorithm, summed
from vecgrad.kernels.reasons import Algorithm
from vecgrad.plan.accumulate import BESIDE
from vecgrad.runtime.host import host_machine
from vecgrad.spec.geometry import Conv, PaddingLike, window
from vecgrad.spec.kernel import Epilogue
from vecgrad.spec.machine import Machine, restricted
from vecgrad.spec.tensor import Layout

# Rounds are as long as this at least: the clock and the call cost about two microseconds.
_ROUND = 2e-3


@dataclass(frozen=True)
class Case:
    """A layer: C → K channels, the size of its input, its kernel."""

    c: int
    k: int
    size: int
    kernel: int = 3
    stride: int = 1
    padding: PaddingLike = "same"
    groups: int = 1

    @property
    def conv(self) -> Conv:
        return Conv(
            window((self.size, self.size), self.kernel, self.stride, self.padding),
            self.c,
            self.k,
            self.groups,
        )

    def layouts(self, machine: Machine, dtype: str) -> tuple[Layout, Layout]:
        """x and y; thin inputs are a user's array, without padding."""
        p, q = self.conv.window.out_size
        pitch = self.c if self.c < 4 else machine.pitch(self.c, dtype)
        x = Layout(self.size, self.size, self.c, pitch, dtype)
        return x, Layout(p, q, self.k, machine.pitch(self.k, dtype), dtype)

    def __str__(self) -> str:
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        return (
            f"{self.c}->{self.k} {self.kernel}x{self.kernel}/{self.stride} on {self.size}x{self.size}{groups}"
        )


CASES = (
    Case(64, 64, 32),
    Case(32, 32, 32),
    Case(16, 16, 32),
    Case(32, 32, 16),
    Case(128, 128, 16),
    Case(64, 64, 8),
    Case(256, 256, 8),
    Case(512, 512, 4),
    Case(3, 32, 32),
    Case(1, 32, 28, padding="valid"),
    Case(6, 16, 14, kernel=5, padding="valid"),
    Case(64, 128, 32, stride=2),
    Case(256, 64, 28, kernel=1),
    Case(3, 64, 112, kernel=7, stride=2),
    Case(3136, 128, 1, kernel=1),
)


@dataclass(frozen=True)
class Run:
    """One direction of a case: how to run it once, and the work that is."""

    name: str
    seconds: Callable[[], float]
    flops: int


def runs(
    case: Case, machine: Machine, dtype: str, batch: int | None = None, kind: Algorithm = "auto"
) -> Iterator[Run]:
    """The three directions, all images one chunk of a larger batch, so that no kernel cuts a single image into tasks.

    Large weight gradients run as tasks of blocks, as in a plan.
    """
    conv = case.conv
    x, y = case.layouts(machine, dtype)
    images = batch or max(1, min(128, machine.l2 * 3 // 4 // (x.nbytes + y.nbytes)))
    flops = images * conv.flops
    r, s, c, k = conv.weight_shape
    weights = r * s * c * k
    w = filled(weights, dtype, 1)
    operands = {layout: filled(images * layout.entries, dtype, n) for n, layout in enumerate((x, y))}
    directions: tuple[Literal["forward", "dx"], ...] = ("forward", "dx")
    for name in directions:
        source, target = (x, y) if name == "forward" else (y, x)
        found = algorithm.gather(
            conv, name, source, target, machine, epilogue=Epilogue(), scalars=(), images=images, batch=images + 1,
            direct_by_blocks=False, algorithm=kind,
        )  # fmt: skip
        packed = w
        if found.pack is not None:
            packed = filled(found.pack.entries, dtype, 3)
            Loaded(found.pack, machine, [w, packed]).tasks(found.pack.tasks)
        arrays = [operands[source], packed, filled(images * target.entries, dtype, 4)]
        yield _run(name, Loaded(found.spec, machine, arrays), images, flops)
    arrays = [operands[x], operands[y], filled(weights, dtype, 5)]
    by_blocks = weights > BESIDE
    gradient = summed.weight_gradient(
        conv,
        x,
        y,
        machine,
        images=images,
        batch=images,
        groups=(lambda blocks, least, most: 1) if by_blocks else None,
        algorithm=kind,
    ).spec
    if not by_blocks:
        yield _run("dw", Loaded(gradient, machine, arrays), images, flops)
        return
    cut = replace(gradient, slab_stride=weights)
    parts = Loaded(cut, machine, arrays, (float(images),))
    yield Run("dw", lambda: parts.tasks(cut.tasks), flops)


def _run(name: str, kernel: Loaded, images: int, flops: int) -> Run:
    repeat = max(1, int(_ROUND / kernel.seconds(0, images)))
    return Run(name, lambda: kernel.seconds(0, images, repeat) / repeat, flops)


def ratios(run: Run, peak: Peak, seconds: float) -> tuple[list[float], list[float]]:
    """Of the rounds that count: kernel over peak, and the kernel's GFLOP/s."""
    run.seconds()
    rounds = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 5:
        before = peak.sample()
        elapsed = run.seconds()
        rounds.append((min(before, peak.sample()), run.flops / elapsed * 1e-9))
    bound = 0.95 * sorted(best for best, _ in rounds)[int(0.9 * (len(rounds) - 1))]
    kept = [(best, rate) for best, rate in rounds if best >= bound]
    return sorted(rate / best for best, rate in kept), sorted(rate for _, rate in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", default=None)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, help="this many images instead of as many as fit L2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--algorithm", choices=("auto", "direct"), default="auto")
    options = parser.parse_args()
    machine = host_machine() if options.isa is None else restricted(host_machine(), options.isa)
    peak = Peak(machine, options.dtype)
    print(
        f"{machine.cpu} ({machine.isa}), one thread, {options.dtype}; ratio to the peak [middle half], GFLOP/s"
    )
    for case in CASES:
        if options.only not in str(case):
            continue
        line = [f"{case!s:28}"]
        for run in runs(case, machine, options.dtype, options.batch, options.algorithm):
            found, rates = ratios(run, peak, options.seconds)
            low, high = found[len(found) // 4], found[3 * len(found) // 4]
            middle = statistics.median(found)
            line.append(f"{run.name} {middle:.2f} [{low:.2f} {high:.2f}] {statistics.median(rates):4.0f}")
        print("   ".join(line), flush=True)


if __name__ == "__main__":
    main()
