"""Two threads over one: what a whole training step gains, as a share of what the peak loop itself gains.

    python -m bench scaling [--threads 2] [--rounds 40] [--json FILE] [NETWORK …]

Two cores of a shared machine are rarely worth two: each round also runs the peak loop on one thread and on all of them,
and the step's gain is divided by the loop's. Each row is measured in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import Spread, compare, geometric_mean
from bench._networks import NETWORKS
from bench._report import Report, head, isa_option, output_options, rounds_option
from bench.networks import spread


def measure(network: str, threads: int, rounds: int, isa: str | None) -> dict[str, Any]:
    """One row of the table, in this process."""
    from bench._ruler import Ruler, machine_for

    net, machine = NETWORKS[network](), machine_for(isa)
    x, y = net.data()
    one, many = (net.program(training=True, threads=n, machine=machine) for n in (1, threads))
    rulers = {"peak 1": Ruler(machine, 1), "peak many": Ruler(machine, threads)}
    timing = compare(
        {"one": lambda: one.step(x, y), "many": lambda: many.step(x, y), **rulers},
        rulers["peak many"],
        rounds,
    )
    gain = timing.ratio("one", "many")
    # A sample of either loop does work in proportion to its threads, in about the same time.
    loop = Spread.of(threads * r.seconds["peak 1"] / r.seconds["peak many"] for r in timing.kept)
    share = Spread.of(
        r.seconds["one"] / r.seconds["many"] / (threads * r.seconds["peak 1"] / r.seconds["peak many"])
        for r in timing.kept
    )
    return {
        "network": network, "batch": net.batch, "threads": threads, "gain": vars(gain), "loop_gain": vars(loop),
        "share": vars(share), "milliseconds": {n: timing.seconds(n) * 1e3 for n in ("one", "many")},
        "timing": timing.to_json(),
    }  # fmt: skip


@click.command(help=__doc__, short_help="Two threads over one, against the peak loop's own gain.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--threads", default=2, show_default=True, type=click.IntRange(2))
@rounds_option(40)
@isa_option
@output_options
def command(
    networks: tuple[str, ...],
    threads: int,
    rounds: int,
    isa: str | None,
    json_file: Path | None,
    markdown: bool,
) -> None:
    columns = ["network", "batch", "1 thread ms", f"{threads} threads ms", "gain", "peak loop's gain"]
    columns += ["share [quartiles]", "kept"]
    report = Report(
        f"Training step, {threads} threads over one", columns, head(threads=threads, rounds=rounds, isa=isa)
    )
    for name in networks or NETWORKS:
        row = _child.call(
            "bench.scaling:measure", env=_child.environment(threads, isa), network=name, threads=threads,
            rounds=rounds, isa=isa,
        )  # fmt: skip
        ms = row["milliseconds"]
        cells = [name, row["batch"], f"{ms['one']:.2f}", f"{ms['many']:.2f}", f"{row['gain']['median']:.2f}"]
        cells += [f"{row['loop_gain']['median']:.2f}", spread(row["share"])]
        report.add([*cells, f"{row['timing']['kept']}/{rounds}"], row)
    mean = geometric_mean(row["share"]["median"] for row in report.rows)
    report.notes.append(f"Geometric mean of the shares: {mean:.2f}.")
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
