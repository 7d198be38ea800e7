"""A network of depthwise separable convolutions (MobileNet, Howard et al. 2017)."""

from __future__ import annotations

from vecgrad.layers import AvgPool2D, BatchNorm, Conv2D, Dense, Flatten, Layer, ReLU, Sequential
from vecgrad.spec.errors import ArgumentError

# (channels, stride) of the thirteen blocks.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet(classes: int = 10, *, size: int = 32, width: float = 1.0) -> Sequential:
    """Thirteen blocks of a depthwise 3×3 and a 1×1 convolution.

    Images of 64 pixels and more begin with stride 2, as the authors' do, smaller ones with stride 1. size: a multiple of 16
    (of 32 from 64 on). width: multiplies all channels, which are rounded to multiples of 8.
    """
    first = 2 if size >= 64 else 1
    if isinstance(size, bool) or not isinstance(size, int) or size < 16 or size % (16 * first):
        raise ArgumentError(f"size must be a multiple of 16, from 64 on of 32, got {size!r}")
    if not 0 < width <= 4:
        raise ArgumentError(f"width must be a number above 0 and up to 4, got {width!r}")

    def scaled(channels: int) -> int:
        return max(8, int(channels * width / 8 + 0.5) * 8)

    before = scaled(32)
    blocks: list[Layer] = [
        Sequential([Conv2D(before, 3, first, 1, bias=False), BatchNorm(), ReLU()], name="0")
    ]
    for number, (filters, stride) in enumerate(_BLOCKS, 1):
        out = scaled(filters)
        blocks.append(
            Sequential(
                [
                    Conv2D(before, 3, stride, 1, groups=before, bias=False),
                    BatchNorm(),
                    ReLU(),
                    Conv2D(out, 1, bias=False),
                    BatchNorm(),
                    ReLU(),
                ],
                name=str(number),
            )
        )
        before = out
    head = [AvgPool2D(size // (16 * first), name="avgpool"), Flatten(), Dense(classes, name="fc")]
    return Sequential([Sequential(blocks, name="features"), *head])
