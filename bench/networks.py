"""Whole training steps beside PyTorch's: forward, loss, backward, SGD with momentum, on the same images.

    python -m bench.networks [--threads 1 2] [--rounds 40] [--json FILE] [NETWORK …]

Each round times vecgrad and each of PyTorch's eager modes (NCHW, channels last) one behind the other; the ratio
of a round is the better mode's time over vecgrad's, and the median of the ratios is reported with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


@dataclass(frozen=True)
class Network:
    """A network by its vecgrad layers; its twin is built from them."""

    model: vg.Sequential
    shape: tuple[int, int, int]
    batch: int
    classes: int = 10


def lenet5() -> Network:
    layers = [Conv2D(6, 5, padding=2), ReLU(), MaxPool2D(2), Conv2D(16, 5), ReLU(), MaxPool2D(2), Flatten()]
    layers += [Dense(120), ReLU(), Dense(84), ReLU(), Dense(10)]
    return Network(vg.Sequential(layers), (28, 28, 1), 64)


def mnist_cnn() -> Network:
    layers = [
        Conv2D(32, 3),
        ReLU(),
        Conv2D(64, 3),
        ReLU(),
        MaxPool2D(2),
        Flatten(),
        Dense(128),
        ReLU(),
        Dense(10),
    ]
    return Network(vg.Sequential(layers), (28, 28, 1), 64)


def vgg_small() -> Network:
    layers: list[Any] = []
    for filters in (32, 32, 0, 64, 64, 0, 128, 128, 0, 256):
        layers += [Conv2D(filters, 3, padding=1), ReLU()] if filters else [MaxPool2D(2)]
    return Network(vg.Sequential([*layers, Flatten(), Dense(10)]), (32, 32, 3), 128)


NETWORKS: dict[str, Callable[[], Network]] = {
    "lenet5": lenet5,
    "mnist_cnn": mnist_cnn,
    "vgg_small": vgg_small,
}


def torch_twin(network: Network, channels_last: bool) -> Any:
    """The same network as torch modules, its weights freshly drawn."""
    import torch

    modules: list[Any] = []
    shape: tuple[int, ...] = network.shape
    for layer in network.model.layers:
        match layer:
            case Conv2D(filters=k, kernel_size=size, padding=padding):
                modules.append(
                    torch.nn.Conv2d(shape[2], k, size, padding=0 if padding == "valid" else padding)
                )
            case ReLU():
                modules.append(torch.nn.ReLU())
            case MaxPool2D(pool_size=size):
                modules.append(torch.nn.MaxPool2d(size))
            case Flatten():
                modules.append(torch.nn.Flatten())
            case Dense(units=units):
                modules.append(torch.nn.Linear(int(np.prod(shape)), units))
        shape = layer.infer(shape)
    twin = torch.nn.Sequential(*modules)
    return twin.to(memory_format=torch.channels_last) if channels_last else twin


def torch_step(network: Network, x: Any, y: Any, channels_last: bool) -> Callable[[], Any]:
    import torch

    twin = torch_twin(network, channels_last)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9)
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    labels = torch.from_numpy(y)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(twin(images), labels).backward()
        optimizer.step()

    return step


def milliseconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def measure(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    import torch

    torch.set_num_threads(threads)
    network = NETWORKS[name]()
    rng = np.random.default_rng(0)
    x = rng.random((network.batch, *network.shape), dtype=np.float32)
    y = rng.integers(0, network.classes, network.batch)
    program = vg.compile(
        network.model, network.shape, loss="cross_entropy", optimizer=vg.SGD(0.01, momentum=0.9),
        batch_size=network.batch, threads=threads,
    )  # fmt: skip
    contenders = {
        "vecgrad": lambda: program.step(x, y),
        "torch_nchw": torch_step(network, x, y, False),
        "torch_channels_last": torch_step(network, x, y, True),
    }
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for function in contenders.values():
        for _ in range(5):
            function()
    repeats = max(1, round(10 / statistics.median(milliseconds(contenders["vecgrad"]) for _ in range(5))))
    for _ in range(rounds):
        for key, function in contenders.items():
            times[key].append(statistics.median(milliseconds(function) for _ in range(repeats)))
    medians = {key: statistics.median(values) for key, values in times.items()}
    best = min((key for key in medians if key != "vecgrad"), key=medians.__getitem__)
    ratios = sorted(t / v for t, v in zip(times[best], times["vecgrad"], strict=True))
    return {
        "network": name, "batch": network.batch, "threads": threads, "milliseconds": medians, "peer": best,
        "ratio": statistics.median(ratios),
        "quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=["lenet5", "mnist_cnn"], metavar="NETWORK")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch

    print(
        f"{platform.processor() or platform.machine()}, Python {sys.version.split()[0]}, torch {torch.__version__}"
    )
    print(
        f"{'network':<12}{'batch':>6}{'threads':>8}{'vecgrad ms':>12}{'NCHW ms':>10}{'ch. last ms':>12}{'ratio':>8}  quartiles"
    )
    rows = []
    for name in options.networks:
        for threads in options.threads:
            row = measure(name, threads, options.rounds)
            rows.append(row)
            ms, (low, high) = row["milliseconds"], row["quartiles"]
            print(
                f"{name:<12}{row['batch']:>6}{threads:>8}{ms['vecgrad']:>12.2f}{ms['torch_nchw']:>10.2f}"
                f"{ms['torch_channels_last']:>12.2f}{row['ratio']:>8.2f}  {low:.2f}-{high:.2f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
