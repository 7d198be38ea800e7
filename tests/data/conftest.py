"""Where real data may lie: VECGRAD_TEST_DATA, else the folder shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder where real data may lie."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("VECGRAD_TEST_DATA", beside))


@pytest.fixture(scope="session")
def mnist(shared: Path) -> Path:
    """The folder with the four real MNIST files; skips the test where there is none."""
    folder = shared / "mnist"
    if not folder.is_dir():
        pytest.skip(f"no MNIST files at {folder}; VECGRAD_TEST_DATA names the folder that holds mnist/")
    return folder
