"""Residual networks (He et al. 2016): for 32 × 32 images in three stages, for larger ones in four."""

from __future__ import annotations

from vecgrad.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
)
from vecgrad.spec.errors import ArgumentError


def resnet20(classes: int = 10, *, size: int = 32) -> Sequential:
    """20 layers in three stages of 16, 32 and 64 channels; shortcuts that change the shape are 1×1 convolutions (option B).

    size: the images' height and width, a multiple of 4.
    """
    return _small(3, classes, size)


def resnet32(classes: int = 10, *, size: int = 32) -> Sequential:
    """32 layers; otherwise as ``resnet20``."""
    return _small(5, classes, size)


def resnet56(classes: int = 10, *, size: int = 32) -> Sequential:
    """56 layers; otherwise as ``resnet20``."""
    return _small(9, classes, size)


def resnet18(classes: int = 1000, *, size: int = 224) -> Sequential:
    """18 layers in four stages of 64 to 512 channels, for images of ``size`` × ``size``.

    From 64 pixels on (multiples of 32) it begins with a 7×7 convolution of stride 2 and a pooling, as the authors' network;
    smaller images (multiples of 8) keep their size in a 3×3 convolution, as is usual for CIFAR.
    """
    return _large(_basic, (2, 2, 2, 2), 1, classes, size)


def resnet34(classes: int = 1000, *, size: int = 224) -> Sequential:
    """34 layers; otherwise as ``resnet18``."""
    return _large(_basic, (3, 4, 6, 3), 1, classes, size)


def resnet50(classes: int = 1000, *, size: int = 224) -> Sequential:
    """50 layers of bottlenecks, the stride in their 3×3 convolutions; otherwise as ``resnet18``."""
    return _large(_bottleneck, (3, 4, 6, 3), 4, classes, size)


def _conv(filters: int, kernel: int, stride: int, number: int) -> list[Layer]:
    """A convolution without bias, which normalization would take out again, and its normalization."""
    return [
        Conv2D(filters, kernel, stride, kernel // 2, bias=False, name=f"conv{number}"),
        BatchNorm(name=f"bn{number}"),
    ]


def _basic(filters: int, stride: int) -> list[Layer]:
    return [*_conv(filters, 3, stride, 1), ReLU(), *_conv(filters, 3, 1, 2)]


def _bottleneck(filters: int, stride: int) -> list[Layer]:
    return [
        *_conv(filters, 1, 1, 1), ReLU(name="relu1"), *_conv(filters, 3, stride, 2), ReLU(name="relu2"),
        *_conv(4 * filters, 1, 1, 3),
    ]  # fmt: skip


def _stage(block: object, name: str, blocks: int, before: int, filters: int, out: int, stride: int) -> Layer:
    assert callable(block)
    found: list[Layer] = []
    for number in range(blocks):
        step = stride if number == 0 else 1
        changes = step != 1 or (before if number == 0 else out) != out
        shortcut = [Conv2D(out, 1, step, bias=False), BatchNorm()] if changes else None
        body = Sequential(block(filters, step))
        found.append(
            Sequential([Residual(body, shortcut, name="residual"), ReLU(name="relu")], name=str(number))
        )
    return Sequential(found, name=name)


def _small(blocks: int, classes: int, size: int) -> Sequential:
    _whole(size, 4)
    stages, before = [], 16
    for number, filters in enumerate((16, 32, 64), 1):
        stride = 1 if number == 1 else 2
        stages.append(_stage(_basic, f"layer{number}", blocks, before, filters, filters, stride))
        before = filters
    head = [AvgPool2D(size // 4, name="avgpool"), Flatten(), Dense(classes, name="fc")]
    return Sequential([*_conv(16, 3, 1, 1), ReLU(), *stages, *head])


def _large(block: object, blocks: tuple[int, ...], widening: int, classes: int, size: int) -> Sequential:
    small = isinstance(size, int) and size < 64
    _whole(size, 8 if small else 32)
    stages, before = [], 64
    for number, (count, filters) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        out, stride = filters * widening, 1 if number == 1 else 2
        stages.append(_stage(block, f"layer{number}", count, before, filters, out, stride))
        before = out
    stem: list[Layer] = [*_conv(64, 3, 1, 1), ReLU(name="relu")]
    if not small:
        stem[0] = Conv2D(64, 7, 2, 3, bias=False, name="conv1")
        stem.append(MaxPool2D(3, 2, 1, name="maxpool"))
    head = [AvgPool2D(size // (8 if small else 32), name="avgpool"), Flatten(), Dense(classes, name="fc")]
    return Sequential([*stem, *stages, *head])


def _whole(size: int, multiple: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < multiple or size % multiple:
        raise ArgumentError(f"size must be a multiple of {multiple}, got {size!r}")
