"""The roof of a whole training step: what its products take at the peak and its maps at the speed of copying, beside the step.

    python -m bench roofline [--rounds 20] [--json FILE] [NETWORK …]

Call by call of the plan, on one thread: a call takes its multiply-adds at the peak or its maps' bytes at the copy bandwidth of
the cache level that holds them all, whichever is longer; the roof is the sum. What an update or a pack moves is counted, what
convolutions read of weights is not. Products of Winograd's and Strassen's algorithms count as they are formed, their
transforms and sums not at all; direct convolutions as in the sum over all taps. Each row is measured in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import compare
from bench._networks import NETWORKS
from bench._report import Report, head, isa_option, output_options, rounds_option


def measure(network: str, rounds: int, isa: str | None) -> dict[str, Any]:
    """One row of the table, in this process."""
    from bench._ruler import Bandwidth, Ruler, machine_for
    from bench.layers import ruler_peak

    net, machine = NETWORKS[network](), machine_for(isa)
    x, y = net.data()
    program = net.program(training=True, threads=1, machine=machine)
    program.step(x, y)
    calls = [row.call for row in program.explain().rows]
    timing = compare({"step": lambda: program.step(x, y)}, Ruler(machine, 1), rounds)
    peak, bandwidth = ruler_peak(timing) * 1e9, Bandwidth(machine)
    formed = [_formed(call, net.batch) for call in calls]
    both = [(flops / peak, bandwidth.seconds(call.nbytes)) for flops, call in zip(formed, calls, strict=True)]
    roof = sum(map(max, both))
    bound = sum(moving for work, moving in both if moving > work)
    return {
        "network": network, "batch": net.batch, "nominal_gflop": sum(call.flops for call in calls) * 1e-9,
        "formed_gflop": sum(formed) * 1e-9, "megabytes": sum(call.nbytes for call in calls) * 1e-6,
        "bandwidth_gbs": bandwidth.gbs, "peak_gflops": peak * 1e-9, "products_ms": sum(formed) / peak * 1e3,
        "roof_ms": roof * 1e3, "bound_by_bytes_ms": bound * 1e3, "milliseconds": timing.seconds("step") * 1e3,
        "timing": timing.to_json(),
    }  # fmt: skip


def _formed(call: Any, batch: int) -> float:
    """Flops of a call, of Winograd's and Strassen's products those that are formed."""
    from vecgrad.kernels._winograd_grid import Grid, Needed
    from vecgrad.spec.kernel import StrassenSpec, WinogradDwSpec, WinogradSpec

    spec = call.spec
    if isinstance(spec, WinogradDwSpec):
        grid = Grid(*spec.conv.window.out_size)
    elif isinstance(spec, WinogradSpec):
        grid = Grid(spec.output.height, spec.output.width)
    else:
        return call.flops * (7 / 8 if isinstance(spec, StrassenSpec) else 1.0)
    return 2.0 * batch * spec.conv.channels_in * spec.conv.channels_out * Needed(grid).products


@click.command(help=__doc__, short_help="Training steps against the roof of their plans.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@rounds_option(20)
@isa_option
@output_options
def command(
    networks: tuple[str, ...], rounds: int, isa: str | None, json_file: Path | None, markdown: bool
) -> None:
    columns = ["network", "batch", "Gflop", "of them formed", "MB", "products at the peak ms", "roof ms"]
    columns += ["of that bytes ms", "step ms", "of the roof"]
    report = Report("Training steps and their roofs", columns, head(threads=1, rounds=rounds, isa=isa))
    for name in networks or NETWORKS:
        row = _child.call(
            "bench.roofline:measure", env=_child.environment(1, isa), network=name, rounds=rounds, isa=isa
        )
        cells = [name, row["batch"], f"{row['nominal_gflop']:.2f}", f"{row['formed_gflop']:.2f}"]
        cells += [f"{row['megabytes']:.0f}", f"{row['products_ms']:.2f}", f"{row['roof_ms']:.2f}"]
        cells += [f"{row['bound_by_bytes_ms']:.2f}", f"{row['milliseconds']:.2f}"]
        report.add([*cells, f"{row['roof_ms'] / row['milliseconds']:.2f}"], row)
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
