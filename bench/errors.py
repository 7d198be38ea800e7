"""Rounding errors of every convolution kernel, beside PyTorch's on the same numbers in float32: nothing is timed here.

    python -m bench errors [--numbers normal|rectified|positive] [--only 512] [--isa avx2] [--json FILE]

The truth is the reference's convolution in float64. Errors are over the rms of the true result: the rms of the differences
(L2) and the largest of them (max). PyTorch runs eager in NCHW and in channels last. The two sum in different
orders, so both stand in the table; the bounds are of the larger L2, which PyTorch's users get by a
choice of layout alone. The exit code is 1 if a kernel passes its bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import _child
from bench._report import Report, head, isa_option, output_options
from bench.conv import Case

# What a kernel may have of PyTorch's L2 error, and Winograd's forward pass at all for normal numbers.
FACTORS = {"direct": 2.0, "strassen": 4.0, "winograd": 6.0}
FORWARD_AT_MOST = 5e-6

# Layers with the number of their images.
CASES: tuple[tuple[Case, int], ...] = (
    (Case(16, 16, 32, padding=1), 16),
    (Case(32, 32, 32, padding=1), 16),
    (Case(64, 64, 16, padding=1), 32),
    (Case(128, 128, 16, padding=1), 32),
    (Case(256, 256, 8, padding=1), 32),
    (Case(256, 256, 16, padding=1), 64),
    (Case(512, 512, 8, padding=1), 16),
    (Case(512, 512, 4, padding=1), 32),
    (Case(32, 32, 14, kernel=5, padding=2), 32),
    (Case(3, 64, 112, kernel=7, stride=2, padding=3), 4),
    (Case(64, 64, 14, kernel=1, padding=0), 32),
    (Case(512, 128, 14, kernel=1, padding=0), 16),
    (Case(512, 512, 28, kernel=1, padding=0), 32),
    (Case(512, 512, 4, kernel=1, padding=0), 32),
)
NUMBERS = ("normal", "rectified", "positive")


def arrays(case: Case, images: int, numbers: str) -> tuple[Any, Any, Any]:
    """x, w and dy, float32. normal: of both signs; rectified: x as a ReLU leaves it, He's weights; positive: no sum cancels."""
    from bench._directions import Layer

    layer = Layer.of(case.conv, images)
    x, w, dy = layer.x, layer.w, layer.dy
    if numbers == "rectified":
        return np.maximum(x, 0), w * np.float32(np.sqrt(2 / (case.kernel**2 * case.c))), dy
    return (abs(x), abs(w), abs(dy)) if numbers == "positive" else (x, w, dy)


def errors(found: Any, true: Any) -> tuple[float, float]:
    """(L2, max), both over the rms of ``true``.

    >>> errors(np.array([3.0, 5.0]), np.array([3.0, 4.0]))
    (0.2, 0.282842712474619)
    """
    if found.shape != true.shape:
        raise ValueError(f"a result of shape {found.shape} beside a true one of {true.shape}")
    difference, size = found.astype(np.float64) - true, np.linalg.norm(true)
    return float(np.linalg.norm(difference) / size), float(abs(difference).max() / size * np.sqrt(true.size))


def measure(case: dict[str, Any], images: int, numbers: str, isa: str | None) -> list[dict[str, Any]]:
    """A row for each direction and algorithm that can serve it, in this process."""
    from bench import _torch
    from bench._directions import DIRECTIONS, Layer
    from bench._ruler import machine_for
    from vecgrad.reference import ops

    layer = Case(**case)
    conv = layer.conv
    x, w, dy = arrays(layer, images, numbers)
    true_x, true_w, true_dy = (a.astype(np.float64) for a in (x, w, dy))
    true = {
        "forward": ops.conv(true_x, true_w, conv),
        "dx": ops.conv_dx(true_dy, true_w, conv),
        "dw": ops.conv_dw(true_x, true_dy, conv),
    }
    both = [
        Layer(conv, images, x, w, dy).directions(machine_for(isa), algorithm=a) for a in ("direct", "auto")
    ]
    peers = _torch.directions(conv, x, w, dy, 1)
    rows = []
    for direction in DIRECTIONS:
        beside = {}
        for mode, call in peers[direction].items():
            order = (2, 3, 1, 0) if direction == "dw" else (0, 2, 3, 1)
            beside[mode] = errors(call().detach().numpy().transpose(order), true[direction])
        for kernel in {d[direction].kernels: d[direction] for d in both}.values():
            kernel.both()
            found = errors(kernel.result().reshape(true[direction].shape), true[direction])
            rows.append({
                "case": case, "layer": str(layer), "images": images, "direction": direction, "kernel": kernel.kernels,
                "errors": found, "torch": beside,
            })  # fmt: skip
    return rows


