"""Where llvmlite is not installed, the same model trains through NumPy, and says so once."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, warnings
sys.modules["llvmlite"] = None
import numpy as np
import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, ReLU

rng = np.random.default_rng(0)
x, y = rng.random((32, 6, 6, 1), np.float32), rng.integers(0, 3, 32)
model = [Conv2D(4, 3), ReLU(), Flatten(), Dense(3)]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    program = vg.compile(model, (6, 6, 1), "cross_entropy", vg.SGD(0.1), batch_size=16)
assert program.backend == "reference", program.backend
assert ["llvmlite" in str(w.message) for w in said] == [True], said
history = vg.fit(program, x, y, epochs=8)
assert history.loss[-1] < history.loss[0]
assert program.predict_proba(x).shape == (32, 3)
"""


def test_training_goes_on_in_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
