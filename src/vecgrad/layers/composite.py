"""Layers made of layers: any wiring without cycles, walked forward in order and backward with (1.3) and (1.4).

Where several layers read one value, the gradients that they give it add up: the value is a product with [I; I; …], and its
gradient is one with the transpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from vecgrad.layers.base import Join, Layer, Parameter
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError, ShapeError
from vecgrad.spec.tensor import Shape

# Which values each layer reads: value 0 is the input, value i + 1 what layer i makes. The last layer makes the output.
Wiring = tuple[tuple[int, ...], ...]


class Applied(NamedTuple):
    """One layer at work: its key, the values that it reads, their shapes and its output's."""

    key: str
    layer: Layer
    sources: tuple[int, ...]
    before: tuple[Shape, ...]
    after: Shape


@dataclass(frozen=True)
class Composite(Layer):
    """Base of layers that are made of layers. A subclass says which (``children``) and how they are wired (``wiring``)."""

    def wiring(self) -> Wiring:
        """For each child the values that it reads, each made before it."""
        raise NotImplementedError

    def steps(self, shape: Shape) -> list[Applied]:
        """The layers in order, on an input of ``shape``; ShapeError names the layer that cannot work."""
        shapes, found = [shape], []
        for (key, layer), sources in zip(self.children(), self.wiring(), strict=True):
            before = tuple(shapes[source] for source in sources)
            with _blaming(key, layer, before):
                after = layer.infer_all(before)
            found.append(Applied(key, layer, sources, before, after))
            shapes.append(after)
        return found

    def infer(self, shape: Shape) -> Shape:
        steps = self.steps(shape)
        return steps[-1].after if steps else shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for step in self.steps(shape):
            own = {f"{step.key}.{n}": p for n, p in step.layer.parameters(step.before[0]).items()}
            for name in own.keys() & found.keys():
                if own[name] != found[name] or not (own[name].trained or own[name].fixed):
                    raise located(
                        ShapeError(
                            "the layer is used twice, and its parameters cannot be shared: "
                            + ("it keeps running statistics" if own[name] == found[name] else "shapes differ")
                        ),
                        step.key,
                        step.layer,
                        step.before,
                    )
            found |= own
        return found

    def least_images(self, shape: Shape) -> int:
        return max((step.layer.least_images(step.before[0]) for step in self.steps(shape)), default=1)

    def forward(self, e: Emitter, x: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
        values, saved = [x], []
        for (key, layer), scope, sources in zip(self.children(), self._scopes(), self.wiring(), strict=True):
            inputs = tuple(values[source] for source in sources)
            before = tuple(value.shape for value in inputs)
            with e.scope(scope), _blaming(key, layer, before):
                e.mark("x", inputs[0])
                given = inputs if isinstance(layer, Join) else inputs[0]
                y, kept = layer.forward(e, given, within(p, key))
                _expect(y, layer.infer_all(before), "forward gives")
            values.append(y)
            saved.append((kept, before))
        return values[-1], saved

    def backward(self, e: Emitter, saved: Any, dy: Any, p: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        children, wiring, scopes = self.children(), self.wiring(), self._scopes()
        incoming: dict[int, Any] = {len(children): dy}
        gradients: dict[str, Any] = {}

        def add(into: dict[Any, Any], key: Any, value: Any) -> None:
            into[key] = value if key not in into else e.map(lambda a, b: a + b, into[key], value)

        for number in reversed(range(len(children))):
            (key, layer), sources, (kept, before) = children[number], wiring[number], saved[number]
            with e.scope(scopes[number]), _blaming(key, layer, before):
                found, own = layer.backward(e, kept, incoming.pop(number + 1), within(p, key))
                given = found if isinstance(layer, Join) else (found,)
                for source, shape, dx in zip(sources, before, given, strict=True):
                    _expect(dx, shape, "backward gives ∂z/∂x of")
                    add(incoming, source, dx)
                e.mark("dx", given[0])
                for name, value in own.items():
                    add(gradients, f"{key}.{name}", value)
        return incoming[0], gradients

    def _scopes(self) -> list[str]:
        """The names under which the layers work: their keys; "key#2" where a layer is used for the second time."""
        uses: Counter[str] = Counter()
        found = []
        for key, _ in self.children():
            uses[key] += 1
            found.append(key if uses[key] == 1 else f"{key}#{uses[key]}")
        return found

    def flops(self, shape: Shape) -> int:
        return sum(step.layer.flops(step.before[0]) for step in self.steps(shape))


@contextmanager
def _blaming(key: str, layer: Layer, shapes: tuple[Shape, ...]) -> Iterator[None]:
    """Errors from inside say which layer they come from."""
    try:
        yield
    except (ShapeError, ArgumentError) as error:
        raise located(error, key, layer, shapes) from None


def beginnings(model: Layer) -> list[Layer]:
    """The layers that read the model's input, those within its layers; of a model that hands its input on, none."""
    if not isinstance(model, Composite):
        return [model]
    found: list[Layer] = []
    inputs = {0}
    for number, ((_, layer), sources) in enumerate(zip(model.children(), model.wiring(), strict=True), 1):
        if inputs.intersection(sources):
            within = beginnings(layer)
            found += within
            if not within:
                inputs.add(number)
    return found


def ending(model: Layer) -> Layer:
    """The layer that makes the model's output, within its layers."""
    while isinstance(model, Composite) and model.children():
        model = model.children()[-1][1]
    return model


def _expect(value: Any, shape: Shape, what: str) -> None:
    if not value.batched or value.shape != shape:
        one = "" if value.batched else ", the same for all images"
        raise ShapeError(f"{what} shape {value.shape}{one}, expected {shape} for each image")


def within(p: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The entries below ``key``, by their names there."""
    prefix = key + "."
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def keys_of(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Each layer's name, or its number. Raises ArgumentError for what is no layer, and for names that are no names."""
    for number, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f"; did you mean {layer.__name__}(…)?" if isinstance(layer, type) else ""
            raise ArgumentError(f"layer {number} is {layer!r}, which is not a layer{hint}")
    keys = tuple(layer.name or str(number) for number, layer in enumerate(layers))
    for key in keys:
        if "." in key or not key:
            raise ArgumentError(f"a layer's name must be a word without dots, got {key!r}")
        if keys.count(key) > 1:
            raise ArgumentError(f"two layers are named {key!r}; names within a model must differ")
    return keys


def located(
    error: ShapeError | ArgumentError, key: str, layer: Layer, shapes: tuple[Shape, ...]
) -> ShapeError:
    """The error with the path of the layer that raised it in front."""
    path, detail = getattr(error, "located", (None, None))
    if path is None:
        path, detail = key, f"{layer} on input {' and '.join(map(str, shapes))}: {error}"
    else:
        path = f"{key}.{path}"
    found = ShapeError(f"layer {path}, {detail}")
    found.located = (path, detail)  # type: ignore[attr-defined]
    return found
