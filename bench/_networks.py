"""The networks that are measured, as vecgrad layers; every peer's twin is built from these."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU

RATE, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Network:
    """Layers, the shape (height, width, channels) of an image, and the batch of a step."""

    model: Layer
    shape: tuple[int, int, int]
    batch: int
    classes: int = 10

    def parameters(self) -> dict[str, Any]:
        """First values, in the layout of vecgrad's public arrays, float32."""
        program = vg.compile(self.model, self.shape, backend="reference")
        return {name: array.astype(np.float32) for name, array in program.parameters.items()}

    def data(self, batch: int | None = None) -> tuple[Any, Any]:
        """Images (n, height, width, channels) in [0, 1) and class numbers (n,)."""
        rng = np.random.default_rng(0)
        n = batch or self.batch
        return rng.random((n, *self.shape), dtype=np.float32), rng.integers(0, self.classes, n)

    def program(self, *, training: bool, batch: int | None = None, **options: Any) -> vg.Program:
        """The network compiled by vecgrad, from ``parameters()``."""
        work: dict[str, Any] = {}
        if training:
            work = {"loss": "cross_entropy", "optimizer": vg.SGD(RATE, momentum=MOMENTUM)}
        return vg.compile(
            self.model, self.shape, batch_size=batch or self.batch, parameters=self.parameters(),
            **work, **options,
        )  # fmt: skip

    def shapes(self) -> list[tuple[str, Layer, tuple[int, ...]]]:
        """(number, layer, shape of its input) in order, of a plain chain."""
        assert isinstance(self.model, vg.Sequential)
        found, shape = [], tuple(self.shape)
        for number, layer in enumerate(self.model.layers):
            found.append((str(number), layer, shape))
            shape = layer.infer(shape)
        return found


def chooses_algorithm() -> bool:
    """Whether vecgrad.compile lets one choose the convolutions' algorithm."""
    return "algorithm" in inspect.signature(vg.compile).parameters


def _convolutions(filters: tuple[int, ...]) -> list[Layer]:
    """3×3 convolutions that keep the size, each with its ReLU; 0 is a 2×2 max pooling."""
    layers: list[Layer] = []
    for k in filters:
        layers += [Conv2D(k, 3, padding=1), ReLU()] if k else [MaxPool2D(2)]
    return layers


def lenet5() -> Network:
    layers = [Conv2D(6, 5, padding=2), ReLU(), MaxPool2D(2), Conv2D(16, 5), ReLU(), MaxPool2D(2), Flatten()]
    layers += [Dense(120), ReLU(), Dense(84), ReLU(), Dense(10)]
    return Network(vg.Sequential(layers), (28, 28, 1), 64)


def mnist_cnn() -> Network:
    layers = [Conv2D(32, 3), ReLU(), Conv2D(64, 3), ReLU(), MaxPool2D(2), Flatten()]
    return Network(vg.Sequential([*layers, Dense(128), ReLU(), Dense(10)]), (28, 28, 1), 64)


def vgg_small() -> Network:
    layers = _convolutions((32, 32, 0, 64, 64, 0, 128, 128, 0, 256))
    return Network(vg.Sequential([*layers, Flatten(), Dense(10)]), (32, 32, 3), 128)


def plain20() -> Network:
    """ResNet-20 without batch normalization and shortcuts: 19 convolutions, mean over the map, one dense layer."""
    layers = [Conv2D(16, 3, padding=1), ReLU()]
    for stage, k in enumerate((16, 32, 64)):
        for number in range(6):
            stride = 2 if stage and not number else 1
            layers += [Conv2D(k, 3, stride=stride, padding=1), ReLU()]
    return Network(vg.Sequential([*layers, AvgPool2D(8), Flatten(), Dense(10)]), (32, 32, 3), 128)


def wide(size: int) -> Network:
    """Four layers of 512 channels."""
    return Network(vg.Sequential([*_convolutions((512,) * 4), Flatten(), Dense(10)]), (size, size, 512), 32)


def stack(depth: int, channels: int, size: int = 16, batch: int = 32) -> Network:
    """``depth`` equal convolutions and nothing else but a small head."""
    layers = _convolutions((channels,) * depth)
    return Network(
        vg.Sequential([*layers, AvgPool2D(size), Flatten(), Dense(10)]), (size, size, channels), batch
    )


CHAINS: dict[str, Callable[[], Network]] = {
    "lenet5": lenet5,
    "mnist_cnn": mnist_cnn,
    "vgg_small": vgg_small,
    "plain20": plain20,
    "wide_4x4": lambda: wide(4),
    "wide_8x8": lambda: wide(8),
}
# Models of the zoo: PyTorch alone takes part.
ZOO: dict[str, Callable[[], Network]] = {
    "resnet20": lambda: Network(vg.zoo.resnet20(), (32, 32, 3), 128),
    "resnet18": lambda: Network(vg.zoo.resnet18(10, size=32), (32, 32, 3), 32),
    "mobilenet": lambda: Network(vg.zoo.mobilenet(), (32, 32, 3), 64),
    "airbench94": lambda: Network(vg.zoo.airbench94(), (32, 32, 3), 256),
}
NETWORKS = CHAINS | ZOO
