"""Models of any wiring: layers are called on symbols, and what leads from the input to the output is the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vecgrad.layers.base import Layer, Symbol
from vecgrad.layers.composite import Composite, Wiring, keys_of
from vecgrad.spec.errors import ArgumentError


def Input(shape: Iterable[int] | None = None) -> Symbol:
    """A model's input, to call layers on. With its shape (H, W, C), what does not fit is told where it is written.

    >>> Input((8, 8, 3)).shape
    (8, 8, 3)
    """
    return Symbol(None if shape is None else tuple(shape))


@dataclass(frozen=True, init=False)
class Model(Composite):
    """What leads from ``inputs`` to ``outputs``, both symbols: any acyclic wiring with one input and one output.

    A value may have any number of readers, and a layer that is called twice shares its parameters. Layers are known by
    their numbers, in an order in which everything is made before it is read, or by their names.

    layers, calls: the same as data. Each call is (layer's number, values that it reads); value 0 is the input, value i + 1
    what call i makes.

    >>> from vecgrad.layers import Concat, Conv2D, ReLU
    >>> x = Input((8, 8, 3))
    >>> a = ReLU()(Conv2D(4, 3, padding=1)(x))
    >>> model = Model(x, Concat()(a, Conv2D(5, 1)(a)))
    >>> model.infer((8, 8, 3)), model.calls
    ((8, 8, 9), ((0, 0), (1, 1), (2, 2), (3, 2, 3)))
    """

    layers: tuple[Layer, ...]
    calls: tuple[tuple[int, ...], ...]

    def __init__(
        self,
        inputs: Symbol | None = None,
        outputs: Symbol | None = None,
        *,
        layers: Iterable[Layer] = (),
        calls: Iterable[Iterable[int]] = (),
        name: str | None = None,
    ) -> None:
        if inputs is not None or outputs is not None:
            layers, calls = _traced(inputs, outputs)
        object.__setattr__(self, "layers", tuple(layers))
        object.__setattr__(self, "calls", tuple(tuple(call) for call in calls))
        object.__setattr__(self, "name", name)
        _check(self.layers, self.calls)

    def children(self) -> tuple[tuple[str, Layer], ...]:
        keys = keys_of(self.layers)
        return tuple((keys[call[0]], self.layers[call[0]]) for call in self.calls)

    def wiring(self) -> Wiring:
        return tuple(call[1:] for call in self.calls)

    def __str__(self) -> str:
        return f"Model of {len(self.layers)} layers"


def _traced(inputs: Symbol | None, outputs: Symbol | None) -> tuple[list[Layer], list[tuple[int, ...]]]:
    """The layers between two symbols, and their calls in an order in which everything is made before it is read."""
    for symbol, what in ((inputs, "inputs"), (outputs, "outputs")):
        if not isinstance(symbol, Symbol):
            raise ArgumentError(f"{what} must be what Input() or a layer gave, got {symbol!r}")
    assert inputs is not None
    assert outputs is not None
    if inputs.layer is not None:
        raise ArgumentError(f"inputs must be what Input() gave, got the output of {inputs.layer}")
    if outputs is inputs:
        raise ArgumentError("outputs is the input itself; call at least one layer on it")
    value = {inputs: 0}
    layers: dict[int, Layer] = {}
    calls: list[tuple[int, ...]] = []
    stack = [(outputs, False)]
    while stack:
        symbol, ready = stack.pop()
        if symbol in value:
            continue
        if symbol.layer is None:
            raise ArgumentError(
                "outputs depend on a second Input(); a model has one: build all of it on the one passed as inputs"
            )
        if not ready:
            stack.append((symbol, True))
            stack.extend((source, False) for source in reversed(symbol.sources))
            continue
        # The same object is the same layer; equal ones, like two ReLUs, are not.
        layers.setdefault(id(symbol.layer), symbol.layer)
        number = list(layers).index(id(symbol.layer))
        calls.append((number, *(value[source] for source in symbol.sources)))
        value[symbol] = len(calls)
    return list(layers.values()), calls


def _check(layers: tuple[Layer, ...], calls: tuple[tuple[int, ...], ...]) -> None:
    """ArgumentError for calls with a cycle, of a value that does not exist, or of one that nothing reads."""
    keys = keys_of(layers)
    for number, call in enumerate(calls):
        if not call:
            raise ArgumentError(
                f"call {number} is empty, expected the number of a layer and of what it reads"
            )
        which, *sources = call
        if not _within(which, len(layers)):
            raise ArgumentError(f"call {number} is of layer {which}, expected 0 to {len(layers) - 1}")
        where = f"layer {keys[which]}, {layers[which]}, reads"
        if not sources:
            raise ArgumentError(f"{where} nothing, expected 0 (the input) to {number}")
        for source in sources:
            if not _within(source, len(calls) + 1):
                raise ArgumentError(f"{where} value {source}, expected 0 (the input) to {number}")
            if source > number:
                maker = keys[calls[source - 1][0]]
                raise ArgumentError(
                    f"{where} value {source}, made by layer {maker} at or behind it: a cycle; calls must stand "
                    f"behind those that make what they read"
                )
    read = {source for call in calls for source in call[1:]}
    called = {call[0] for call in calls}
    for number, call in enumerate(calls[:-1]):
        if number + 1 not in read:
            raise ArgumentError(
                f"nothing reads layer {keys[call[0]]}, {layers[call[0]]}; connect it or leave it out"
            )
    for number, layer in enumerate(layers):
        if number not in called:
            raise ArgumentError(f"layer {keys[number]}, {layer}, is never called; call it or leave it out")
    if calls and 0 not in read:
        raise ArgumentError("no layer reads the input")


def _within(value: object, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end
