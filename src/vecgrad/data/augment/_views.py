"""Test-time augmentation: the views of an image whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from vecgrad.data.augment._shift import pad
from vecgrad.spec.errors import ArgumentError

Array = NDArray[Any]

# (mirrored, pixels down, pixels right, weight). The second is that of Jordan's CIFAR-10 speed runs (2024): half the
# weight on the image and its mirror image, half on both moved by one pixel along the diagonal, either way.
VIEWS: dict[str, tuple[tuple[bool, int, int, float], ...]] = {
    "flip": ((False, 0, 0, 0.5), (True, 0, 0, 0.5)),
    "flip-shift": (
        (False, 0, 0, 0.25), (True, 0, 0, 0.25),
        (False, 1, 1, 0.125), (True, 1, 1, 0.125),
        (False, -1, -1, 0.125), (True, -1, -1, 0.125),
    ),
}  # fmt: skip


def views(x: Array, kind: str) -> Iterator[tuple[Array, float]]:
    """(images (n, H, W, C) seen another way, weight) for each view of ``kind``, a name of ``VIEWS``; weights sum to 1.

    Where an image is moved, its edge is mirrored (repeated along a side of one pixel).
    """
    if kind not in VIEWS:
        raise ArgumentError(f"tta must be one of {', '.join(map(repr, VIEWS))} or None, got {kind!r}")
    if x.ndim != 4:
        raise ArgumentError(
            f"tta needs images (n, height, width, channels); these inputs have shape {x.shape}"
        )
    _, height, width, _ = x.shape
    padded = None
    for mirrored, down, right, weight in VIEWS[kind]:
        seen = x
        if down or right:
            if padded is None:
                padded = pad(x, 1, 1, "reflect" if min(height, width) > 1 else "edge")
            seen = padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        yield (seen[:, :, ::-1] if mirrored else seen), weight
