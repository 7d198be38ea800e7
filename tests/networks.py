"""Whole networks by name: small ones that between them hold every geometry and every way of fitting layers together.

They are tried with small integers in images, targets and parameters, so that every sum is exact in float32 and every
order of summation must give the same bits. For that the losses' scales must be powers of two as well:
batches and outputs are, or the loss is taken apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vecgrad.layers import (
    ELU,
    GELU,
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    Input,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Model,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Network:
    """A model on images of a shape, for batches of at most ``batch``. exact: integers stay integers all the way."""

    model: Layer
    shape: tuple[int, ...]
    batch: int = 4
    loss: str = "mse"
    exact: bool = True
    high: int = field(default=2)

    def images(self, n: int, seed: int = 0) -> Array:
        """Small integers (n, H, W, C)."""
        return self._integers(seed, n, *self.shape)

    def targets(self, n: int, seed: int = 1) -> Array:
        """Small integers as large as the output."""
        return self._integers(seed, n, *self.model.infer(self.shape))

    def parameters(self, seed: int = 2) -> dict[str, Array]:
        """Small integers by name."""
        stated = self.model.parameters(self.shape)
        return {name: self._integers(seed + i, *p.shape) for i, (name, p) in enumerate(stated.items())}

    def _integers(self, seed: int, *shape: int) -> Array:
        rng = np.random.default_rng(seed)
        return rng.integers(-self.high, self.high, shape, endpoint=True).astype(np.float32)


def _net(*layers: Layer, shape: tuple[int, ...], **more: Any) -> Network:
    return Network(Sequential(layers), shape, **more)


def _wired() -> Model:
    """Values with several readers, channels that do not end with a vector, a layer that is used twice."""
    x = Input()
    stem, twice = Conv2D(5, 3, padding=1)(x), Conv2D(12, 1, name="twice")
    left, right = ReLU()(stem), Conv2D(7, 3, padding=1)(stem)
    joined = Concat()(left, right, stem)
    seventeen = Conv2D(5, 1)(joined)
    both = Concat()(right, seventeen)
    again = twice(ReLU()(twice(both)))
    return Model(x, Dense(4)(MaxPool2D(2)(Add()(both, again, both))))


NETWORKS: dict[str, Network] = {
    "dense alone": _net(Dense(4), shape=(3, 5, 1)),
    "nothing but a view": _net(Flatten(), shape=(2, 4, 1)),
    "pool alone": _net(MaxPool2D(2), shape=(5, 4, 4)),
    "convolution to the end": _net(Conv2D(4, 3, padding="same"), shape=(4, 4, 3)),
    "odd maps, one channel": _net(
        Conv2D(5, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(8), shape=(9, 7, 1)
    ),
    "three channels, no bias": _net(
        Conv2D(17, (2, 3), bias=False), ReLU(), Dense(2, bias=False), shape=(5, 6, 3), batch=5
    ),
    "seventeen channels": _net(Conv2D(33, 1), Conv2D(3, 3), Flatten(), ReLU(), Dense(4), shape=(5, 4, 17), high=1),
    "stride 2, same": _net(
        Conv2D(8, 3, stride=2, padding="same"), ReLU(), Conv2D(4, 3, stride=2, padding="same"), Dense(2), shape=(9, 8, 2)
    ),
    "stride 3": _net(Conv2D(6, (4, 2), stride=3, padding=1), Conv2D(4, 1), Dense(2), shape=(11, 10, 3), high=1),
    "dilated": _net(
        Conv2D(4, 3, dilation=2, padding="same"), ReLU(), Conv2D(4, (2, 3), dilation=(3, 1)), Dense(2), shape=(8, 7, 2)
    ),
    "groups": _net(
        Conv2D(12, 3, padding=1, groups=2), ReLU(), Conv2D(6, 3, groups=3), Flatten(), Dense(4), shape=(6, 5, 4), high=1
    ),
    "depthwise": _net(
        Conv2D(16, 3, padding="same", groups=16), Conv2D(8, 1), ReLU(), Dense(2), shape=(5, 5, 16), high=1
    ),
    "depthwise, two filters each": _net(Conv2D(10, 3, stride=2, padding=1, groups=5), Dense(2), shape=(6, 6, 5)),
    "kernel larger than the image": _net(Conv2D(4, 5, padding=2), ReLU(), Conv2D(2, 7, padding="same"), shape=(2, 4, 2)),
    "more padding than kernel": _net(Conv2D(4, 2, padding=3), MaxPool2D(3), Dense(2), shape=(3, 3, 2)),
    "uneven padding": _net(
        Conv2D(4, (3, 2), padding=((0, 2), (1, 0))), ReLU(), MaxPool2D(2, padding=((0, 1), (1, 0))), Dense(2), shape=(6, 5, 3)
    ),
    "overlapping pools": _net(
        Conv2D(4, 2), MaxPool2D(3, stride=1), ReLU(), MaxPool2D(3, stride=2, padding=1), Dense(2), shape=(8, 7, 2)
    ),
    "pooled before its activation": _net(
        Conv2D(17, 3), MaxPool2D(3), ReLU(), Conv2D(5, 3, padding=1), ReLU(), MaxPool2D((1, 2)), Dense(2), shape=(11, 14, 3), high=1
    ),
    "a pool of sixteen cells": _net(Conv2D(4, 3, padding=1), ReLU(), MaxPool2D(4), Dense(2), shape=(9, 8, 2)),
    "average, image cells": _net(
        Conv2D(4, 2), AvgPool2D((2, 1)), AvgPool2D(2, stride=1, padding=((0, 1), (0, 1))), Dense(2), shape=(9, 5, 2)
    ),
    "average, all cells": _net(
        Conv2D(4, 2), AvgPool2D(2, stride=1, padding=1, count_padding=True), ReLU(), Dense(2), shape=(5, 4, 2)
    ),
    "dense on maps": _net(Conv2D(16, 1), ReLU(), Dense(32), ReLU(), Dense(4), shape=(4, 4, 2), high=1),
    "flatten, activation, dense": _net(Conv2D(5, 2), Flatten(), ReLU(), Dense(4), shape=(4, 5, 2)),
    "flatten twice": _net(Flatten(), Flatten(), Dense(4), ReLU(), Flatten(), Dense(2), shape=(3, 3, 2)),
    "rescaled": _net(Rescale(0.5, 1.0), Conv2D(3, 2), ReLU(), Dense(2), shape=(4, 4, 1)),
    "nested": _net(
        Sequential([Conv2D(6, 3, padding="same", name="mix"), Sequential([ReLU(), MaxPool2D(2)])], name="stem"),
        Sequential([Flatten(), Dense(4)], name="head"), shape=(6, 6, 1),
    ),
    "pixel by pixel": _net(Conv2D(20, 1), ReLU(), Conv2D(16, 1), shape=(2, 2, 3), high=1),
    "batch of one": _net(Conv2D(4, 3), ReLU(), Dense(2), shape=(5, 5, 1), batch=1),
    "batch of seventeen": _net(Conv2D(4, 3), MaxPool2D(2), Dense(2), shape=(6, 6, 1), batch=17, high=1),
    "vectors": _net(Dense(20), ReLU(), Dense(8), ReLU(), Dense(4), shape=(7,), high=1),
    "a pool of 289 cells": _net(Conv2D(2, 1), MaxPool2D(17, stride=1), Dense(2), shape=(18, 17, 1), high=1),
    "a chain of activations": _net(Conv2D(3, 2), *[ReLU()] * 9, Flatten(), *[ReLU()] * 3, Dense(2), shape=(4, 4, 1)),
    "leaky": _net(Conv2D(5, 3), LeakyReLU(0.5), MaxPool2D(2), LeakyReLU(0.25), Dense(4), shape=(7, 6, 2)),
    "mean over the map": _net(Conv2D(5, 3), ReLU(), GlobalAvgPool2D(), Dense(4), shape=(10, 6, 3), high=1),
    "largest of the map": _net(Conv2D(5, 3), GlobalMaxPool2D(), ReLU(), Dense(4), shape=(9, 7, 3)),
    "largest of a large map": _net(Conv2D(4, 2), GlobalMaxPool2D(), shape=(18, 17, 1)),
    "up and down": _net(Conv2D(4, 3), UpSample2D(2), ReLU(), Conv2D(3, 3), UpSample2D((1, 4)), Dense(2), shape=(5, 4, 2), high=1),
    "zeros around": _net(
        ZeroPad2D(1), Conv2D(5, 3, padding=((0, 1), (2, 0))), ReLU(), ZeroPad2D(((0, 2), (1, 0))), Conv2D(4, 2, stride=2), Dense(2),
        shape=(6, 5, 2), high=1,
    ),
    "zeros that exist": _net(
        ZeroPad2D((0, 2)), MaxPool2D(2), Conv2D(3, 2), ZeroPad2D(2), ReLU(), Conv2D(2, 3), ZeroPad2D(), Dense(2),
        shape=(6, 5, 3), high=1,
    ),
    "transposed": _net(
        Conv2D(6, 3, stride=2, padding=1), ReLU(), ConvTranspose2D(5, 3, stride=2, padding=1, output_padding=1), ReLU(),
        ConvTranspose2D(3, 2), Dense(2), shape=(6, 8, 2), high=1,
    ),
    "transposed, grouped and dilated": _net(
        ConvTranspose2D(6, (3, 2), stride=(1, 3), padding=((0, 1), (2, 0)), output_padding=(0, 2), dilation=(2, 1), groups=2),
        ReLU(),
        ConvTranspose2D(18, 3, stride=2, groups=3, bias=False), Dense(2), shape=(4, 3, 4), high=1,
    ),
    "normalized within images": _net(
        Conv2D(20, 3), GroupNorm(4), ReLU(), LayerNorm(), Conv2D(6, 2), GroupNorm(6, scale=False), Flatten(), Dense(34),
        LayerNorm(shift=False), ReLU(), GroupNorm(2, 0.1), Dense(3), shape=(7, 6, 2), exact=False, high=1,
    ),
    "smooth activations": _net(
        Conv2D(4, 3), GELU(), Conv2D(6, 3, padding=1), SiLU(), MaxPool2D(2), ELU(), Conv2D(17, 1), GELU("tanh"), Dense(5), ELU(0.5),
        Dense(3), shape=(9, 8, 2), exact=False,
    ),
    "activations": _net(
        Conv2D(4, 3), Tanh(), AvgPool2D(2), Sigmoid(), Softmax(), Flatten(), Dense(5), Softmax(), Dense(3),
        shape=(6, 6, 2), exact=False,
    ),
    "residual": _net(
        Conv2D(6, 3), Residual([Conv2D(6, 3, padding=1), ReLU(), Conv2D(6, 1)]), ReLU(),
        Residual(Conv2D(9, 3, 2, 1), [Conv2D(9, 1, 2)]), Residual(ReLU(), ReLU()), Dense(4), shape=(8, 7, 2), high=1,
    ),
    "any wiring": Network(_wired(), (4, 3, 2), batch=2, high=1),
    "batch normalization": _net(
        Conv2D(20, 3, bias=False), BatchNorm(), ReLU(), Residual([Conv2D(20, 3, padding=1), BatchNorm(), ReLU()]),
        BatchNorm(scale=False), MaxPool2D(2), BatchNorm(shift=False), Flatten(), Dense(6), BatchNorm(frozen=True), ReLU(),
        Dense(4), shape=(7, 8, 3), batch=9, loss="cross_entropy", exact=False,
    ),
    "batch normalization at the door": _net(BatchNorm(), Conv2D(4, 3), BatchNorm(), Dense(3), shape=(5, 4, 3), exact=False),
    "classifier": _net(
        Conv2D(6, 3, padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(10), shape=(8, 8, 1), loss="cross_entropy", exact=False
    ),
}  # fmt: skip


LENET = _net(
    Conv2D(6, 5, padding=2), ReLU(), MaxPool2D(2), Conv2D(16, 5), ReLU(), MaxPool2D(2),
    Flatten(), Dense(120), ReLU(), Dense(84), ReLU(), Dense(10),
    shape=(28, 28, 1), batch=64, loss="cross_entropy", exact=False,
)  # fmt: skip

# Weight gradients and dense layers so large that they are cut into blocks, each for all images: many phases.
LARGE = _net(
    Conv2D(200, 3, padding=1), ReLU(), Conv2D(160, 3), ReLU(), Flatten(), Dense(300), ReLU(), Dense(10),
    shape=(6, 6, 3), batch=32, exact=False,
)  # fmt: skip
