"""Resident memory that training takes: the highest during some steps, less what was resident after the imports, the lazy ones too.

    python -m bench memory [--steps 5] [--threads 1] [--json FILE] [NETWORK …]

Every side runs in a process of its own. vecgrad runs twice, compiling its code and then finding it in the object cache;
the ratio is PyTorch's smaller eager mode's growth over vecgrad's, for both.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import click

from bench import _child
from bench._harness import geometric_mean
from bench._networks import NETWORKS
from bench._report import Report, head, output_options

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_TORCH = ("eager NCHW", "eager channels_last")


def _status(field: str) -> int:
    """Bytes of a line of Linux's account of this process."""
    lines = _STATUS.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


class Growth:
    """From here on: the highest resident memory over what is resident now, bytes."""

    def __init__(self) -> None:
        self._linux = _STATUS.exists()
        if self._linux:
            _CLEAR.write_text("5")  # the highest so far is forgotten
        self._before = _status("VmRSS") if self._linux else self._highest()

    @staticmethod
    def _highest() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def now(self) -> int:
        return (_status("VmHWM") if self._linux else self._highest()) - self._before


def vecgrad_growth(network: str, threads: int, steps: int) -> int:
    import llvmlite.binding

    import vecgrad as vg
    from vecgrad.program import native_backend
    from vecgrad.runtime import host_machine

    assert vg.compile is not None
    assert native_backend.NativeBackend is not None
    assert llvmlite.binding.get_process_triple()
    assert host_machine()
    net = NETWORKS[network]()
    parameters = net.parameters()
    growth = Growth()
    x, y = net.data()
    program = vg.compile(
        net.model, net.shape, "cross_entropy", vg.SGD(0.01, momentum=0.9), net.batch, threads,
        parameters=parameters,
    )  # fmt: skip
    for _ in range(steps):
        program.step(x, y)
    return growth.now()


def torch_growth(network: str, threads: int, steps: int, mode: str) -> int:
    import torch
    import torch._dynamo  # the first optimizer would import it, and it is large

    from bench import _torch

    torch.set_num_threads(threads)
    net = NETWORKS[network]()
    net.parameters()
    growth = Growth()
    side = _torch.step(net, mode)
    for _ in range(steps):
        side()
    return growth.now()


@click.command(help=__doc__, short_help="Growth of resident memory while training, against PyTorch.")
@click.argument("networks", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=5, show_default=True, type=click.IntRange(1))
@output_options
def command(
    networks: tuple[str, ...], threads: int, steps: int, json_file: Path | None, markdown: bool
) -> None:
    columns = ["network", "batch", "vecgrad cold MB", "cached MB", *(f"{mode} MB" for mode in _TORCH)]
    columns += ["ratio cold", "ratio cached"]
    settings = {"threads": threads, "steps": steps}
    report = Report("Growth of resident memory after import", columns, head(("torch",), **settings))
    env = _child.environment(threads, None)
    for name in networks or NETWORKS:
        same = {"network": name, "threads": threads, "steps": steps}
        with tempfile.TemporaryDirectory() as cache:
            own = env | {"VECGRAD_CACHE_DIR": cache}
            cold, cached = (_child.call("bench.memory:vecgrad_growth", env=own, **same) for _ in range(2))
        peers = {m: _child.call("bench.memory:torch_growth", env=env, **same, mode=m) for m in _TORCH}
        least = min(peers.values())
        row = {**same, "bytes": {"cold": cold, "cached": cached, **peers}}
        row["ratio"] = {"cold": least / cold, "cached": least / cached}
        cells = [name, NETWORKS[name]().batch, *(f"{b / 1e6:.0f}" for b in (cold, cached, *peers.values()))]
        report.add([*cells, *(f"{ratio:.2f}" for ratio in row["ratio"].values())], row)
    for kind in ("cold", "cached"):
        mean = geometric_mean(row["ratio"][kind] for row in report.rows)
        report.notes.append(f"Geometric mean, {kind}: {mean:.2f}.")
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
