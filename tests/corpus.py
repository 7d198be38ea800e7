"""Convolutions by name: every geometry that has ever been special, small enough to check entry by entry."""

from __future__ import annotations

from dataclasses import dataclass

from vecgrad.spec.geometry import Conv, PaddingLike, Pair, window


@dataclass(frozen=True)
class Case:
    """A convolution and a batch: H × W × C images, K filters."""

    size: Pair
    channels: int
    filters: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: PaddingLike = "valid"
    dilation: int | Pair = 1
    groups: int = 1
    images: int = 2

    @property
    def conv(self) -> Conv:
        return Conv(
            window(self.size, self.kernel, self.stride, self.padding, self.dilation),
            self.channels,
            self.filters,
            self.groups,
        )


CONVOLUTIONS = {
    "one of everything": Case((1, 1), 1, 1, 1, images=1),
    "no images": Case((5, 6), 3, 17, 3, images=0),
    "same": Case((8, 8), 16, 16, 3, padding="same"),
    "odd sizes": Case((9, 7), 5, 19, 3, padding="same"),
    "odd channels": Case((6, 5), 17, 33, (2, 3), images=3),
    "two blocks of filters": Case((7, 9), 8, 80, 3, padding=1),
    "first layer": Case((10, 12), 3, 32, 3, padding="same"),
    "grey first layer": Case((12, 12), 1, 6, 5),
    "last filters": Case((4, 4), 24, 10, 3, padding="same"),
    "wide row": Case((3, 67), 4, 16, 3, padding="same"),
    "tall": Case((41, 2), 3, 8, (5, 1), padding="same", images=1),
    "rows that are staged in blocks": Case((40, 40), 40, 16, 3, padding="same", images=1),
    "kernel larger than the image": Case((3, 4), 4, 9, 5, padding=3),
    "more padding than kernel": Case((3, 3), 2, 4, 2, padding=3),
    "uneven padding": Case((6, 7), 4, 8, (3, 2), padding=((0, 2), (1, 0))),
    "stride 2": Case((9, 8), 6, 20, 3, stride=2, padding="same"),
    "stride 2, even": Case((8, 8), 16, 32, 3, stride=2, padding=1),
    "stride 3": Case((11, 10), 3, 16, (5, 4), stride=3, padding=2),
    "stride beyond the kernel": Case((10, 11), 5, 7, 2, stride=(3, 4)),
    "stride beyond the kernel, padded": Case((11, 12), 5, 7, 2, stride=3, padding=1),
    "stride beyond the image": Case((2, 3), 3, 4, 2, stride=5, padding=1),
    "an axis that reads only padding": Case((1, 1), 3, 4, 1, stride=2, padding=1),
    "uneven strides": Case((7, 12), 4, 8, 3, stride=(1, 2), padding="same"),
    "dilated": Case((9, 11), 4, 16, 3, padding="same", dilation=2),
    "dilated, wide": Case((8, 7), 32, 32, 3, padding="same", dilation=2),
    "dilated and strided": Case((13, 12), 3, 9, 3, stride=2, padding=2, dilation=3),
    "dilation and stride share a factor": Case((12, 13), 5, 8, (3, 2), stride=4, padding=3, dilation=2),
    "pixels alone": Case((5, 6), 24, 40, 1),
    "pixels alone, filters far apart": Case((5, 7), 20, 288, 1, images=5),
    "pixels alone, 2 x 2 maps": Case((2, 2), 24, 40, 1, images=9),
    "pixels alone, in groups": Case((3, 2), 12, 24, 1, groups=3, images=6),
    "pixels alone, stride 2": Case((8, 7), 8, 16, 1, stride=2),
    "4 x 4 maps": Case((4, 4), 64, 64, 3, padding="same", images=5),
    "2 x 2 maps": Case((2, 2), 16, 32, 3, padding="same", images=9),
    "dense": Case((1, 1), 100, 30, 1, images=21),
    "dense to few": Case((1, 1), 70, 3, 1, images=7),
    "image to pixel": Case((6, 6), 3, 20, 6, images=6),
    "groups": Case((6, 6), 12, 24, 3, padding="same", groups=4),
    "groups of whole vectors": Case((5, 5), 32, 64, 3, padding=1, groups=2),
    "odd groups": Case((5, 4), 9, 15, (3, 2), stride=2, padding=1, groups=3),
    "depthwise": Case((7, 6), 20, 20, 3, padding="same", groups=20),
    "depthwise, two filters each": Case((6, 6), 5, 10, 3, stride=2, padding=1, groups=5),
    "large kernel": Case((11, 11), 2, 5, 11, padding=5, images=1),
    "one row of taps": Case((3, 20), 3, 8, (1, 13), padding="same"),
}

# A few that between them take every branch of the generators, for what need not be tried on all.
FEW = (
    "odd channels",
    "rows that are staged in blocks",
    "stride 3",
    "dilation and stride share a factor",
    "4 x 4 maps",
    "pixels alone, 2 x 2 maps",
    "dense",
    "odd groups",
    "no images",
)
