"""What a layer is: shapes, parameters with their initial laws, a forward pass and its closed-form backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.geometry import Window
from vecgrad.spec.tensor import Shape

Initial = Literal[
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_uniform", "identity", "zeros", "ones"
]
INITIALS: tuple[str, ...] = (
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_uniform", "identity", "zeros", "ones",
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """A parameter's shape and the law of its first value.

    he_*: variance 2 / fan_in (He et al. 2015); glorot_*: 2 / (fan_in + fan_out) (Glorot and Bengio 2010);
    lecun_uniform: 1 / (3 fan_in), PyTorch's default for convolutions. identity: a convolution's first filters hand on a channel
    each, the others are lecun_uniform.
    trained: it has a gradient, which the optimizer follows. Else it is a *statistic*, which the layer's backward pass
    gives its next value, or ``fixed`` and stays as it is.
    """

    shape: Shape
    initial: Initial
    fan_in: int = 1
    fan_out: int = 1
    trained: bool = True
    fixed: bool = False


@dataclass(frozen=True)
class Layer:
    """Base of all layers. ``name`` replaces the layer's number in parameter names and messages.

    A layer written elsewhere needs ``infer``, ``forward`` and ``backward``, and ``parameters`` if it has any.
    """

    name: str | None = field(default=None, kw_only=True)

    def __call__(self, *values: Symbol) -> Symbol:
        """This layer's output on symbolic values: how models other than chains are written down (see ``Model``)."""
        return applied(self, values)

    def infer(self, shape: Shape) -> Shape:
        """The output's shape per image. Raises ShapeError when the input's shape cannot work."""
        return shape

    def infer_all(self, shapes: tuple[Shape, ...]) -> Shape:
        """``infer`` for as many inputs as the layer takes: one, unless it is a ``Join``."""
        (shape,) = shapes
        return self.infer(shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """The parameters for an input of ``shape``, in their public order."""
        return {}

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        """(y, what backward needs) from x and the parameters ``p``."""
        raise NotImplementedError

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(∂z/∂x, {parameter: ∂z/∂parameter}) from ∂z/∂y; for a statistic, its next value in place of a gradient."""
        raise NotImplementedError

    def least_images(self, shape: Shape) -> int:
        """The images that a training step needs at least."""
        return 1

    def window(self, shape: Shape) -> Window | None:
        """The window through which an output pixel sees the input, for receptive fields; None: pixel by pixel."""
        return None

    def scatter(self, shape: Shape) -> Window | None:
        """For a layer that runs a window backward: the window, from the layer's output to its input, for receptive fields."""
        return None

    def flops(self, shape: Shape) -> int:
        """Floating-point operations of the forward pass for one image, multiply-adds counted as two; 0 if negligible."""
        return 0

    def children(self) -> tuple[tuple[str, Layer], ...]:
        """Inner layers with their keys, for a layer that is made of layers."""
        return ()

    def __str__(self) -> str:
        shown = []
        for f in sorted(fields(self), key=lambda f: f.kw_only is True):
            value = getattr(self, f.name)
            if f.kw_only and value == f.default:
                continue
            if f.name in ("filters", "units", "kernel_size", "pool_size"):
                shown.append(f"{value}")
            elif value != f.default:
                shown.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True)
class Join(Layer):
    """Base of layers with several inputs: ``forward`` takes a tuple of values, ``backward`` gives as many gradients."""

    def __call__(self, *values: Symbol | Sequence[Symbol]) -> Symbol:
        """On symbolic values, one by one or as one list."""
        one = values[0] if len(values) == 1 else values
        return applied(self, tuple(one) if isinstance(one, (list, tuple)) else values)

    def infer(self, shape: Shape) -> Shape:
        return self.infer_all((shape,))

    def infer_all(self, shapes: tuple[Shape, ...]) -> Shape:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Symbol:
    """A value of a model that is being written down: what ``Input()`` gives and a layer called on symbols makes.

    shape: per image, if that of the input was given. layer, sources: what it was made by (None: it is an input), and of what.
    """

    shape: Shape | None
    layer: Layer | None = None
    sources: tuple[Symbol, ...] = ()

    def __repr__(self) -> str:
        """Without its sources, and theirs: a value may be read many times over."""
        made = "Input" if self.layer is None else f"output of {self.layer}"
        return f"<{made}{'' if self.shape is None else f', {self.shape}'}>"


def applied(layer: Layer, values: tuple[Any, ...]) -> Symbol:
    """What ``layer`` makes of ``values``. Raises ShapeError naming the layer where shapes are known and do not work."""
    for value in values:
        if not isinstance(value, Symbol):
            raise ArgumentError(
                f"{layer} was called on {type(value).__name__}, expected what Input() or another layer gave; "
                f"to compute, compile the model"
            )
    if not values:
        raise ArgumentError(f"{layer} was called on nothing; pass what Input() or another layer gave")
    if len(values) > 1 and not isinstance(layer, Join):
        raise ArgumentError(
            f"{layer} takes one value, got {len(values)}; join them first, by Add() or Concat()"
        )
    shapes = tuple(value.shape for value in values)
    known_shapes = tuple(shape for shape in shapes if shape is not None)
    shape = None
    if len(known_shapes) == len(shapes):
        try:
            shape = layer.infer_all(known_shapes)
        except ShapeError as error:
            inputs = " and ".join(map(str, known_shapes))
            raise ShapeError(f"{layer} on {inputs}: {error}") from None
    return Symbol(shape, layer, values)


def image_shape(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """(H, W, C), or ShapeError for an input that is not an image."""
    if len(shape) != 3:
        raise ShapeError(
            f"needs an image (height, width, channels), got shape {shape}; "
            f"place {type(layer).__name__} before Flatten and Dense"
        )
    return (shape[0], shape[1], shape[2])


def positive(value: object, what: str) -> None:
    """ArgumentError unless ``value`` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{what} must be a positive integer, got {value!r}")


def finite(value: object, what: str, least: float, below: float = float("inf")) -> None:
    """ArgumentError unless ``value`` is a number from ``least`` on and below ``below``."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value < below:  # type: ignore[operator]
        end = "finite number" if below == float("inf") else f"number below {below:g},"
        raise ArgumentError(f"{what} must be a {end} of at least {least:g}, got {value!r}")


def known(value: object, what: str, choices: tuple[str, ...]) -> None:
    """ArgumentError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ArgumentError(f"{what} must be one of {', '.join(map(repr, choices))}, got {value!r}")
