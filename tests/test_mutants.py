"""The table of planted faults still fits the code. scripts/mutants itself shows that each is caught."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "mutants"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the scripts are not part of this copy")


def test_every_planted_fault_fits_the_code():
    mutants = runpy.run_path(str(SCRIPT))["load"](ROOT)
    assert mutants
    for mutant in mutants:
        text = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert mutant.applied(text) != text
        for test in mutant.tests:
            assert test.startswith("-") or (ROOT / test.split("::")[0]).exists(), f"{mutant.name}: no {test}"
