"""Import and compilation, each in fresh processes: ``python -m bench.startup [--runs 5] [--json FILE]``.

Prints medians: ``import vecgrad``; LeNet-5's training step from ``vecgrad.compile`` to the end of its first step, with an
empty object cache and with a full one. Imports of NumPy and LLVM lie before the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORT = """
import sys, time
start = time.perf_counter()
import vecgrad
seconds = time.perf_counter() - start
heavy = [name for name in ("numpy", "llvmlite", "sklearn", "PIL", "rich", "click") if name in sys.modules]
print(seconds, ",".join(heavy) or "none")
"""

COMPILE = """
import time
import numpy as np
import vecgrad as vg
from bench.networks import NETWORKS
network = NETWORKS["lenet5"]()
x, y = np.zeros((network.batch, *network.shape), np.float32), np.zeros(network.batch, np.int64)
vg.compile(vg.Sequential([]), (4, 4, 1)).forward(np.zeros((1, 4, 4, 1), np.float32))
start = time.perf_counter()
program = vg.compile(network.model, network.shape, loss="cross_entropy",
                     optimizer=vg.SGD(0.01, momentum=0.9), batch_size=network.batch)
program.step(x, y)
print(time.perf_counter() - start)
"""


def output(code: str, cache: str) -> str:
    """What a fresh process prints."""
    environment = dict(os.environ, VECGRAD_CACHE_DIR=cache)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    imports, cold, cached = [], [], []
    loaded = ""
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as cache:
            seconds, loaded = output(IMPORT, cache).split()
            imports.append(float(seconds))
            cold.append(float(output(COMPILE, cache)))
            cached.append(float(output(COMPILE, cache)))
    medians = {
        "import": statistics.median(imports),
        "lenet5_cold": statistics.median(cold),
        "lenet5_cached": statistics.median(cached),
    }
    print(f"import vecgrad      {medians['import']:.3f} s (heavy modules loaded by it: {loaded})")
    print(f"LeNet-5's step cold {medians['lenet5_cold']:.3f} s, cached {medians['lenet5_cached']:.3f} s")
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
