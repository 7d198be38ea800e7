"""The ruler: this core's peak of vector multiply-adds, from a loop of independent chains.

``python -m bench.peak`` prints it in GFLOP/s. The loop is checked in its assembly: as many multiply-adds as
chains, and nothing that touches memory. Times are the thread's processor time, which other processes on
the same core do not lengthen.
"""

from __future__ import annotations

import re
import statistics

from bench.loaded import Loaded, filled
from vecgrad.kernels.peak import CHAINS, generate
from vecgrad.runtime.engine import assembly
from vecgrad.runtime.host import host_machine
from vecgrad.spec.kernel import PeakSpec
from vecgrad.spec.machine import Machine

_TURNS = 50_000  # a third of a millisecond


def checked(spec: PeakSpec, machine: Machine) -> None:
    """Raises AssertionError unless the loop is CHAINS multiply-adds on registers."""
    text = assembly(generate(spec, machine), machine)
    bodies = [body for body in re.split(r"^\.LBB\w+:", text, flags=re.M) if re.search(r"vfmadd|mulp", body)]
    assert len(bodies) == 1, text
    assert "(%" not in bodies[0].split("\tj")[0], "the peak loop touches memory"
    assert not machine.fma or len(re.findall(r"vfmadd", bodies[0])) == CHAINS, text


class Peak:
    """The loop, compiled for a machine."""

    def __init__(self, machine: Machine, dtype: str = "float32") -> None:
        spec = PeakSpec(_TURNS, dtype)
        checked(spec, machine)
        self._loop = Loaded(spec, machine, [filled(1024, dtype, 0)])
        self._flops = 2 * CHAINS * machine.lanes(dtype) * _TURNS
        self._per_second = 20 / self._loop.seconds(0, 1, repeat=20)

    def sample(self, seconds: float = 1e-3) -> float:
        """GFLOP/s now, from a run of about ``seconds``."""
        repeat = max(1, int(self._per_second * seconds))
        return repeat * self._flops / self._loop.seconds(0, 1, repeat) * 1e-9


def main() -> None:
    machine = host_machine()
    peak = Peak(machine)
    samples = sorted(peak.sample() for _ in range(200))
    middle = statistics.median(samples)
    print(f"{machine.cpu}: median {middle:.1f} GFLOP/s, best {samples[-1]:.1f}, worst {samples[0]:.1f}")


if __name__ == "__main__":
    main()
