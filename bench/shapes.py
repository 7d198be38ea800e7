"""Random convolutions, each direction against PyTorch's best eager mode: is there any shape that vecgrad is bad at?

    python -m bench shapes [--seed 7] [--count 200] [--rounds 5] [--json FILE]

Shapes: 1-96 channels in and out, maps of 5-64, kernels 1-7, strides 1-3, batches 1-128 (less where the work of a direction
would pass the limit). A direction that is more than 10 % slower is measured again in two fresh processes, with more rounds;
it is a cliff if all three agree. The exit code is 1 if there is a cliff. vecgrad's time includes the packing
of its weights.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import compare, geometric_mean
from bench._report import Report, head, isa_option, output_options, rounds_option
from vecgrad.spec.geometry import Conv, window

# Nominal work of one direction, at most: some ten milliseconds.
LIMIT = 1.0e9
CLIFF = 1 / 1.1
# So many shapes share a process: importing a peer costs more than measuring a shape.
_PART = 20
_MORE_ROUNDS = 4


@dataclass(frozen=True)
class Shape:
    n: int
    c: int
    height: int
    width: int
    k: int
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]

    @property
    def conv(self) -> Conv:
        sliding = window((self.height, self.width), tuple(self.kernel), self.stride, tuple(self.padding))
        return Conv(sliding, self.c, self.k)

    def __str__(self) -> str:
        (r, s), (v, h) = self.kernel, self.padding
        return f"{self.n} of {self.height}x{self.width}, {self.c}->{self.k} {r}x{s}/{self.stride} padding {v},{h}"


def shapes(seed: int, count: int, limit: float = LIMIT) -> list[Shape]:
    """``count`` shapes, the same for the same seed."""
    rng = random.Random(seed)
    return [_shape(rng, limit) for _ in range(count)]


def _shape(rng: random.Random, limit: float) -> Shape:
    size = rng.randint(5, 64)
    height, width = (size, size) if rng.random() < 0.75 else (size, rng.randint(5, 64))
    square = rng.randint(1, 7)
    kernel = (square, square) if rng.random() < 0.8 else (square, rng.randint(1, 7))
    kernel = (min(kernel[0], height), min(kernel[1], width))
    padding = (rng.randint(0, kernel[0] // 2), rng.randint(0, kernel[1] // 2))
    c, k, stride, batch = rng.randint(1, 96), rng.randint(1, 96), rng.randint(1, 3), rng.randint(1, 128)
    one = Shape(1, c, height, width, k, kernel, stride, padding)
    fitting = max(1, int(limit // one.conv.flops))
    return Shape(min(batch, fitting), c, height, width, k, kernel, stride, padding)


def measure(
    shapes: list[dict[str, Any]], threads: int, rounds: int, isa: str | None, only: list[str] | None = None
) -> list[dict[str, Any]]:
    """A row for each direction of each shape (``only`` some directions), in this process."""
    from bench import _torch
    from bench._directions import DIRECTIONS, Layer
    from bench._ruler import Ruler, machine_for

    machine = machine_for(isa)
    ruler = Ruler(machine, threads)
    rows = []
    for given in shapes:
        shape = Shape(**given)
        layer = Layer.of(shape.conv, shape.n)
        own = layer.directions(machine, threads)
        peers = _torch.directions(layer.conv, layer.x, layer.w, layer.dy, threads)
        for direction in only or DIRECTIONS:
            sides = {"vecgrad": own[direction].both, **peers[direction]}
            timing = compare(sides, ruler, rounds, peers=tuple(peers[direction]), slice_seconds=3e-3)
            best = timing.best(peers[direction])
            rows.append({
                "shape": given, "name": str(shape), "direction": direction, "kernel": own[direction].kernels,
                "peer": best, "milliseconds": {name: timing.seconds(name) * 1e3 for name in sides},
                "gflop": layer.flops * 1e-9, "ratio": vars(timing.ratio(best, "vecgrad")),
                "timing": timing.to_json(),
            })  # fmt: skip
    return rows


def confirmed(row: dict[str, Any], threads: int, rounds: int, isa: str | None) -> bool:
    """Whether two fresh processes find the row slower too; their ratios are added to it."""
    row["reruns"] = []
    for _ in range(2):
        again = _child.call(
            "bench.shapes:measure", env=_child.environment(threads, isa), shapes=[row["shape"]], threads=threads,
            rounds=rounds, isa=isa, only=[row["direction"]],
        )  # fmt: skip
        row["reruns"].append(again[0]["ratio"]["median"])
        if row["reruns"][-1] >= CLIFF:
            return False
    return True


@click.command(help=__doc__, short_help="Random convolutions: no cliffs against PyTorch.")
@click.option("--seed", type=int, help="Of the shapes; drawn and printed unless given.")
@click.option("--count", default=200, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@rounds_option(5)
@isa_option
@output_options
@click.pass_context
def command(
    ctx: click.Context, seed: int | None, count: int, threads: int, rounds: int, isa: str | None,
    json_file: Path | None, markdown: bool,
) -> None:  # fmt: skip
    seed = secrets.randbelow(10**6) if seed is None else seed
    drawn = shapes(seed, count)
    columns = ["confirmed cliff", "direction", "kernel", "vecgrad ms", "PyTorch ms", "ratio", "reruns"]
    settings = {"seed": seed, "count": count, "threads": threads, "rounds": rounds, "isa": isa}
    report = Report(f"Random convolutions, seed {seed}", columns, head(("torch",), **settings))
    rows: list[dict[str, Any]] = []
    for start in range(0, count, _PART):
        rows += _child.call(
            "bench.shapes:measure", env=_child.environment(threads, isa), threads=threads, rounds=rounds, isa=isa,
            shapes=[vars(shape) for shape in drawn[start : start + _PART]],
        )  # fmt: skip
        click.echo(f"{min(start + _PART, count)} of {count} shapes", err=True)
    slow = [row for row in rows if row["ratio"]["median"] < CLIFF]
    for row in slow:
        if confirmed(row, threads, rounds * _MORE_ROUNDS, isa):
            ms = row["milliseconds"]
            cells = [row["name"], row["direction"], row["kernel"], f"{ms['vecgrad']:.3f}"]
            cells += [f"{ms[row['peer']]:.3f} ({row['peer']})", f"{row['ratio']['median']:.2f}"]
            report.add([*cells, ", ".join(f"{ratio:.2f}" for ratio in row["reruns"])], row)
    cliffs, report.rows = len(report.rows), rows
    report.notes.append(
        f"Seed {seed}: {len(rows)} directions of {count} shapes; {len(slow)} slower than PyTorch by more than 10 % at "
        f"first, {cliffs} of them confirmed by two reruns."
    )
    for direction in ("forward", "dx", "dw"):
        found = [row["ratio"]["median"] for row in rows if row["direction"] == direction]
        report.notes.append(
            f"{direction}: geometric mean {geometric_mean(found):.2f}, lowest {min(found):.2f}."
        )
    report.notes.append(f"All: geometric mean {geometric_mean(r['ratio']['median'] for r in rows):.2f}.")
    report.finish(json_file, markdown)
    ctx.exit(1 if cliffs else 0)


if __name__ == "__main__":
    command()
