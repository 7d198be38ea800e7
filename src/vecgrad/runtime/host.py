"""The machine at hand: its instruction set, its caches, and whether native code runs on it."""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path

from vecgrad.runtime import _llvm
from vecgrad.spec.errors import CompileError
from vecgrad.spec.machine import ISAS, Machine

_SYSFS = Path("/sys/devices/system/cpu")
_CPUINFO = Path("/proc/cpuinfo")
_DEFAULT_GHZ = 3.0

# Nominal float32 flop per cycle of one core: two vector pipes of multiply-add (baseline: one multiply
# and one add per cycle), as on every server core since Skylake-SP and Zen 3.
_FLOP_PER_CYCLE = {"avx512": 64.0, "avx2": 32.0, "baseline": 8.0, "neon": 16.0}
# Bytes per cycle that one core copies within its L2 cache (measured: 48 on Zen 5 with 512-bit vectors).
_L2_BYTES_PER_CYCLE = {"avx512": 48.0, "avx2": 32.0, "baseline": 16.0, "neon": 16.0}
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma")
_NARROWER = {
    "avx512": ("avx512", "avx2", "baseline"),
    "avx2": ("avx2", "baseline"),
    "baseline": ("baseline",),
}


@functools.cache
def host_machine() -> Machine:
    """This host as a Machine.

    The feature flags are what the processor reports now, so a virtual machine that masks features
    is described as it is and not as its processor's name suggests. Raises CompileError without
    llvmlite and on a processor that is neither x86-64 nor 64-bit ARM.
    """
    llvm = _llvm.binding()
    triple = llvm.get_process_triple()
    features = dict(llvm.get_host_cpu_features())
    base = ISAS[_isa(triple, features)]
    if os.name == "nt" and not triple.endswith("-elf"):
        triple += "-elf"  # LLVM's JIT linker reads only ELF on Windows
    l1, l2, l3 = _caches(base)
    ghz = _gigahertz(_SYSFS, _CPUINFO)
    return Machine(
        isa=base.isa,
        triple=triple,
        cpu=llvm.get_host_cpu_name(),
        features=tuple(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items())),
        vector_bits=base.vector_bits,
        registers=base.registers,
        fma=base.fma,
        l1=l1,
        l2=l2,
        l3=l3,
        gflops=round(ghz * _FLOP_PER_CYCLE[base.isa], 1),
        l2_gbs=round(ghz * _L2_BYTES_PER_CYCLE[base.isa], 1),
    )


def host_isas() -> tuple[str, ...]:
    """The instruction sets that run here, widest first: ("avx512", "avx2", "baseline"), or ("neon",)."""
    isa = host_machine().isa
    return _NARROWER.get(isa, (isa,))


@functools.cache
def native_available() -> bool:
    """Whether compiled code can run here: llvmlite loads, the processor is known, memory may be executed."""
    if sys.maxsize < 2**32:
        return False
    try:
        host_machine()
        _llvm.binding().check_jit_execution()
    except (CompileError, OSError):
        return False
    return True


def _isa(triple: str, features: dict[str, bool]) -> str:
    architecture = triple.split("-")[0]
    if architecture == "x86_64":
        if all(features.get(name) for name in _AVX512):
            return "avx512"
        return "avx2" if features.get("avx2") and features.get("fma") else "baseline"
    if architecture in ("aarch64", "arm64"):
        return "neon"
    raise CompileError(
        f"native code is made for x86-64 and 64-bit ARM, not for {platform.machine() or architecture}; "
        'use backend="reference"'
    )


def _caches(base: Machine) -> tuple[int, int, int]:
    """Bytes of (L1 data, L2, L3) cache: what the system says, else ``base``'s."""
    found = _sysfs_caches(_SYSFS) or _sysconf_caches()
    return found.get(1, base.l1), found.get(2, base.l2), found.get(3, base.l3)


def _sysfs_caches(root: Path) -> dict[int, int]:
    """{level: bytes} of the first processor's data and unified caches; {} where Linux does not say."""
    found: dict[int, int] = {}
    for index in sorted(root.glob("cpu0/cache/index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = int((index / "level").read_text())
            size = _bytes((index / "size").read_text().strip())
        except (OSError, ValueError):
            continue
        if kind in ("Data", "Unified") and size > 0:
            found[level] = size
    return found


def _sysconf_caches() -> dict[int, int]:
    """The C library's answer (glibc), or macOS's; {} elsewhere."""
    found: dict[int, int] = {}
    if sys.platform == "darwin":
        import ctypes

        for level, key in ((1, b"hw.l1dcachesize"), (2, b"hw.l2cachesize"), (3, b"hw.l3cachesize")):
            value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
            failed = ctypes.CDLL(None).sysctlbyname(key, ctypes.byref(value), ctypes.byref(size), None, 0)
            if not failed and value.value > 0:
                found[level] = value.value
        return found
    names = getattr(os, "sysconf_names", {})
    for level, name in (
        (1, "SC_LEVEL1_DCACHE_SIZE"),
        (2, "SC_LEVEL2_CACHE_SIZE"),
        (3, "SC_LEVEL3_CACHE_SIZE"),
    ):
        if name in names and (value_bytes := os.sysconf(name)) > 0:
            found[level] = value_bytes
    return found


def _bytes(text: str) -> int:
    """'48K' -> 49152."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    return int(text.rstrip("KMG")) * unit


def _gigahertz(sysfs: Path, cpuinfo: Path) -> float:
    """The highest clock the system admits to, else a usual one: it scales predictions and nothing else."""
    try:
        return int((sysfs / "cpu0/cpufreq/cpuinfo_max_freq").read_text()) / 1e6
    except (OSError, ValueError):
        pass
    try:
        speeds = [
            float(line.partition(":")[2]) / 1e3
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("cpu MHz")
        ]
    except (OSError, ValueError):
        speeds = []
    plausible = [ghz for ghz in speeds if 0.5 < ghz < 10.0]
    return max(plausible, default=_DEFAULT_GHZ)
