"""Whole training steps beside the peers': forward, loss, backward, SGD with momentum, from the same weights on the same images.

    python -m bench networks [--threads 1] [--peer torch|jax] [--isa avx2] [--rounds 40] [--json FILE] [NETWORK …]

Each row is measured in a process of its own. PyTorch's modes are {eager, compile} × {NCHW, channels last}; the ratio
of a round is the best mode's time over vecgrad's. The first step's losses of all sides must agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import Side, compare, geometric_mean
from bench._networks import CHAINS, NETWORKS, chooses_algorithm
from bench._report import Report, head, isa_option, output_options, rounds_option, threads_option

_SAME_LOSS = 1e-3
OURS = "vecgrad"
DIRECT = "vecgrad direct"


def measure(
    network: str, threads: int, rounds: int, peer: str, isa: str | None, compiled: bool
) -> dict[str, Any]:
    """One row of the table, in this process."""
    from bench._ruler import Ruler, machine_for

    net, machine = NETWORKS[network](), machine_for(isa)
    x, y = net.data()
    sides: dict[str, Side] = {}
    for name, options in ours().items():
        program = net.program(training=True, threads=threads, machine=machine, **options)
        sides[name] = lambda program=program: program.step(x, y)
    losses = {name: side() for name, side in sides.items()}
    peers, failed = _peers(peer, net, threads, isa, compiled)
    losses |= {name: first for name, (_, first) in peers.items()}
    check_same(losses)
    sides |= {name: side for name, (side, _) in peers.items()}
    timing = compare(sides, Ruler(machine, threads), rounds, peers=tuple(peers), threads=threads)
    best = timing.best(peers)
    return {
        "network": network, "batch": net.batch, "threads": threads, "isa": machine.isa, "peer": best,
        "first_loss": losses, "unavailable": failed,
        "milliseconds": {name: timing.seconds(name) * 1e3 for name in sides},
        "ratio": {name: vars(timing.ratio(best, name)) for name in ours()}, "timing": timing.to_json(),
    }  # fmt: skip


def ours() -> dict[str, dict[str, Any]]:
    """vecgrad's sides: what it chooses by itself, and the direct kernels alone where there is a choice."""
    return {OURS: {}, DIRECT: {"algorithm": "direct"}} if chooses_algorithm() else {OURS: {}}


def check_same(losses: dict[str, float]) -> None:
    """Raises ValueError unless all sides begin with the same loss: then they do the same work."""
    low, high = min(losses.values()), max(losses.values())
    if not high - low <= _SAME_LOSS * max(1.0, abs(high)):
        raise ValueError(f"the sides' first losses differ, so they do not do the same work: {losses}")


def _peers(peer: str, net: Any, threads: int, isa: str | None, compiled: bool) -> Any:
    """{mode: (step, first loss)}, {mode: why it cannot run}."""
    if peer == "jax":
        from bench import _jax

        side = _jax.step(net)
        return {"jax jit": (side, side())}, {}
    from bench import _torch

    return _torch.steps(net, threads, isa, compiled)


@click.command(help=__doc__, short_help="Whole training steps against PyTorch or JAX.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@threads_option
@rounds_option(40)
@isa_option
@click.option("--peer", type=click.Choice(["torch", "jax"]), default="torch", show_default=True)
@click.option(
    "--compile/--no-compile", "compiled", default=True, help="With torch.compile's modes, or without."
)
@output_options
def command(
    networks: tuple[str, ...], threads: tuple[int, ...], rounds: int, isa: str | None, peer: str, compiled: bool,
    json_file: Path | None, markdown: bool,
) -> None:  # fmt: skip
    columns = [
        "network",
        "batch",
        "threads",
        "vecgrad ms",
        "peer ms",
        "ratio [quartiles]",
        "best mode",
        "kept",
    ]
    if direct := DIRECT in ours():
        columns[6:6] = ["direct ms", "direct ratio"]
    settings = {"peer": peer, "rounds": rounds, "isa": isa}
    report = Report(f"Training step, {peer} ÷ vecgrad", columns, head((peer,), **settings))
    ratios: dict[int, list[float]] = {n: [] for n in threads}
    for name in networks or (NETWORKS if peer == "torch" else CHAINS):
        for n in threads:
            row = _child.call(
                "bench.networks:measure", env=_child.environment(n, isa), network=name, threads=n, rounds=rounds,
                peer=peer, isa=isa, compiled=compiled,
            )  # fmt: skip
            ms, ratio = row["milliseconds"], row["ratio"]
            cells = [name, row["batch"], n, f"{ms[OURS]:.2f}", f"{ms[row['peer']]:.2f}", spread(ratio[OURS])]
            cells += [f"{ms[DIRECT]:.2f}", spread(ratio[DIRECT])] if direct else []
            report.add([*cells, row["peer"], f"{row['timing']['kept']}/{rounds}"], row)
            ratios[n].append(ratio[OURS]["median"])
    for n, found in ratios.items():
        report.notes.append(f"Geometric mean, threads {n}: {geometric_mean(found):.2f}.")
    report.notes += modes(report.rows)
    report.finish(json_file, markdown)


def spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} [{found['low']:.2f} {found['high']:.2f}]"


def modes(rows: list[dict[str, Any]]) -> list[str]:
    """A note for each row with the time of every mode, and why a mode is missing."""
    notes = []
    for row in rows:
        parts = [f"{name} {ms:.3g} ms" for name, ms in row["milliseconds"].items()]
        parts += [f"{name}: unavailable ({why})" for name, why in row["unavailable"].items()]
        notes.append(f"{row['network']}, batch {row['batch']}, threads {row['threads']}: {', '.join(parts)}.")
    return notes


if __name__ == "__main__":
    command()
