"""scikit-learn's own checks, all of them, and how many they are."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks

from vecgrad import CNNClassifier, CNNRegressor

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
ESTIMATORS = [CNNClassifier(), CNNRegressor()]
# What scikit-learn yields for a classifier of one label and for a regressor of several outputs, both with
# sample_weight and partial_fit and without sparse input; for other versions than these two only at least so many.
COUNTS = {(1, 6): (62, 59), (1, 9): (63, 60)}


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_is_content(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("which", [0, 1], ids=["classifier", "regressor"])
def test_no_check_is_missing(which: int) -> None:
    marked = parametrize_with_checks([ESTIMATORS[which]])
    count = len(list(marked.args[1]))
    if VERSION in COUNTS:
        assert count == COUNTS[VERSION][which]
    else:
        assert count >= COUNTS[1, 6][which]


@pytest.mark.parametrize("name", ["CNNClassifier", "CNNRegressor"])
def test_no_check_is_skipped(name: str) -> None:
    """In a process of its own with what two checks need: pandas, and SciPy told to look at array namespaces."""
    pytest.importorskip("pandas", reason="two checks hand over pandas objects")
    program = (
        "import vecgrad; from sklearn.utils.estimator_checks import estimator_checks_generator as checks\n"
        f"made = [check for _, check in checks(vecgrad.{name}())]\n"
        "skippable = [c for c in made if 'array_api' in repr(c) or 'pandas' in repr(c)]\n"
        f"for check in skippable: check(vecgrad.{name}())\n"
        "print(len(skippable))"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 1
