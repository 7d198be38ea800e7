"""Single convolutions, each direction: the share of the multiply-add peak, what binds, and PyTorch's best eager mode beside it.

    python -m bench layers [--threads 1] [--isa avx2] [--only 64] [--in-cache] [--rounds 20] [--json FILE]

Flops are nominal: padding, idle lanes and what Winograd's and Strassen's algorithms save are not counted, so a share may
pass 1. The share is of the kernel with its weights packed, as in a training step, where the update packs them; the ratio
to PyTorch, which packs at every call, counts vecgrad's packing too. Bytes are x, w and dy once each; where moving them at
this machine's copy bandwidth takes longer than the flops at the peak, the level they come from binds, and the share of
that roof is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import compare, geometric_mean
from bench._report import Report, head, isa_option, output_options, rounds_option
from bench.networks import DIRECT, OURS, ours, spread
from vecgrad.spec.geometry import Conv, window


@dataclass(frozen=True)
class Case:
    """N images of size × size, C → K channels."""

    n: int
    c: int
    size: int
    k: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def conv(self) -> Conv:
        sliding = window((self.size, self.size), self.kernel, self.stride, self.padding, self.dilation)
        return Conv(sliding, self.c, self.k, self.groups)

    def __str__(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        stride += f" dilated {self.dilation}" if self.dilation > 1 else ""
        if self.conv.depthwise:
            return f"{self.c} depthwise {self.kernel}x{self.kernel}{stride} on {self.size}x{self.size}"
        return f"{self.c}->{self.k} {self.kernel}x{self.kernel}{stride} on {self.size}x{self.size}"


CASES = (
    Case(128, 1, 28, 32, padding=0),
    Case(128, 6, 14, 16, kernel=5, padding=0),
    Case(128, 3, 32, 32),
    Case(128, 16, 32, 16),
    Case(128, 32, 32, 32),
    Case(128, 32, 16, 32),
    Case(128, 64, 32, 64),
    Case(128, 64, 8, 64),
    Case(128, 128, 16, 128),
    Case(32, 256, 8, 256),
    Case(32, 512, 4, 512),
    Case(32, 512, 8, 512),
    Case(64, 32, 16, 64, kernel=5, padding=2),
    Case(128, 16, 32, 32, stride=2),
    Case(128, 64, 32, 128, stride=2),
    Case(8, 3, 224, 64, kernel=7, stride=2, padding=3),
    Case(8, 256, 56, 64, kernel=1, padding=0),
    Case(64, 64, 16, 256, kernel=1, padding=0),
    Case(64, 128, 16, 128, kernel=1, padding=0),
    Case(64, 512, 4, 512, kernel=1, padding=0),
    Case(32, 64, 32, 64, padding=2, dilation=2),
    Case(64, 64, 32, 64, groups=64),
    Case(64, 256, 8, 256, groups=256),
    Case(64, 64, 32, 64, stride=2, groups=64),
    Case(32, 64, 32, 64, stride=2, groups=64),
    Case(64, 64, 32, 64, kernel=5, padding=2, groups=64),
    Case(64, 64, 32, 64, kernel=7, padding=3, groups=64),
)


def measure(
    case: dict[str, int], threads: int, rounds: int, isa: str | None, in_cache: bool
) -> list[dict[str, Any]]:
    """The rows of one layer, in this process."""
    from bench import _torch
    from bench._directions import DIRECTIONS, Layer
    from bench._ruler import Bandwidth, Ruler, machine_for

    chosen, machine = Case(**case), machine_for(isa)
    ruler, bandwidth = Ruler(machine, threads), Bandwidth(machine)
    each = 4 * sum(h * w * c for h, w, c in (chosen.conv.in_shape, chosen.conv.out_shape))
    fitting = max(1, machine.l2 * 3 // 4 // each)
    layer = Layer.of(chosen.conv, min(chosen.n, fitting) if in_cache else chosen.n)
    own = {name: layer.directions(machine, threads, **options) for name, options in ours().items()}
    torch_calls = _torch.directions(layer.conv, layer.x, layer.w, layer.dy, threads)
    rows = []
    for direction in DIRECTIONS:
        sides = {name: found[direction].run for name, found in own.items()}
        packed = own[OURS][direction].both
        peers = torch_calls[direction]
        timing = compare(
            {**sides, "packed": packed, **peers}, ruler, rounds, peers=tuple(peers), threads=threads
        )
        best = timing.best(peers)
        peak = ruler_peak(timing)
        work, moving = layer.flops / peak * 1e-9, bandwidth.seconds(layer.nbytes) / threads
        level = bandwidth.level(layer.nbytes) if moving > work else "flops"
        rows.append({
            "layer": str(chosen), "batch": layer.batch, "direction": direction, "threads": threads,
            "kernel": own[OURS][direction].kernels, "peer": best, "peak_gflops": peak, "binds": level,
            "roof_share": max(work, moving) / timing.seconds(OURS), "bandwidth_gbs": bandwidth.gbs,
            "share": {name: vars(timing.share(name, layer.flops)) for name in sides},
            "milliseconds": {name: timing.seconds(name) * 1e3 for name in (*sides, "packed", *peers)},
            "ratio": vars(timing.ratio(best, "packed")), "timing": timing.to_json(),
        })  # fmt: skip
    return rows


def ruler_peak(timing: Any) -> float:
    """The median of the ruler over the kept rounds, GFLOP/s."""
    ordered = sorted(r.peak for r in timing.kept)
    return ordered[len(ordered) // 2]


@click.command(help=__doc__, short_help="Single convolutions: share of peak, roofline, PyTorch.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@rounds_option(20)
@isa_option
@click.option("--only", default="", help="Layers whose name contains this.")
@click.option("--in-cache", is_flag=True, help="Only as many images as fit the second-level cache.")
@output_options
def command(
    threads: int,
    rounds: int,
    isa: str | None,
    only: str,
    in_cache: bool,
    json_file: Path | None,
    markdown: bool,
) -> None:
    direct = DIRECT in ours()
    columns = ["layer", "batch", "direction", "kernel", "share of peak", *(["direct only"] if direct else [])]
    columns += [
        "binds",
        "of that roof",
        "ms, packing too",
        "PyTorch ms",
        "ratio [quartiles]",
        "PyTorch's mode",
    ]
    settings = {"threads": threads, "rounds": rounds, "isa": isa, "in_cache": in_cache}
    report = Report("Single convolutions", columns, head(("torch",), **settings))
    for case in CASES:
        if only not in str(case):
            continue
        rows = _child.call(
            "bench.layers:measure", env=_child.environment(threads, isa), case=vars(case), threads=threads,
            rounds=rounds, isa=isa, in_cache=in_cache,
        )  # fmt: skip
        for row in rows:
            ms, share = row["milliseconds"], row["share"]
            cells = [row["layer"], row["batch"], row["direction"], row["kernel"], spread(share[OURS])]
            cells += [spread(share[DIRECT])] if direct else []
            cells += [
                row["binds"],
                f"{row['roof_share']:.2f}",
                f"{ms['packed']:.3f}",
                f"{ms[row['peer']]:.3f}",
            ]
            report.add([*cells, spread(row["ratio"]), row["peer"]], row)
    if not report.rows:
        raise click.UsageError(f"no layer's name contains {only!r}")
    gbs = report.rows[-1]["bandwidth_gbs"]
    report.notes.append("Copy bandwidth: " + ", ".join(f"{k} {v:.0f} GB/s" for k, v in gbs.items()) + ".")
    mean = geometric_mean(row["ratio"]["median"] for row in report.rows)
    report.notes.append(f"Geometric mean of the ratios: {mean:.2f}.")
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
