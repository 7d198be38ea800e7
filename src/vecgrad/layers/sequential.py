"""A chain of layers is itself a layer: (1.3) and (1.4) walked from the last layer to the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vecgrad.layers.base import Layer, Parameter
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Layers one behind the other. Each is known by its number, or by its ``name``.

    >>> from vecgrad.layers import Conv2D, ReLU
    >>> list(Sequential([Conv2D(8, 3), ReLU()]).parameters((8, 8, 1)))
    ['0.weight', '0.bias']
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer], *, name: str | None = None) -> None:
        chain = tuple(layers)
        for number, layer in enumerate(chain):
            if not isinstance(layer, Layer):
                hint = f"; did you mean {layer.__name__}(…)?" if isinstance(layer, type) else ""
                raise ArgumentError(f"layer {number} is {layer!r}, which is not a layer{hint}")
        keys = [layer.name or str(number) for number, layer in enumerate(chain)]
        for key in keys:
            if "." in key or not key:
                raise ArgumentError(f"a layer's name must be a word without dots, got {key!r}")
            if keys.count(key) > 1:
                raise ArgumentError(f"two layers are named {key!r}; names within a model must differ")
        object.__setattr__(self, "layers", chain)
        object.__setattr__(self, "name", name)

    def children(self) -> tuple[tuple[str, Layer], ...]:
        return tuple((layer.name or str(number), layer) for number, layer in enumerate(self.layers))

    def steps(self, shape: Shape) -> list[tuple[str, Layer, Shape, Shape]]:
        """(key, layer, shape in, shape out) along the chain; ShapeError names the layer that cannot work."""
        found = []
        for key, layer in self.children():
            with _blaming(key, layer, shape):
                after = layer.infer(shape)
            found.append((key, layer, shape, after))
            shape = after
        return found

    def infer(self, shape: Shape) -> Shape:
        steps = self.steps(shape)
        return steps[-1][3] if steps else shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {
            f"{key}.{name}": parameter
            for key, layer, before, _ in self.steps(shape)
            for name, parameter in layer.parameters(before).items()
        }

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        saved = []
        for key, layer in self.children():
            before = x.shape
            with e.scope(key), _blaming(key, layer, before):
                e.mark("x", x)
                x, kept = layer.forward(e, x, within(p, key))
                _expect(x, layer.infer(before), "forward gives")
                saved.append((kept, before))
        return x, saved

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        gradients: dict[str, Any] = {}
        for (key, layer), (kept, before) in zip(reversed(self.children()), reversed(saved), strict=True):
            with e.scope(key), _blaming(key, layer, before):
                dy, own = layer.backward(e, kept, dy, within(p, key))
                _expect(dy, before, "backward gives ∂z/∂x of")
                e.mark("dx", dy)
            gradients |= {f"{key}.{name}": value for name, value in own.items()}
        return dy, gradients

    def flops(self, shape: Shape) -> int:
        return sum(layer.flops(before) for _, layer, before, _ in self.steps(shape))

    def __str__(self) -> str:
        return f"Sequential of {len(self.layers)} layers"


@contextmanager
def _blaming(key: str, layer: Layer, shape: Shape) -> Iterator[None]:
    """Errors from inside say which layer they come from."""
    try:
        yield
    except (ShapeError, ArgumentError) as error:
        raise located(error, key, layer, shape) from None


def _expect(value: Any, shape: Shape, what: str) -> None:
    if not value.batched or value.shape != shape:
        one = "" if value.batched else ", the same for all images"
        raise ShapeError(f"{what} shape {value.shape}{one}, expected {shape} for each image")


def within(p: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The entries below ``key``, by their names there."""
    prefix = key + "."
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def located(error: ShapeError | ArgumentError, key: str, layer: Layer, shape: Shape) -> ShapeError:
    """The error with the path of the layer that raised it in front."""
    path, detail = getattr(error, "located", (None, None))
    if path is None:
        path, detail = key, f"{layer} on input {shape}: {error}"
    else:
        path = f"{key}.{path}"
    found = ShapeError(f"layer {path}, {detail}")
    found.located = (path, detail)  # type: ignore[attr-defined]
    return found
