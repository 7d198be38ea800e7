"""For all tests: a cache of compiled kernels of their own, and texts that are compared with kept ones."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

_GOLDEN = Path(__file__).parent / "golden"
_CACHE = "VECGRAD_CACHE_DIR"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the files in tests/golden")


def pytest_configure(config: pytest.Config) -> None:
    """Set before the first program and before any worker process, so that all of them share one cache."""
    # What a shell starts in the background ignores Ctrl-C, and would hand that on to the tests of it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _CACHE not in os.environ:
        os.environ[_CACHE] = config.stash[_OURS] = tempfile.mkdtemp(prefix="vecgrad-tests-")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of kernels' and programs' families of cases each runs on the widest instruction set; of six cases, by their names, one
    runs on the next one too and one on the one behind that. What is left over is slow."""
    families = [item for item in items if {"kernels", "program"} & set(item.path.parts)]
    isas = list(dict.fromkeys(isa for item in families if (isa := _isa(item))))
    others = dict(enumerate(isas[1:3]))
    for item in families:
        isa = _isa(item)
        if isa in isas[1:] and len(item.callspec.params) > 1:  # type: ignore[attr-defined]
            case = zlib.crc32(item.name.replace(isa, "").encode())
            if isa != others.get(case % 6):
                item.add_marker(pytest.mark.slow)


def _isa(item: pytest.Item) -> str:
    """Of the machine that a test is given."""
    found = getattr(item, "callspec", None)
    return getattr(found.params.get("machine"), "isa", "") if found else ""


def pytest_unconfigure(config: pytest.Config) -> None:
    ours = config.stash.get(_OURS, None)
    if ours is not None:
        shutil.rmtree(ours, ignore_errors=True)
        os.environ.pop(_CACHE, None)


_OURS = pytest.StashKey[str]()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): the text is what tests/golden/name holds. ``pytest --update-golden`` writes it there."""

    def check(name: str, text: str) -> None:
        path, text = _GOLDEN / name, text.rstrip() + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; write it with pytest --update-golden"
        kept = path.read_text(encoding="utf-8")
        assert text.splitlines() == kept.splitlines(), (
            f"{name} has changed; if that is meant, run pytest --update-golden and review the difference"
        )

    return check
