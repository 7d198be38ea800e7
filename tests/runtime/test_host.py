"""What the host is: instruction set, caches, clock, processors; and how many threads that makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecgrad.runtime import (
    get_num_threads,
    host,
    host_isas,
    host_machine,
    native_available,
    processors,
    set_num_threads,
)
from vecgrad.spec.errors import ArgumentError, CompileError
from vecgrad.spec.machine import AVX2, ISAS

needs_llvm = pytest.mark.skipif(not native_available(), reason="needs llvmlite")


@needs_llvm
def test_this_host() -> None:
    machine = host_machine()
    base = ISAS[machine.isa]
    assert (machine.vector_bits, machine.registers, machine.fma) == (
        base.vector_bits,
        base.registers,
        base.fma,
    )
    assert machine.is_x86 == base.is_x86
    assert 8 << 10 <= machine.l1 <= machine.l2
    assert machine.l3 > 0
    assert 1 < machine.gflops < 1000
    assert host_isas()[0] == machine.isa
    assert host_machine() is machine


FULL = dict.fromkeys(("avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"), True)


@pytest.mark.parametrize(
    ("triple", "masked", "isa"),
    [
        ("x86_64-unknown-linux-gnu", (), "avx512"),
        ("x86_64-unknown-linux-gnu", ("avx512vl",), "avx2"),
        ("x86_64-unknown-linux-gnu", ("avx512dq",), "avx2"),
        ("x86_64-unknown-linux-gnu", ("avx512bw", "avx512f"), "avx2"),
        ("x86_64-unknown-linux-gnu", ("fma",), "baseline"),
        ("x86_64-pc-windows-msvc", ("avx2", "avx512f"), "baseline"),
        ("aarch64-unknown-linux-gnu", tuple(FULL), "neon"),
        ("arm64-apple-darwin23", tuple(FULL), "neon"),
    ],
)
def test_the_instruction_set_is_what_the_flags_say(triple: str, masked: tuple[str, ...], isa: str) -> None:
    assert host._isa(triple, FULL | dict.fromkeys(masked, False)) == isa


def test_other_processors_have_no_native_code() -> None:
    with pytest.raises(CompileError, match='backend="reference"'):
        host._isa("riscv64-unknown-linux-gnu", {})


def sysfs(root: Path, *caches: tuple[str, str, str]) -> Path:
    for number, (kind, level, size) in enumerate(caches):
        index = root / "cpu0" / "cache" / f"index{number}"
        index.mkdir(parents=True)
        for name, text in (("type", kind), ("level", level), ("size", size)):
            (index / name).write_text(text + "\n")
    return root


def test_caches_from_sysfs(tmp_path: Path) -> None:
    root = sysfs(
        tmp_path,
        ("Data", "1", "48K"),
        ("Instruction", "1", "32K"),
        ("Unified", "2", "2M"),
        ("Unified", "3", "0K"),
        ("Unified", "x", "1K"),
    )
    assert host._sysfs_caches(root) == {1: 48 << 10, 2: 2 << 20}
    assert host._sysfs_caches(tmp_path / "absent") == {}


def test_unknown_caches_are_the_usual_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "_SYSFS", tmp_path)
    monkeypatch.setattr(host, "_sysconf_caches", lambda: {2: 12345})
    assert host._caches(AVX2) == (AVX2.l1, 12345, AVX2.l3)


def test_clock(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert host._gigahertz(tmp_path, info) == 3.0
    info.write_text("processor : 0\ncpu MHz\t\t: 2300.000\nprocessor : 1\ncpu MHz\t\t: 2500.5\n")
    assert host._gigahertz(tmp_path, info) == 2.5005
    info.write_text("cpu MHz : 0.000\n")
    assert host._gigahertz(tmp_path, info) == 3.0
    (tmp_path / "cpu0" / "cpufreq").mkdir(parents=True)
    (tmp_path / "cpu0" / "cpufreq" / "cpuinfo_max_freq").write_text("4100000\n")
    assert host._gigahertz(tmp_path, info) == 4.1


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``groups(membership, {file: text})``: processors() of a machine with 16 and these control groups."""
    monkeypatch.setattr("vecgrad.runtime._processors._affinity", lambda: 16)

    def count(membership: str, files: dict[str, str]) -> int:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        (tmp_path / "self").write_text(membership)
        return processors(tmp_path / "cgroup", tmp_path / "self")

    return count


V1 = "4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/a/b\n"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b\n", {}, 16),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, 16),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "10000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "9900000 100000"}, 16),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/not/mounted/here\n", {"cpu.max": "500000 100000"}, 5),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, 16),
        ("0::/a\n", {"a/cpu.max": "1 0"}, 16),
        (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000"}, 16),
        (
            V1,
            {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "250000", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000"},
            3,
        ),
        (V1, {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        (V1, {"memory/a/b/cpu.cfs_quota_us": "100000", "memory/a/b/cpu.cfs_period_us": "100000"}, 16),
        (V1 + "0::/u\n", {"unified/u/cpu.max": "700000 100000"}, 7),
        ("0::/../../a\n", {"a/cpu.max": "600000 100000"}, 6),
        ("garbage\n0:\n\n", {"cpu.max": "100000 100000"}, 16),
    ],
)
def test_cgroup_quotas(groups: Any, membership: str, files: dict[str, str], expected: int) -> None:
    assert groups(membership, files) == expected


def test_without_control_groups_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecgrad.runtime._processors._affinity", lambda: 5)
    assert processors(tmp_path, tmp_path / "absent") == 5


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("VECGRAD_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    set_num_threads(None)
    yield monkeypatch
    set_num_threads(None)


def test_threads_said_beat_the_environment_beat_the_processors(unset: pytest.MonkeyPatch) -> None:
    assert get_num_threads() == processors()
    unset.setenv("VECGRAD_NUM_THREADS", " 3 ")
    assert get_num_threads() == 3
    set_num_threads(5)
    assert get_num_threads() == 5
    set_num_threads(np.int64(256))
    assert get_num_threads() == 256
    set_num_threads(None)
    assert get_num_threads() == 3
    unset.setenv("VECGRAD_NUM_THREADS", "")
    assert get_num_threads() == processors()


@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, 2.0, "4", True, [2]])
def test_bad_numbers_of_threads(unset: pytest.MonkeyPatch, threads: Any) -> None:
    with pytest.raises(ArgumentError, match="whole number from 1 to 256, got"):
        set_num_threads(threads)
    assert get_num_threads() == processors(), "and nothing has changed"


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "257", "²", "1e1"])
def test_bad_environment(unset: pytest.MonkeyPatch, text: str) -> None:
    unset.setenv("VECGRAD_NUM_THREADS", text)
    with pytest.raises(ArgumentError, match="VECGRAD_NUM_THREADS must be a whole number from 1 to 256, got"):
        get_num_threads()
