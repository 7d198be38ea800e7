"""The emitter: the closed set of primitives against which layers, losses and update rules are written.

The eager emitter computes at once with NumPy; the recording emitter writes down a graph that is
compiled. A layer cannot tell them apart, so its mathematics exists once.

Values carry ``shape``. A *batched* value has one such shape per image ((H, W, C), (F,), or () for one number per
image); other values exist once (parameters, sums over the batch). In ``map``, shapes broadcast as NumPy's do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from vecgrad.spec.geometry import Conv, Window
from vecgrad.spec.scalar import Expr
from vecgrad.spec.tensor import Shape

WEIGHING = ("inverse_weight", "inverse_images")


class Value(Protocol):
    """What an emitter hands out: opaque but for its shape."""

    @property
    def shape(self) -> Shape: ...

    @property
    def batched(self) -> bool: ...


class Emitter(Protocol):
    """The primitives. ``g`` is always the geometry of the forward operation.

    training: whether this pass is part of a training step; a prediction otherwise. weight: the images' weights in the
    loss, a batched number; None where there is no loss.
    """

    training: bool
    weight: Any

    def conv(self, x: Any, w: Any, g: Conv) -> Any:
        """(2.9): x (H, W, C), w (R, S, C / groups, K) → y (P, Q, K)."""

    def conv_dx(self, dy: Any, w: Any, g: Conv) -> Any:
        """(2.28), (2.30): the gradient with respect to x, (H, W, C)."""

    def conv_dw(self, x: Any, dy: Any, g: Conv) -> Any:
        """(2.21), summed over the images: (R, S, C / groups, K), not batched."""

    def max_pool(self, x: Any, g: Window) -> tuple[Any, Any]:
        """(4.2): the maximum (P, Q, C) and the ordinal of the chosen cell, column-major (ties: the smallest)."""

    def max_pool_dx(self, dy: Any, index: Any, g: Window) -> Any:
        """(4.5), (4.6): each entry adds up the windows that chose it."""

    def avg_pool(self, x: Any, g: Window, count_padding: bool) -> Any:
        """Mean over each window's image cells, or over all its cells when ``count_padding``."""

    def avg_pool_dx(self, dy: Any, g: Window, count_padding: bool) -> Any:
        """The adjoint of ``avg_pool``."""

    def map(self, body: Callable[..., Expr], *operands: Any, formula: str = "") -> Any:
        """body(entry of each operand) at every entry; batched if any operand is."""

    def reduce(self, how: Literal["sum", "max"], x: Any, over: Literal["channels", "pixels"]) -> Any:
        """Over the channels: (H, W, C) → (H, W, 1). Over all images and pixels (sum only): (H, W, C) → (C,), not batched."""

    def moments(self, x: Any, weight: Any) -> tuple[Any, Any]:
        """(C,) and (C,), not batched: mean and variance of each channel over all images and pixels, images weighted.

        mean = Σ w x / N, variance = Σ w (x − mean)² / N with N = Σ w · H · W; zeros where N = 0.
        """

    def keep(self, x: Any, shape: Shape, rate: float) -> Any:
        """Zeros and ones of ``shape`` for each image of the batch that ``x`` is: 0 with probability ``rate``.

        Drawn by counter (``vecgrad.spec.random.kept``) from the program's seed, its step, which mask of the pass this is, the
        image's number in the batch and the entry. ``x`` itself is not read.
        """

    def concat(self, parts: tuple[Any, ...]) -> Any:
        """The channels of several batched values side by side: (H, W, C₁ + C₂ + …)."""

    def part(self, x: Any, first: int, end: int) -> Any:
        """The channels first … end − 1 of a batched value."""

    def reshape(self, x: Any, shape: Shape) -> Any:
        """The same entries in C order under another shape (per image if batched)."""

    def scalar(self, name: str) -> Expr:
        """A runtime scalar for a map's body: a value that changes from step to step without recompiling.

        Of the images' weights there are those that ``weighing`` names.
        """

    def scope(self, name: str) -> AbstractContextManager[None]:
        """What is emitted inside belongs to the layer of that name."""

    def mark(self, name: str, value: Any) -> None:
        """``value`` is known as ``name`` within the scope: what a trace shows."""


def weighing(total: float, counted: int) -> dict[str, float]:
    """The runtime scalars of images whose weights have the sum ``total``; ``counted`` of them are above 0.

    inverse_weight: one over the sum. inverse_images: one over how many images they stand for: a weight of 2 is an image twice, but
    weights of 1/16 make an image no part of one. Both 0 where there is no weight.

    >>> weighing(5.0, 4), weighing(0.5, 4)
    ({'inverse_weight': 0.2, 'inverse_images': 0.2}, {'inverse_weight': 2.0, 'inverse_images': 0.25})
    """
    if not counted:
        return dict.fromkeys(WEIGHING, 0.0)
    return dict(zip(WEIGHING, (1.0 / total, 1.0 / max(total, counted)), strict=True))
