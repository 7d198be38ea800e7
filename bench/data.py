"""Training from image files against the pure training step: what decoding, gathering and normalising take away.

    python -m bench data ARCHIVE [--network plain20] [--threads 2] [--rounds 7] [--json FILE]

ARCHIVE is anything with images of the network's size that vecgrad.data.open reads, for instance a tar.gz of CIFAR-10 as
JPEG files. A round takes some steps on one prepared batch, which is the pure rate, then as many from the data: pixels kept
in memory (gathered and normalised beside the step), and none kept (every image decoded beside the step). The share is the
time of the pure steps over that of the others, round by round. The time of opening the archive, for the first time and
with its pixels in the cache, stands below.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import click

from bench import _child
from bench._harness import Spread
from bench._networks import NETWORKS
from bench._report import Report, head, output_options, rounds_option


def _endless(dataset: Any, batch: int, workers: int) -> Iterator[tuple[Any, Any]]:
    """Prepared batches, epoch after epoch; only whole ones, so that all steps do the same work."""
    from vecgrad.data import Prefetch, batches

    for epoch in count():
        whole = (
            chosen for chosen in batches(len(dataset.train_labels), batch, 0, epoch) if len(chosen) == batch
        )
        with Prefetch(
            dataset.train_images, dataset.train_labels, whole, prepare=dataset.preparation.arrays,
            depth=2 * workers, workers=workers,
        ) as loader:  # fmt: skip
            yield from loader


def rates(network: str, archive: str, threads: int, rounds: int, steps: int, workers: int) -> dict[str, Any]:
    """Seconds of ``steps`` steps, pure and from the data, for each round and way, and of the openings."""
    from vecgrad import data

    net = NETWORKS[network]()
    opened, sources = {}, {}
    for name, keep in {"first": None, "again": None, "none kept": 0}.items():
        began = time.perf_counter()
        dataset = data.open(archive, keep=keep)
        opened[name] = time.perf_counter() - began
        sources["none kept" if keep == 0 else "kept"] = dataset
    if sources["kept"].input_shape != net.shape:
        raise ValueError(
            f"{archive} has images of {sources['kept'].input_shape}, the network wants {net.shape}"
        )
    program = net.program(training=True, threads=threads)
    streams = {way: _endless(dataset, net.batch, workers) for way, dataset in sources.items()}
    x, y = next(streams["kept"])
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        seconds = {"pure": _seconds(program, ((x, y) for _ in range(steps)))}
        for way, stream in streams.items():
            seconds[way] = _seconds(program, (next(stream) for _ in range(steps)))
        # The first round compiles and fills the queues.
        found += [seconds] if number else []
    for stream in streams.values():
        stream.close()  # type: ignore[attr-defined]
    return {"seconds": found, "opened": opened, "batch": net.batch}


def _seconds(program: Any, batches: Iterator[tuple[Any, Any]]) -> float:
    began = time.perf_counter()
    for x, y in batches:
        program.step(x, y)
    return time.perf_counter() - began


@click.command(help=__doc__, short_help="The rate of training from image files against the pure step's.")
@click.argument("archive", type=click.Path(exists=True, path_type=Path))
@click.option("--network", default="plain20", show_default=True, type=click.Choice(list(NETWORKS)))
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=30, show_default=True, type=click.IntRange(1), help="Of a round, each way.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Threads that load.")
@rounds_option(7)
@output_options
def command(
    archive: Path, network: str, threads: int, steps: int, workers: int, rounds: int,
    json_file: Path | None, markdown: bool,
) -> None:  # fmt: skip
    columns = ["network", "pixels", "pure images/s", "images/s", "share of the pure rate"]
    settings = {"threads": threads, "rounds": rounds, "steps": steps, "workers": workers}
    report = Report("Training from image files", columns, head(("pillow",), **settings))
    with tempfile.TemporaryDirectory() as cache:
        kernels = os.environ.get("VECGRAD_CACHE_DIR")
        env = _child.environment(threads, None) | {"VECGRAD_CACHE_DIR": kernels or cache}
        found = _child.call(
            "bench.data:rates", env=env, network=network, archive=str(archive.resolve()), threads=threads,
            rounds=rounds, steps=steps, workers=workers,
        )  # fmt: skip
    images = steps * found["batch"]
    pure = Spread.of(images / row["pure"] for row in found["seconds"])
    for way in ("kept", "none kept"):
        rate = Spread.of(images / row[way] for row in found["seconds"])
        share = Spread.of(row["pure"] / row[way] for row in found["seconds"])
        cells = [network, way, f"{pure.median:.0f}", f"{rate.median:.0f}", share]
        report.add(cells, {"network": network, "way": way, **found})
    opened = found["opened"]
    report.notes.append(
        f"Opened in {opened['first']:.1f} s, again in {opened['again']:.1f} s; keeping nothing in {opened['none kept']:.1f} s."
    )
    report.finish(json_file, markdown)


if __name__ == "__main__":
    command()
