"""Objects on disk: hit, and never anything else than what was stored under that key."""

from __future__ import annotations

import errno
import os
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from vecgrad.runtime import ObjectCache, cache_directory, native_available
from vecgrad.runtime import cache as cache_module
from vecgrad.runtime.cache import object_key
from vecgrad.spec.machine import AVX2, AVX512, BASELINE

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes are POSIX")


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "deep" / "cache")


def only_file(cache: ObjectCache) -> Path:
    (file,) = cache.directory.iterdir()
    return file


def test_what_is_put_is_got(cache: ObjectCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert cache.get(OTHER) is None
    assert ObjectCache(cache.directory).get(KEY) == b"code"
    cache.put(KEY, b"newer")
    assert cache.get(KEY) == b"newer"


@posix
def test_files_and_directory_are_private(cache: ObjectCache) -> None:
    cache.put(KEY, b"code")
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    assert only_file(cache).stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_no_hit(cache: ObjectCache) -> None:
    cache.put(KEY, b"the code of a kernel")
    file = only_file(cache)
    good = file.read_bytes()
    for position in range(len(good)):
        file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert cache.get(KEY) is None, f"byte {position} changed"
    for length in range(len(good)):
        file.write_bytes(good[:length])
        assert cache.get(KEY) is None, f"cut to {length} bytes"
    file.write_bytes(good + b"\0")
    assert cache.get(KEY) is None
    cache.put(KEY, b"the code of a kernel")
    assert cache.get(KEY) == b"the code of a kernel", "built anew, it serves again"


def test_a_foreign_file_is_no_hit(cache: ObjectCache) -> None:
    cache.put(OTHER, b"code")
    only_file(cache).rename(cache.directory / f"{KEY.hex()}.vgo")
    assert cache.get(KEY) is None, "stored under another key"
    (cache.directory / f"{KEY.hex()}.vgo").write_bytes(b"\x7fELF and so on")
    assert cache.get(KEY) is None
    (cache.directory / f"{KEY.hex()}.vgo").unlink()
    (cache.directory / f"{KEY.hex()}.vgo").mkdir()
    assert cache.get(KEY) is None


@posix
def test_links_pipes_and_files_open_to_others_are_no_hits(cache: ObjectCache, tmp_path: Path) -> None:
    cache.put(KEY, b"code")
    file = only_file(cache)
    file.chmod(0o622)
    assert cache.get(KEY) is None
    file.chmod(0o600)
    assert cache.get(KEY) == b"code"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.get(KEY) is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert cache.get(KEY) is None


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    with pytest.warns(UserWarning, match="can be written by others.*VECGRAD_CACHE_DIR"):
        cache = ObjectCache(tmp_path / "shared")
    cache.put(KEY, b"code")
    assert cache.get(KEY) is None
    assert not list((tmp_path / "shared").iterdir())


@posix
def test_somebody_elses_directory_is_refused(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, b"code")
    monkeypatch.setattr(os, "geteuid", lambda: cache.directory.stat().st_uid + 1)
    assert cache.get(KEY) is None, "nor is a file of somebody else's read"
    with pytest.warns(UserWarning, match="belongs to another user"):
        theirs = ObjectCache(cache.directory)
    assert theirs.get(KEY) is None


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.warns(UserWarning, match="cache of compiled kernels"):
            cache = ObjectCache(directory)
        cache.put(KEY, b"code")
        assert cache.get(KEY) is None


def test_a_full_disk_disables_writing_once(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, b"code")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        cache.put(OTHER, b"more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(OTHER, b"more")
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == b"code", "what is there can still be read"
    assert only_file(cache).suffix == ".vgo", "and nothing half-written stays"


def test_the_directory_may_vanish(cache: ObjectCache) -> None:
    cache.directory.rmdir()
    with pytest.warns(UserWarning, match="cannot be written"):
        cache.put(KEY, b"code")
    assert cache.get(KEY) is None


def test_size_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache", limit=10_000)
    now = time.time()
    keys = [bytes([i]) * 32 for i in range(12)]
    for age, key in enumerate(keys):
        cache.put(key, bytes(928))  # 1000 bytes with its header
        stamp = now - 1000 + age
        os.utime(cache.directory / f"{key.hex()}.vgo", (stamp, stamp))
    kept = [key for key in keys if cache.get(key) is not None]
    assert kept == keys[-len(kept) :], "the newest"
    assert 7 <= len(kept) <= 10


def test_a_hit_counts_as_use(cache: ObjectCache) -> None:
    cache.put(KEY, b"code")
    file = only_file(cache)
    old = time.time() - 10 * 86400
    os.utime(file, (old, old))
    assert cache.get(KEY) == b"code"
    assert file.stat().st_mtime > old + 86400


def test_remains_of_killed_writers_are_removed(cache: ObjectCache) -> None:
    for name, age in (("old.tmp", 3), ("new.tmp", 0)):
        (cache.directory / name).write_bytes(b"")
        stamp = time.time() - age * 86400
        os.utime(cache.directory / name, (stamp, stamp))
    cache.put(KEY, b"code")
    assert sorted(file.suffix for file in cache.directory.iterdir()) == [".tmp", ".vgo"]
    assert (cache.directory / "new.tmp").exists()


def test_concurrent_writers_and_readers(cache: ObjectCache) -> None:
    data = {key: key * 3000 for key in (KEY, OTHER)}
    wrong: list[bytes] = []
    done = threading.Event()

    def write(key: bytes) -> None:
        mine = ObjectCache(cache.directory)
        for _ in range(60):
            mine.put(key, data[key])

    def read() -> None:
        while not done.is_set():
            for key, expected in data.items():
                found = cache.get(key)
                if found is not None and found != expected:
                    wrong.append(found)

    writers = [threading.Thread(target=write, args=(key,)) for key in (KEY, KEY, OTHER)]
    reader = threading.Thread(target=read)
    for thread in [*writers, reader]:
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert not wrong
    assert {key: cache.get(key) for key in data} == data


@pytest.mark.skipif(not native_available(), reason="a key names LLVM's version")
def test_a_key_depends_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[bytes]:
        machines = (AVX512, AVX2, BASELINE, replace(AVX2, features=("+avx2",)), replace(AVX2, cpu="znver5"))
        machines += (replace(AVX2, triple="x86_64-apple-darwin"),)
        pairs = (("name", "text"), ("name2", "text"), ("name", "text2"), ("nam", "etext"))
        return [object_key(name, text, machine) for machine in machines for name, text in pairs]

    first = keys()
    assert len(set(first)) == len(first)
    assert keys() == first
    assert object_key("name", "text", replace(AVX2, gflops=1.0)) == object_key("name", "text", AVX2)
    monkeypatch.setattr(cache_module, "GENERATOR_VERSION", 0)
    assert not set(keys()) & set(first)
    monkeypatch.undo()
    monkeypatch.setattr("vecgrad.runtime._llvm.OPTIONS", "O0")
    assert not set(keys()) & set(first)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VECGRAD_CACHE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_directory() == tmp_path / "a"
    monkeypatch.setenv("VECGRAD_CACHE_DIR", "")
    assert cache_directory() == tmp_path / "b" / "vecgrad"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == tmp_path / ".cache" / "vecgrad"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_directory() == tmp_path / "Library" / "Caches" / "vecgrad"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "c"))
    assert cache_directory() == tmp_path / "c" / "vecgrad" / "cache"
