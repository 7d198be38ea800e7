"""A model's work as one function against an emitter, and as a graph: forward, loss, backward."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vecgrad.graph.nodes import Graph
from vecgrad.graph.record import RecordingEmitter
from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ShapeError
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class Wanted:
    """Which results are asked for. ``prediction`` and ``probabilities`` run forward only.

    training: the layers work as in a training step. statistics: the next values of what is not trained by gradients.
    averaged: of the optimizer's average of the parameters, not of the parameters themselves.
    """

    training: bool = False
    prediction: bool = False
    probabilities: bool = False
    loss: bool = False
    gradients: bool = False
    input_gradient: bool = False
    statistics: bool = False
    trace: bool = False
    averaged: bool = False


@dataclass
class Results:
    """The values that were asked for, as the emitter's values; parameters' gradients and statistics' next values by name."""

    values: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)


def run(
    e: Emitter, model: Any, loss: Any, x: Any, t: Any, w: Any, p: Mapping[str, Any], wanted: Wanted,
    trained: Collection[str] | None = None,
) -> Results:  # fmt: skip
    """What is wanted of ``model``, emitted through ``e``; t, w: target and image weights (None when only forward).

    trained: the names of the parameters that have gradients (None: all); the others are statistics.
    """
    results = Results()
    trained = p if trained is None else trained
    e.weight = w
    y, saved = model.forward(e, x, p)
    if wanted.prediction:
        results.values["prediction"] = y
    if wanted.probabilities:
        results.values["probabilities"] = loss.probabilities(e, y)
    if not (wanted.loss or wanted.gradients or wanted.input_gradient):
        return results
    _stage(e, "loss")
    z, kept = loss.forward(e, y, t, w)
    _expect(z, (1,), False, "the loss's forward")
    if wanted.loss:
        results.values["loss"] = z
    if wanted.gradients or wanted.input_gradient:
        dy = loss.backward(e, kept)
        _expect(dy, y.shape, True, "the loss's backward")
        e.mark("dx", dy)
        _stage(e, "backward")
        dx, gradients = model.backward(e, saved, dy, p)
        if wanted.gradients:
            for name, value in p.items():
                if name in gradients:
                    what = "gradient" if name in trained else "next value"
                    _expect(gradients[name], value.shape, False, f"the {what} of parameter {name}")
                elif name in trained:
                    raise ShapeError(f"parameter {name}: its layer's backward gives no gradient for it")
            results.gradients = {name: gradients[name] for name in p if name in trained}
        if wanted.statistics:
            results.statistics = {
                name: gradients[name] for name in p if name in gradients and name not in trained
            }
        if wanted.input_gradient:
            results.values["dx"] = dx
    return results


def record(
    model: Any,
    loss: Any,
    input_shape: Shape,
    output_shape: Shape,
    shapes: Mapping[str, Shape],
    dtype: str,
    wanted: Wanted,
    trained: Collection[str] | None = None,
) -> Graph:
    """The graph of what is wanted. Inputs: "x", "target", "weight" and "parameter.NAME"; outputs: "prediction",
    "probabilities", "loss", "dx", "gradient.NAME", "statistic.NAME", and for a trace "trace.SCOPE.x", "trace.SCOPE.dx"."""
    e = RecordingEmitter(dtype, wanted.training)
    x = e.input("x", input_shape, True)
    p = {name: e.input(f"parameter.{name}", shape, False) for name, shape in shapes.items()}
    t = w = None
    if wanted.loss or wanted.gradients or wanted.input_gradient:
        t = e.input("target", loss.rows_shape(output_shape), True)
        w = e.input("weight", (), True)
    results = run(e, model, loss, x, t, w, p, wanted, trained)
    e.graph.outputs |= results.values
    e.graph.outputs |= {f"gradient.{name}": value for name, value in results.gradients.items()}
    e.graph.outputs |= {f"statistic.{name}": value for name, value in results.statistics.items()}
    if wanted.trace:
        e.graph.outputs |= {f"trace.{name}": value for name, value in e.marks.items()}
    return e.graph


def record_update(update: Any, entries: int, dtype: str) -> Graph:
    """The update rule over flat arrays of ``entries``: inputs "w", "g" and the arrays kept; outputs "w" and these."""
    e = RecordingEmitter(dtype)
    e.stage = "update"
    w, g = e.input("w", (entries,), False), e.input("g", (entries,), False)
    state = {name: e.input(name, (entries,), False) for name in update.arrays()}
    new, kept = update.advance(e, w, g, state)
    e.graph.outputs |= {"w": new, **kept}
    return e.graph


def record_average(update: Any, entries: int, dtype: str) -> Graph:
    """How the average follows what is not trained: inputs "w" and "average", output "average"."""
    e = RecordingEmitter(dtype)
    e.stage = "update"
    w, average = e.input("w", (entries,), False), e.input("average", (entries,), False)
    e.graph.outputs["average"] = update.followed(e, w, average)
    return e.graph


def _expect(value: Any, shape: Shape, batched: bool, what: str) -> None:
    """What a layer or a loss hands out has the shape that memory is made for."""
    if value.batched != batched or value.shape != shape:
        kinds = ("once", "once per image")
        hint = '; sum over the images with reduce("sum", …, over="pixels")' if value.batched > batched else ""
        raise ShapeError(
            f"{what} has shape {value.shape} {kinds[value.batched]}, expected {shape} {kinds[batched]}{hint}"
        )


def _stage(e: Any, name: str) -> None:
    if isinstance(e, RecordingEmitter):
        e.stage = name
