"""Evenness: a training step's time per image over batches of 16 to 512, and per convolution over stacks of 2 to 32 layers.

    python -m bench batch [--threads 1] [--rounds 20] [--json FILE] [NETWORK …]

The rounds of a row interleave all its sizes. Printed is each size's time per unit over the best size's. A stack of d
layers has 3d - 1 directions to compute (the first layer needs no gradient of the images); its unit is the direction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import Spread, Timing, compare
from bench._networks import NETWORKS, stack
from bench._report import Report, head, output_options, rounds_option

BATCHES = (16, 32, 64, 128, 256, 512)
DEPTHS = (2, 4, 8, 16, 32)
CHANNELS = (16, 64)
_DEFAULT = ("lenet5", "mnist_cnn", "vgg_small", "plain20")


def by_batch(network: str, threads: int, rounds: int) -> dict[str, Any]:
    """A row: batches of a network, in this process."""
    from bench._ruler import Ruler, machine_for

    net = NETWORKS[network]()
    sides, units = {}, {}
    for batch in BATCHES:
        program = net.program(training=True, batch=batch, threads=threads)
        x, y = net.data(batch)
        sides[str(batch)] = lambda program=program, x=x, y=y: program.step(x, y)
        units[str(batch)] = batch
    return _row(network, units, compare(sides, Ruler(machine_for(None), threads), rounds))


def by_depth(channels: int, threads: int, rounds: int) -> dict[str, Any]:
    """A row: depths of a stack of equal convolutions, in this process."""
    from bench._ruler import Ruler, machine_for

    sides, units = {}, {}
    for depth in DEPTHS:
        net = stack(depth, channels)
        program = net.program(training=True, threads=threads)
        x, y = net.data()
        sides[str(depth)] = lambda program=program, x=x, y=y: program.step(x, y)
        units[str(depth)] = 3 * depth - 1
    timing = compare(sides, Ruler(machine_for(None), threads), rounds)
    return _row(f"{channels} channels", units, timing)


def _row(name: str, units: dict[str, int], timing: Timing) -> dict[str, Any]:
    best = min(units, key=lambda size: timing.seconds(size) / units[size])
    relative = {
        size: Spread.of(r.seconds[size] / units[size] / (r.seconds[best] / units[best]) for r in timing.kept)
        for size in units
    }
    return {
        "name": name, "best": best, "relative": {size: vars(s) for size, s in relative.items()},
        "microseconds": {size: timing.seconds(size) / n * 1e6 for size, n in units.items()},
        "timing": timing.to_json(),
    }  # fmt: skip


@click.command(help=__doc__, short_help="Time per image over batches, per layer over depths.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--depths/--no-depths", default=True, show_default=True, help="The stacks too.")
@rounds_option(20)
@output_options
def command(
    networks: tuple[str, ...], threads: int, depths: bool, rounds: int, json_file: Path | None, markdown: bool
) -> None:
    columns = [
        "what",
        "unit",
        "best size",
        "µs per unit there",
        "each size's time per unit ÷ the best's",
        "kept",
    ]
    report = Report("Evenness over batch and depth", columns, head(threads=threads, rounds=rounds))
    env = _child.environment(threads, None)
    work = [("by_batch", "image", {"network": name}) for name in networks or _DEFAULT]
    if depths:
        work += [("by_depth", "direction", {"channels": channels}) for channels in CHANNELS]
    for function, unit, arguments in work:
        row = _child.call(f"bench.batch:{function}", env=env, threads=threads, rounds=rounds, **arguments)
        sizes = " ".join(f"{size}:{found['median']:.2f}" for size, found in row["relative"].items())
        cells = [row["name"], unit, row["best"], f"{row['microseconds'][row['best']]:.1f}", sizes]
        report.add([*cells, f"{row['timing']['kept']}/{rounds}"], row)
    report.notes.append("Sizes: batches for networks, numbers of layers for stacks.")
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
