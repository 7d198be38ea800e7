"""Training curves on real images: how far rounding leads each side away from the same training in PyTorch's float64.

    python -m bench curves IMAGES [--network vgg_small] [--steps 100] [--side NAME …] [--json FILE]

IMAGES is anything that vecgrad.data.open reads, of the network's size. All sides start from the same weights and see the same
batches. A distance is the rms of the difference of two losses, over all steps and over each third of them, because
rounding grows like any other small disturbance of a training. A side is trained in a process of its own; with --json
the curves are kept, so that a run may be made of several: --side says which to train now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import _child
from bench._networks import MOMENTUM, NETWORKS, RATE, Network
from bench._report import Report, head, output_options

TRUE = "PyTorch float64"
PEERS = ("PyTorch NCHW", "PyTorch channels last")
SIDES: dict[str, tuple[str, dict[str, str]]] = {
    TRUE: ("bench.curves:torch_curve", {"dtype": "float64", "layout": "NCHW"}),
    PEERS[0]: ("bench.curves:torch_curve", {"dtype": "float32", "layout": "NCHW"}),
    PEERS[1]: ("bench.curves:torch_curve", {"dtype": "float32", "layout": "channels_last"}),
    "vecgrad float64": ("bench.curves:own_curve", {"dtype": "float64", "algorithm": "auto"}),
    "vecgrad direct": ("bench.curves:own_curve", {"dtype": "float32", "algorithm": "direct"}),
    "vecgrad": ("bench.curves:own_curve", {"dtype": "float32", "algorithm": "auto"}),
}


def batches(network: Network, images: str, steps: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """The same for every side: (n, H, W, C) in float32 and class numbers, in an order that the seed draws."""
    from vecgrad import data

    found = data.open(images)
    if found.input_shape != network.shape:
        raise ValueError(f"{found.name} has images of {found.input_shape}, the network wants {network.shape}")
    order = np.random.default_rng(seed).permutation(len(found.train_labels))
    for step in range(steps):
        chosen = order.take(range(step * network.batch, (step + 1) * network.batch), mode="wrap")
        yield found.preparation.arrays(found.train_images[chosen]), found.train_labels[chosen]


def own_curve(network: str, images: str, steps: int, seed: int, dtype: str, algorithm: str) -> dict[str, Any]:
    """The losses before each step, and the convolutions' kernels."""
    net = NETWORKS[network]()
    program = net.program(training=True, threads=1, dtype=dtype, algorithm=algorithm)
    losses = [program.step(x.astype(dtype), y) for x, y in batches(net, images, steps, seed)]
    kernels = [
        row.call.kernel for row in program.explain().rows if row.call.op in ("conv", "conv_dx", "conv_dw")
    ]
    return {"losses": losses, "kernels": kernels}


def torch_curve(network: str, images: str, steps: int, seed: int, dtype: str, layout: str) -> dict[str, Any]:
    """The losses before each step."""
    import torch

    from bench._torch import FORMATS, twin

    torch.set_num_threads(2 if dtype == "float64" else 1)  # the truth's rounding is of no interest
    net = NETWORKS[network]()
    memory, number = FORMATS[layout], getattr(torch, dtype)
    model = twin(net).to(number).to(memory_format=memory)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    losses = []
    for x, y in batches(net, images, steps, seed):
        optimizer.zero_grad()
        given = torch.tensor(x.transpose(0, 3, 1, 2), dtype=number).contiguous(memory_format=memory)
        loss = torch.nn.functional.cross_entropy(model(given), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "kernels": []}


def distances(curve: Sequence[float], true: Sequence[float]) -> list[float]:
    """rms over all steps, then over each third.

    >>> distances([1.0, 2.0, 3.0], [1.0, 2.0, 5.0])[1:]
    [0.0, 0.0, 2.0]
    """
    squares = (np.array(curve) - np.array(true)) ** 2
    return [float(np.sqrt(part.mean())) for part in (squares, *np.array_split(squares, 3))]


def _kept(json_file: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The curves of earlier runs with the same settings."""
    if json_file is None or not json_file.exists():
        return {}
    data = json.loads(json_file.read_text())
    if data["settings"] != settings:
        raise click.UsageError(
            f"{json_file} holds curves of {data['settings']}; take another file or remove it"
        )
    return {row["side"]: row for row in data["rows"]}


@click.command(help=__doc__, short_help="Training curves' distances from float64, beside PyTorch's.")
@click.argument("images")
@click.option("--network", default="vgg_small", show_default=True, type=click.Choice(list(NETWORKS)))
@click.option("--steps", default=100, show_default=True, type=click.IntRange(3))
@click.option("--seed", default=0, show_default=True, help="Of the order of the images.")
@click.option("--side", "sides", multiple=True, type=click.Choice(list(SIDES)), help="Train only these now.")
@output_options
def command(
    images: str, network: str, steps: int, seed: int, sides: tuple[str, ...], json_file: Path | None, markdown: bool
) -> None:  # fmt: skip
    settings = {"network": network, "steps": steps, "seed": seed}
    rows = _kept(json_file, settings)
    if (path := Path(images)).exists():
        images = str(path.resolve())
    for side in sides or [each for each in SIDES if each not in rows]:
        function, options = SIDES[side]
        found = _child.call(
            function, env=_child.environment(1, None), network=network, images=images,
            steps=steps, seed=seed, **options,
        )  # fmt: skip
        rows[side] = {"side": side, **found}
        click.echo(f"{side}: first loss {found['losses'][0]:.4f}, last {found['losses'][-1]:.4f}", err=True)
    columns = ["side", "Winograd", "last loss", "rms distance", "first third", "second", "last", "÷ PyTorch"]
    report = Report("Distances of training curves from float64", columns, head(("torch",), **settings))
    report.rows = [rows[side] for side in SIDES if side in rows]
    if TRUE in rows:
        report.table = [_cells(row, rows) for row in report.rows if row["side"] != TRUE]
        report.notes.append(f"{TRUE}: last loss {rows[TRUE]['losses'][-1]:.6f}.")
    report.finish(json_file, markdown)


def _cells(row: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    true = rows[TRUE]["losses"]
    found = distances(row["losses"], true)
    peers = [distances(rows[name]["losses"], true)[0] for name in PEERS if name in rows]
    share = f"{found[0] / max(peers):.2g}" if peers else "–"
    of = len(row["kernels"])
    winograd = f"{sum('winograd' in kernel for kernel in row['kernels'])} of {of}" if of else "–"
    return [
        row["side"], winograd, f"{row['losses'][-1]:.6f}", *(f"{distance:.1e}" for distance in found), share
    ]  # fmt: skip


if __name__ == "__main__":
    command()