def algorithm_of(row: dict[str, Any]) -> str:
    return next((name for name in ("winograd", "strassen") if name in row["kernel"]), "direct")


def judged(row: dict[str, Any], numbers: str) -> dict[str, Any]:
    """The row with its ratios to PyTorch's larger and smaller error, L2 and max, and whether it is within its bounds."""
    peers = list(row["torch"].values())
    ratios = {
        name: [row["errors"][n] / pick(peer[n] for peer in peers) for n in range(2)]
        for name, pick in (("larger", max), ("smaller", min))
    }
    within = ratios["larger"][0] <= FACTORS[algorithm_of(row)]
    if numbers == "normal" and algorithm_of(row) == "winograd" and row["direction"] == "forward":
        within = within and row["errors"][0] <= FORWARD_AT_MOST
    return {**row, "ratios": ratios, "within": within}


@click.command(help=__doc__, short_help="Rounding errors of the convolutions, beside PyTorch's.")
@click.option("--numbers", type=click.Choice(NUMBERS), default="normal", show_default=True)
@click.option("--only", default="", help="Layers whose name contains this.")
@isa_option
@output_options
@click.pass_context
def command(
    ctx: click.Context, numbers: str, only: str, isa: str | None, json_file: Path | None, markdown: bool
) -> None:
    columns = ["layer", "images", "direction", "kernel", "L2", "max", "NCHW L2", "channels last L2"]
    columns += ["÷ larger", "÷ smaller", "within"]
    report = Report(
        f"Errors against float64, {numbers} numbers", columns, head(("torch",), numbers=numbers, isa=isa)
    )
    for case, images in CASES:
        if only not in str(case):
            continue
        found = _child.call(
            "bench.errors:measure", env=_child.environment(1, isa), case=vars(case), images=images,
            numbers=numbers, isa=isa,
        )  # fmt: skip
        for row in (judged(each, numbers) for each in found):
            figures = [*row["errors"], *(error for error, _ in row["torch"].values())]
            cells = [row["layer"], images, row["direction"], row["kernel"].partition(".")[2]]
            cells += [f"{error:.1e}" for error in figures]
            cells += [f"{row['ratios'][name][0]:.2f}" for name in ("larger", "smaller")]
            report.add([*cells, "yes" if row["within"] else "NO"], row)
    report.notes += notes(report.rows)
    report.finish(json_file, markdown)
    ctx.exit(0 if all(row["within"] for row in report.rows) else 1)


def notes(rows: list[dict[str, Any]]) -> list[str]:
    """The highest figures of each algorithm, and where PyTorch's smaller error is passed by more than the factor too."""
    found = []
    for name, factor in FACTORS.items():
        own = [row for row in rows if algorithm_of(row) == name]
        if not own:
            continue
        highest = [max(row["ratios"]["larger"][n] for row in own) for n in range(2)]
        beyond = [row for row in own if row["ratios"]["smaller"][0] > factor]
        found.append(
            f"{name}: L2 at most {max(row['errors'][0] for row in own):.1e} and {highest[0]:.2f} of PyTorch's larger one "
            f"(bound {factor:g}), max at most {highest[1]:.2f} of it; "
            f"{len(beyond)} of {len(own)} rows pass {factor:g} times its smaller L2."
        )
    return found


if __name__ == "__main__":
    command()
