"""Import and compilation, each in fresh processes, with an empty object cache and with a full one.

    python -m bench compile [--runs 5] [--json FILE] [NETWORK …]

Compilation is from ``vecgrad.compile`` to the end of the first training step, less the time of a later step. Imports of
NumPy and LLVM lie before the clock.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._networks import MOMENTUM, NETWORKS, RATE
from bench._report import Report, head, output_options

_HEAVY = ("numpy", "llvmlite", "sklearn", "PIL", "rich", "click")
_IMPORT = """
import json, sys, time
start = time.perf_counter()
import vecgrad
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in %r if name in sys.modules]]))
"""


def importing() -> tuple[float, list[str]]:
    """Seconds of ``import vecgrad`` in a fresh interpreter, and the heavy modules that it loads."""
    import json
    import os
    import subprocess
    import sys

    import vecgrad

    env = os.environ | {"PYTHONPATH": str(Path(vecgrad.__file__).parents[1])}
    code = _IMPORT % (_HEAVY,)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded


def compiling(network: str) -> dict[str, float]:
    """Seconds to the end of the first step, and of a later step, in this process."""
    import numpy as np

    import vecgrad as vg
    from vecgrad.layers import Flatten

    net = NETWORKS[network]()
    x, y = net.data()
    vg.compile(vg.Sequential([Flatten()]), (4, 4, 1)).forward(np.zeros((1, 4, 4, 1), np.float32))
    start = time.perf_counter()
    program = vg.compile(
        net.model, net.shape, loss="cross_entropy", optimizer=vg.SGD(RATE, momentum=MOMENTUM),
        batch_size=net.batch,
    )  # fmt: skip
    program.step(x, y)
    first = time.perf_counter() - start
    later = []
    for _ in range(3):
        start = time.perf_counter()
        program.step(x, y)
        later.append(time.perf_counter() - start)
    return {"first": first, "step": statistics.median(later)}


@click.command(help=__doc__, short_help="Time of import and of compilation, cold and cached.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1))
@output_options
def command(networks: tuple[str, ...], runs: int, json_file: Path | None, markdown: bool) -> None:
    columns = ["network", "cold s", "cached s", "a step s"]
    report = Report("Compilation of the training step", columns, head(runs=runs))
    for name in networks or ("lenet5", "vgg_small"):
        found: dict[str, list[dict[str, float]]] = {"cold": [], "cached": []}
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as cache:
                for times in found.values():
                    env = {"VECGRAD_CACHE_DIR": cache}
                    times.append(_child.call("bench.startup:compiling", env=env, network=name))
        medians: dict[str, Any] = {
            kind: statistics.median(run["first"] - run["step"] for run in list_)
            for kind, list_ in found.items()
        }
        step = statistics.median(run["step"] for run in found["cached"])
        report.add(
            [name, f"{medians['cold']:.2f}", f"{medians['cached']:.3f}", f"{step:.4f}"],
            {"network": name, "seconds": {**medians, "step": step}, "runs": found},
        )
    imports = [importing() for _ in range(runs)]
    middle = statistics.median(seconds for seconds, _ in imports)
    heavy = ", ".join(imports[0][1]) or "none"
    report.notes.append(f"`import vecgrad`: {middle:.3f} s; heavy modules that it loads: {heavy}.")
    report.rows.append({"import_seconds": [seconds for seconds, _ in imports], "loads": imports[0][1]})
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
