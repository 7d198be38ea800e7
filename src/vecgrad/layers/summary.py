"""What a model is, before it runs: shapes, parameters, arithmetic, receptive field, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
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

    ``parameters`` counts the entries that are trained, ``not_trained`` the others: statistics, and kernels that are frozen.
    ``receptive_field`` is the part (height, width) of the image that an entry of the output can depend on.
    """

    path: str
    layer: str
    output_shape: Shape
    parameters: int
    flops: int
    receptive_field: tuple[int, int]
    memory: int
    not_trained: int = 0


@dataclass(frozen=True)
class Summary:
    """A row for each layer, in order; ``str`` of it is a table."""

    input_shape: Shape
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Entries of all parameters that are trained."""
        return sum(row.parameters for row in self.rows)

    @property
    def not_trained(self) -> int:
        """Entries of all others, such as the statistics of batch normalization."""
        return sum(row.not_trained for row in self.rows)

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
        totals = ("parameters", "not_trained", "flops", "memory")
        rows = [asdict(row) for row in self.rows]
        return {
            "input_shape": self.input_shape,
            "layers": rows,
            **{name: getattr(self, name) for name in totals},
        }

    def __str__(self) -> str:
        head = ("path", "layer", "output", "parameters", "not trained", "FLOPs", "sees", "bytes")
        body = [
            (
                row.path,
                row.layer,
                _by(row.output_shape),
                f"{row.parameters:,}",
                f"{row.not_trained:,}",
                f"{row.flops:,}",
                _by(row.receptive_field),
                f"{row.memory:,}",
            )
            for row in self.rows
        ]
        first = ("", "input", _by(self.input_shape), "", "", "", "", "")
        counts = (f"{self.parameters:,}", f"{self.not_trained:,}", f"{self.flops:,}")
        total = ("", "total", "", *counts, "", f"{self.memory:,}")
        table: list[tuple[str, ...]] = [head, first, *body, total]
        if not self.not_trained:
            table = [(*line[:4], *line[5:]) for line in table]
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(_cell(line[i], widths[i], i < 3) for i in range(len(table[0]))).rstrip()
            for line in table
        ]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(model: Layer | Iterable[Layer], input_shape: Iterable[int], *, dtype: str = "float32") -> Summary:
    """What ``model`` is on images of ``input_shape`` (H, W, C), layer by layer; nothing is computed.

    Bytes are those of one image's activations in ``dtype``. The receptive field ends at the image's border; what
    normalization knows of other pixels is not counted. What is not trained has a column where there is any.
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
    for path, layer, before, after, sight in _leaves(model, (shape,), (_Sight(),)):
        seen = tuple(min(sight.seen(axis), side) for axis, side in enumerate((*shape, 1, 1)[:2]))
        # A layer that is used again has been counted.
        again = any(path == row.path for row in rows)
        stated = () if again else layer.parameters(before[0]).values()
        trained, others = (sum(size(p.shape) for p in stated if p.trained == kind) for kind in (True, False))
        rows.append(
            Row(
                path,
                str(layer),
                after,
                trained,
                layer.flops(before[0]),
                (seen[0], seen[1]),
                0 if isinstance(layer, Flatten) else size(after) * ITEM_BYTES[dtype],
                others,
            )
        )
    return Summary(shape, tuple(rows))


@dataclass(frozen=True, eq=False)
class _Sight:
    """How neighbouring entries see the image: through a layer, as what it reads does.

    reach: entries of the layer's input that so many of its outputs in a row read, per axis; None: the image itself.
    sources: how the layer's inputs see. spread: how many places of a map lie side by side within one vector (after Flatten).
    """

    sources: tuple[_Sight, ...] = ()
    reach: Callable[[int, int], int] | None = None
    spread: tuple[int, int] = (1, 1)
    known: dict[tuple[int, int], int] = field(default_factory=dict)

    def seen(self, axis: int, count: int = 1) -> int:
        """Image pixels along an axis (0: height) that ``count`` neighbouring entries can depend on."""
        waiting = [(self, count)]  # a stack of its own: models are deeper than Python's
        while waiting:
            sight, here = waiting[-1]
            inside = here if sight.reach is None else sight.reach(axis, here)
            unknown = [source for source in sight.sources if (axis, inside) not in source.known]
            if unknown:
                waiting.extend((source, inside) for source in unknown)
                continue
            behind = (source.known[axis, inside] for source in sight.sources)
            sight.known[axis, here] = here if sight.reach is None else max(behind, default=0)
            waiting.pop()
        return self.known[axis, count]


def _through(sources: tuple[_Sight, ...], layer: Layer, before: Shape, after: Shape) -> _Sight:
    """How the output of a layer sees."""
    window, scatter = layer.window(before), layer.scatter(before)
    rows, cols = (max(source.spread[axis] for source in sources) for axis in (0, 1))
    if scatter is not None:
        there = (scatter.rows, scatter.cols)
        # Of the input pixels that write into a run, the first and the last lie at most count + extent − 2 apart.
        return _Sight(sources, lambda axis, count: (count + there[axis].extent - 2) // there[axis].stride + 1)
    if window is not None:
        axes, spread = (window.rows, window.cols), (rows, cols)
        return _Sight(
            sources,
            lambda axis, count: axes[axis].stride * (count - 1) + axes[axis].extent + spread[axis] - 1,
        )
    if len(sources) == 1 and len(before) == len(after):
        return sources[0]
    flattens = len(before) == 3 and len(after) == 1
    return _Sight(sources, lambda axis, count: count, (before[0], before[1]) if flattens else (rows, cols))


_Leaf = tuple[str, Layer, tuple[Shape, ...], Shape, "_Sight"]


def _leaves(
    model: Layer, shapes: tuple[Shape, ...], sights: tuple[_Sight, ...], path: str = ""
) -> Iterator[_Leaf]:
    """(path, layer, shapes in, shape out, what an entry of the output sees) of the layers inside all composites."""
    if not isinstance(model, Composite):
        after = model.infer_all(shapes)
        yield path or model.name or "0", model, shapes, after, _through(sights, model, shapes[0], after)
        return
    seen = [sights[0]]
    for step in model.steps(shapes[0]):
        inner = f"{path}.{step.key}" if path else step.key
        leaves = list(_leaves(step.layer, step.before, tuple(seen[source] for source in step.sources), inner))
        yield from leaves
        seen.append(leaves[-1][-1] if leaves else seen[step.sources[0]])


def _by(sides: tuple[int, ...]) -> str:
    return "×".join(map(str, sides))


def _cell(text: str, width: int, left: bool) -> str:
    return f"{text:<{width}}" if left else f"{text:>{width}}"
