"""The built-in models: a network for a shape of images and a number of outputs, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vecgrad.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sequential
from vecgrad.spec.tensor import Shape
from vecgrad.train.schedules import Cosine, Schedule
from vecgrad.updates import SGD, Update

# MNIST with seed 1 ends at 0.9891 when it starts at the full rate, at 0.9923 with this warm-up.
_WARM = Cosine(warmup=0.1)


@dataclass(frozen=True)
class BuiltIn:
    """``build(input_shape, outputs)`` makes the network; ``input_shape`` and ``classes`` are those it was drawn for."""

    name: str
    about: str
    build: Callable[[Shape, int], Sequential]
    input_shape: Shape
    classes: int
    optimizer: Update
    epochs: int
    batch_size: int
    schedule: Schedule

    @property
    def model(self) -> Sequential:
        """The network for the shape and the classes it was drawn for."""
        return self.build(self.input_shape, self.classes)


def fitting(input_shape: tuple[int, int, int]) -> BuiltIn:
    """The built-in model for images (H, W, C), by their shorter side and their channels.

    Up to 16 pixels "digits"; above that "mnist" for one channel up to 32 pixels, and "cifar" for all others.

    >>> [fitting(shape).name for shape in ((8, 8, 1), (28, 28, 1), (32, 32, 3), (1, 20, 1))]
    ['digits', 'mnist', 'cifar', 'digits']
    """
    height, width, channels = input_shape
    if min(height, width) <= 16:
        return MODELS["digits"]
    return MODELS["mnist" if channels == 1 and max(height, width) <= 32 else "cifar"]


class _Stack:
    """Layers one after the other, with the size of the maps that they have come to."""

    def __init__(self, input_shape: Shape) -> None:
        self.layers: list[Layer] = []
        self.height, self.width, _ = input_shape

    def conv(self, filters: int) -> None:
        """A 3×3 kernel at stride 1, its output as large as its input; 1 along a side of one pixel, where the other
        taps would meet nothing but padding."""
        kernel = (min(3, 2 * self.height - 1), min(3, 2 * self.width - 1))
        self.layers += [Conv2D(filters, kernel, padding="same"), ReLU()]

    def pool(self) -> None:
        """Halves each side that has two pixels."""
        size = (min(2, self.height), min(2, self.width))
        if size != (1, 1):
            self.layers.append(MaxPool2D(size))
        self.height, self.width = self.height // size[0], self.width // size[1]

    def dense(self, *units: int) -> Sequential:
        """The network: these layers, the flattened maps, and layers of ``units`` with ReLU between them."""
        layers = [*self.layers, Flatten(), Dense(units[0])]
        for count in units[1:]:
            layers += [ReLU(), Dense(count)]
        return Sequential(layers)


def _digits(shape: Shape, outputs: int) -> Sequential:
    stack = _Stack(shape)
    stack.conv(32)
    stack.conv(32)
    stack.pool()
    stack.conv(64)
    stack.pool()
    return stack.dense(64, outputs)


def _mnist(shape: Shape, outputs: int) -> Sequential:
    return Sequential(
        [
            Conv2D(32, 3),
            ReLU(),
            Conv2D(64, 3),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(128),
            ReLU(),
            Dense(outputs),
        ]
    )


def _cifar(shape: Shape, outputs: int) -> Sequential:
    stack = _Stack(shape)
    for filters in (32, 64, 128):
        stack.conv(filters)
        stack.pool()
    # Larger images: halved until the last maps are as small as those of 32 × 32 pixels.
    while max(stack.height, stack.width) >= 8:
        stack.conv(128)
        stack.pool()
    return stack.dense(outputs)


def _lenet5(shape: Shape, outputs: int) -> Sequential:
    # LeCun et al. 1998 with ReLU and max pooling, as it is used today; 28 × 28 images padded to 32 × 32.
    return Sequential(
        [
            Conv2D(6, 5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, 5),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(120),
            ReLU(),
            Dense(84),
            ReLU(),
            Dense(outputs),
        ]
    )


MODELS: dict[str, BuiltIn] = {
    built.name: built
    for built in (
        BuiltIn(
            "digits", "convolutions of 32, 32 and 64, pooling, 64 units, for 8×8 images", _digits, (8, 8, 1), 10,
            SGD(learning_rate=0.02, momentum=0.9, weight_decay=5e-4), epochs=20, batch_size=32, schedule=_WARM,
        ),
        BuiltIn(
            "mnist", "convolutions of 32 and 64, pooling, 128 units, for 28×28 images", _mnist, (28, 28, 1), 10,
            SGD(learning_rate=0.05, momentum=0.9, weight_decay=5e-4), epochs=5, batch_size=64, schedule=_WARM,
        ),
        BuiltIn(
            "cifar", "convolutions of 32, 64 and 128, each with pooling, for 32×32 images", _cifar, (32, 32, 3), 10,
            SGD(learning_rate=0.02, momentum=0.9, weight_decay=5e-3), epochs=30, batch_size=64, schedule=_WARM,
        ),
        BuiltIn(
            "lenet5", "LeNet-5 with ReLU and max pooling, for 28×28 images", _lenet5, (28, 28, 1), 10,
            SGD(learning_rate=0.05, momentum=0.9, weight_decay=5e-4), epochs=5, batch_size=64, schedule=_WARM,
        ),
    )
}  # fmt: skip
