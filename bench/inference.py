"""Forward passes beside ONNX Runtime's and OpenVINO's, for a single image and for a full batch, from the same weights.

    python -m bench inference [--threads 1] [--rounds 40] [--json FILE] [NETWORK …]

Each row is measured in a process of its own; the ratio is the better runtime's time over vecgrad's. The outputs of all
sides must agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import _child
from bench._harness import Side, compare, geometric_mean
from bench._networks import CHAINS as NETWORKS
from bench._report import Report, head, output_options, rounds_option, threads_option
from bench.networks import DIRECT, OURS, modes, ours, spread

_DEFAULT = ("lenet5", "mnist_cnn", "vgg_small", "plain20")
_SAME_OUTPUT = 1e-3


def measure(network: str, batch: int, threads: int, rounds: int) -> dict[str, Any]:
    """One row of the table, in this process."""
    from bench._layout import channels_first
    from bench._onnx import runtimes
    from bench._ruler import Ruler, machine_for

    net, machine = NETWORKS[network](), machine_for(None)
    x, _ = net.data(batch)
    sides: dict[str, Side] = {}
    outputs: dict[str, Any] = {}
    for name, options in ours().items():
        program = net.program(training=False, batch=batch, threads=threads, **options)
        sides[name] = lambda program=program: program.forward(x)
        outputs[name] = sides[name]()
    peers, failed = runtimes(net, channels_first(net.parameters(), net), x, threads)
    if not peers:
        raise ImportError(f"no runtime to compare with: {failed}")
    for name, (call, output) in peers.items():
        sides[name] = call
        if not np.allclose(output, outputs[OURS], rtol=_SAME_OUTPUT, atol=_SAME_OUTPUT):
            raise ValueError(f"{name}'s output differs from vecgrad's, so they do not do the same work")
    timing = compare(sides, Ruler(machine, threads), rounds, threads=threads)
    best = timing.best(peers)
    return {
        "network": network, "batch": batch, "threads": threads, "peer": best, "unavailable": failed,
        "milliseconds": {name: timing.seconds(name) * 1e3 for name in sides},
        "ratio": {name: vars(timing.ratio(best, name)) for name in ours()}, "timing": timing.to_json(),
    }  # fmt: skip


@click.command(help=__doc__, short_help="Forward passes against ONNX Runtime and OpenVINO.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@threads_option
@rounds_option(40)
@output_options
def command(
    networks: tuple[str, ...], threads: tuple[int, ...], rounds: int, json_file: Path | None, markdown: bool
) -> None:
    columns = [
        "network",
        "batch",
        "threads",
        "vecgrad ms",
        "peer ms",
        "ratio [quartiles]",
        "best peer",
        "kept",
    ]
    if direct := DIRECT in ours():
        columns[6:6] = ["direct ms", "direct ratio"]
    report = Report(
        "Forward pass, better of ONNX Runtime and OpenVINO ÷ vecgrad", columns,
        head(("onnx", "onnxruntime", "openvino"), rounds=rounds),
    )  # fmt: skip
    for name in networks or _DEFAULT:
        for batch in (1, NETWORKS[name]().batch):
            for n in threads:
                row = _child.call(
                    "bench.inference:measure", env=_child.environment(n, None), network=name, batch=batch,
                    threads=n, rounds=rounds,
                )  # fmt: skip
                ms, ratio = row["milliseconds"], row["ratio"]
                cells = [name, batch, n, f"{ms[OURS]:.3f}", f"{ms[row['peer']]:.3f}", spread(ratio[OURS])]
                cells += [f"{ms[DIRECT]:.3f}", spread(ratio[DIRECT])] if direct else []
                report.add([*cells, row["peer"], f"{row['timing']['kept']}/{rounds}"], row)
    for n in threads:
        found = [row["ratio"][OURS]["median"] for row in report.rows if row["threads"] == n]
        report.notes.append(f"Geometric mean, threads {n}: {geometric_mean(found):.2f}.")
    report.notes += modes(report.rows)
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
