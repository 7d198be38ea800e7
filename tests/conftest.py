"""For all tests: a cache of compiled kernels of their own, and texts that are compared with kept ones."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
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
