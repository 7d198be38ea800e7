"""What a model is, before it runs: shapes, parameters, arithmetic, receptive field, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from vecgrad.layers.base import Layer
from vecgrad.layers.composite import Composite
from vecgrad.layers.reshape import Flatten
from vecgrad.layers.sequential import Sequential
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.machine import ITEM_BYTES
from vecgrad.spec.tensor import Shape, size


@dataclass(frozen=True)
class Row:
    """One layer. ``flops`` (a multiply-add is two) and ``memory`` (bytes of the output) are those of one image.

    ``receptive_field`` is the part (height, width) of the image that an entry of the output can depend on.
    """

    path: str
    layer: str
    output_shape: Shape
    parameters: int
    flops: int
    receptive_field: tuple[int, int]
    memory: int


@dataclass(frozen=True)
class Summary:
    """A row for each layer, in order; ``str`` of it is a table."""

    input_shape: Shape
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Entries of all parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of one image's forward pass."""
        return sum(row.flops for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of one image's activations, the image itself left out."""
        return sum(row.memory for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The rows and the totals."""
        totals = {"parameters": self.parameters, "flops": self.flops, "memory": self.memory}
        return {"input_shape": self.input_shape, "layers": [asdict(row) for row in self.rows], **totals}

    def __str__(self) -> str:
        head = ("path", "layer", "output", "parameters", "FLOPs", "sees", "bytes")
        body = [
            (
                row.path,
                row.layer,
                _by(row.output_shape),
                f"{row.parameters:,}",
                f"{row.flops:,}",
                _by(row.receptive_field),
                f"{row.memory:,}",
            )
            for row in self.rows
        ]
        first = ("", "input", _by(self.input_shape), "", "", "", "")
        total = ("", "total", "", f"{self.parameters:,}", f"{self.flops:,}", "", f"{self.memory:,}")
        table = [head, first, *body, total]
        widths = [max(len(line[i]) for line in table) for i in range(len(head))]
        lines = [
            "  ".join(_cell(line[i], widths[i], i < 3) for i in range(len(head))).rstrip() for line in table
        ]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(model: Layer | Iterable[Layer], input_shape: Iterable[int], *, dtype: str = "float32") -> Summary:
    """What ``model`` is on images of ``input_shape`` (H, W, C), layer by layer; nothing is computed.

    Bytes are those of one image's activations in ``dtype``. The receptive field ends at the image's border.
    Raises ShapeError naming the layer that cannot work.

    >>> from vecgrad.layers import Conv2D, ReLU
    >>> print(summary([Conv2D(8, 3), ReLU()], (8, 8, 1)))
    path  layer         output  parameters  FLOPs  sees  bytes
    ──────────────────────────────────────────────────────────
          input         8×8×1
    0     Conv2D(8, 3)  6×6×8           80  5,184   3×3  1,152
    1     ReLU()        6×6×8            0    288   3×3  1,152
    ──────────────────────────────────────────────────────────
          total                         80  5,472        2,304
    """
    if dtype not in ITEM_BYTES:
        raise ArgumentError(f"dtype must be one of {', '.join(map(repr, ITEM_BYTES))}, got {dtype!r}")
    model = model if isinstance(model, Layer) else Sequential(model)
    shape = tuple(input_shape)
    model.infer(shape)
    rows: list[Row] = []
    for path, layer, before, after, sight in _leaves(model, (shape,), (_Sight((1, 1), (1, 1), (1, 1)),)):
        seen = tuple(min(field, side) for field, side in zip(sight.field, (*shape, 1, 1), strict=False))
        rows.append(
            Row(
                path,
                str(layer),
                after,
                # A layer that is used again has been counted.
                0
                if any(path == row.path for row in rows)
                else sum(size(parameter.shape) for parameter in layer.parameters(before[0]).values()),
                layer.flops(before[0]),
                (seen[0], seen[1]),
                0 if isinstance(layer, Flatten) else size(after) * ITEM_BYTES[dtype],
            )
        )
    return Summary(shape, tuple(rows))


@dataclass(frozen=True)
class _Sight:
    """How an entry sees the image: its field, the image pixels from one entry to the next, and how many
    places of a map lie side by side within one vector (after Flatten)."""

    field: tuple[int, int]
    jump: tuple[int, int]
    spread: tuple[int, int]

    def through(self, layer: Layer, before: Shape, after: Shape) -> _Sight:
        window = layer.window(before)
        if window is None:
            flattens = len(before) == 3 and len(after) == 1
            return replace(self, spread=(before[0], before[1])) if flattens else self
        axes = (window.rows, window.cols)
        reach = tuple(axes[i].extent - 1 + self.spread[i] - 1 for i in (0, 1))
        field = (self.field[0] + reach[0] * self.jump[0], self.field[1] + reach[1] * self.jump[1])
        jump = (self.jump[0] * axes[0].stride, self.jump[1] * axes[1].stride)
        return _Sight(field, jump, (1, 1))


_Leaf = tuple[str, Layer, tuple[Shape, ...], Shape, "_Sight"]


def _leaves(
    model: Layer, shapes: tuple[Shape, ...], sights: tuple[_Sight, ...], path: str = ""
) -> Iterator[_Leaf]:
    """(path, layer, shapes in, shape out, what an entry of the output sees) of the layers inside all composites."""
    if not isinstance(model, Composite):
        after = model.infer_all(shapes)
        widest = _Sight(
            *(_widest(getattr(sight, name) for sight in sights) for name in ("field", "jump", "spread"))
        )
        yield path or model.name or "0", model, shapes, after, widest.through(model, shapes[0], after)
        return
    seen = [sights[0]]
    for step in model.steps(shapes[0]):
        inner = f"{path}.{step.key}" if path else step.key
        leaves = list(_leaves(step.layer, step.before, tuple(seen[source] for source in step.sources), inner))
        yield from leaves
        seen.append(leaves[-1][-1] if leaves else seen[step.sources[0]])


def _widest(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    rows, cols = zip(*pairs, strict=True)
    return max(rows), max(cols)


def _by(sides: tuple[int, ...]) -> str:
    return "×".join(map(str, sides))


def _cell(text: str, width: int, left: bool) -> str:
    return f"{text:<{width}}" if left else f"{text:>{width}}"
