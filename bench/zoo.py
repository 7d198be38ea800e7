"""Every network of the zoo trained beside its PyTorch twin: how far rounding leads each side from float64. Nothing is timed here.

    python -m bench zoo [--only resnet] [--json FILE]

The same weights, the same batches, small images. Gradients: of a first step, the median over the parameter arrays of the
relative distance (L2) from PyTorch's in float64, and the largest ratio of vecgrad's distance to PyTorch's, of whose
layouts the farther one counts. Curves: rms over 20 losses of SGD with momentum; for float64 the largest difference.
What is compared and why these batches: tests/exchange/beside.py, whose tests hold the bounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import _child
from bench._report import Report, head, output_options

COLUMNS = (
    "network", "PyTorch gradients", "direct", "ratio", "Winograd", "ratio", "float64 curve", "PyTorch curves",
    "direct", "Winograd",
)  # fmt: skip


def names() -> list[str]:
    from tests.exchange.twins import TWINS

    return list(TWINS)


def measure(name: str) -> dict[str, Any]:
    """The figures of one network, in this process."""
    import torch
    from tests.exchange import beside

    torch.set_num_threads(1)
    true, own = beside.exact_curves(name)
    found: dict[str, Any] = {
        "network": name, "float64": float(np.abs(own - true).max()), "curves": beside.distances(name), "gradients": {},
    }  # fmt: skip
    if not beside.CASES[name].seeds:
        return found
    errors, sizes = beside.gradient_errors(name)
    peer = {key: max(errors["PyTorch NCHW"][key], errors["PyTorch channels last"][key]) for key in sizes}
    # A gradient that is exactly zero has no relative error; its ratio counts.
    real = [key for key in sizes if sizes[key] > 1e-9 * max(sizes.values())]
    sides = {"PyTorch": peer} | {side: errors[side] for side in ("direct", "winograd") if side in errors}
    for side, each in sides.items():
        median = float(np.median([each[key] / sizes[key] for key in real]))
        found["gradients"][side] = [median, max(each[key] / peer[key] for key in sizes)]
    return found


def cells(row: dict[str, Any]) -> list[str]:
    """
    >>> row = {"network": "n", "gradients": {"PyTorch": [1e-7, 1.0], "direct": [2e-7, 1.5]}, "float64": 1e-15}
    >>> cells(row | {"curves": {"PyTorch NCHW": 1e-6, "PyTorch channels last": 3e-6, "direct": 2e-6}})
    ['n', '1.0e-07', '2.0e-07', '1.50', '–', '–', '1.0e-15', '3.0e-06', '2.0e-06', '–']
    """
    gradients, curves = row["gradients"], row["curves"]
    found = [row["network"], f"{gradients['PyTorch'][0]:.1e}" if gradients else "–"]
    for side in ("direct", "winograd"):
        found += (
            [f"{gradients[side][0]:.1e}", f"{gradients[side][1]:.2f}"] if side in gradients else ["–", "–"]
        )
    spread = max(value for side, value in curves.items() if side.startswith("PyTorch"))
    found += [f"{row['float64']:.1e}", f"{spread:.1e}"]
    return found + [f"{curves[side]:.1e}" if side in curves else "–" for side in ("direct", "winograd")]


@click.command(help=__doc__, short_help="Gradients and curves of the zoo's networks, beside PyTorch's.")
@click.option("--only", default="", help="Networks whose name contains this.")
@output_options
def command(only: str, json_file: Path | None, markdown: bool) -> None:
    report = Report("The zoo beside PyTorch", COLUMNS, head(("torch",)))
    for name in names():
        if only in name:
            row = _child.call("bench.zoo:measure", env=_child.environment(1, None), name=name)
            report.add(cells(row), row)
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
