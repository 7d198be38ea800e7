"""Gradient checks to point at layers, losses and models of your own.

Forward and backward run in float64 on random data. What backward says of a direction, ⟨∂z/∂v, u⟩, is compared with what
forward does along it: where forward is linear in v by the adjoint identity ⟨∂z/∂y, J u⟩ = ⟨Jᵀ ∂z/∂y, u⟩, which holds to
rounding; elsewhere by central differences of fourth order, whose step is chosen so that two of them agree, at a
point that is drawn anew when a kink or a tie lies too near. Where the derivative is zero, as of a bias that a normalization
takes away again, both sides are nothing but rounding, and pass when they do not exceed what rounding can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vecgrad.check._differences import Point, Problem, along, wrong_entry
from vecgrad.graph.build import Wanted, run
from vecgrad.graph.eager import EagerEmitter, EagerValue
from vecgrad.layers import Layer, Parameter, Sequential
from vecgrad.losses import LOSSES, Loss, by_name
from vecgrad.spec.emitter import weighing
from vecgrad.spec.errors import ArgumentError, VecgradError
from vecgrad.spec.tensor import Shape

Array = np.ndarray[Any, np.dtype[Any]]

TOLERANCE = 1e-7
"""Largest relative error of a gradient that central differences confirm."""
LINEAR_TOLERANCE = 1e-11
"""Largest relative error where the adjoint identity is exact but for rounding."""
_ATTEMPTS = 8


class GradientError(VecgradError, AssertionError):
    """A backward pass disagrees with its forward pass. ``report`` has what was found."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class Finding:
    """The gradient with respect to ``subject`` ("x" or a parameter) along the direction on which it does worst.

    ``backward`` and ``forward`` are the derivative as the backward pass says and as the forward pass does;
    ``error`` is their distance over the gradient's norm. Of a wrong gradient ``entry`` is one that is wrong, with
    the two numbers there. ``settled`` is False where forward is too rough to be differentiated.
    """

    where: str
    subject: str
    method: Literal["adjoint", "differences"]
    backward: float
    forward: float
    error: float
    tolerance: float
    settled: bool = True
    entry: tuple[int, ...] | None = None
    entry_backward: float | None = None
    entry_forward: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the two numbers agree to the tolerance, at a step where differences are to be trusted."""
        return self.settled and self.error <= self.tolerance

    def __str__(self) -> str:
        if not self.settled:
            return (
                f"{self.where}: differences of forward in {self.subject} do not settle at any of {_ATTEMPTS} random "
                f"points; is it continuous?"
            )
        text = (
            f"{self.where}: gradient of {self.subject}: backward says {self.backward:.10g} along a direction, "
            f"forward {self.forward:.10g} (relative error {self.error:.1e}, {self.method})"
        )
        if self.entry is not None:
            text += f"; at entry {self.entry}: {self.entry_backward:.10g} against {self.entry_forward:.10g}"
        return text


@dataclass(frozen=True)
class Report:
    """A finding for the input and for each parameter."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every finding passed."""
        return all(found.passed for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {"passed": self.passed, "findings": [asdict(found) for found in self.findings]}

    def __str__(self) -> str:
        return "\n".join(f"{'ok   ' if found.passed else 'WRONG'} {found}" for found in self.findings)


def layer(
    layer: Layer,
    input_shape: Iterable[int],
    *,
    images: int = 2,
    directions: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    strict: bool = True,
    training: bool = True,
) -> Report:
    """Check a layer's backward pass on inputs of ``input_shape`` per image.

    images: in a batch. directions: random ones for the input and for each parameter. strict: raise GradientError
    when a gradient is wrong, naming it, an entry and both numbers; else the report tells. A factor of 1 + 10⁻⁵
    in a gradient is found. training: as in a training step, with random masks held fixed, else as in a prediction. Statistics
    have no gradient and are left out. ReLU'(0) and the like cannot be: the points lie off kinks and ties.

    Raises GradientError, and ShapeError for an input that the layer does not take.

    >>> from vecgrad.layers import Conv2D
    >>> layer(Conv2D(2, 3), (5, 5, 1)).passed
    True
    """
    shape = tuple(input_shape)
    output = layer.infer(shape)
    stated = layer.parameters(shape)
    weight = np.random.default_rng(seed).uniform(0.5, 1.5, images)
    scalars = weighing(float(weight.sum()), images) | {"seed_low": float(seed)}
    where = f"{layer} on input {shape}"

    def values(point: Point) -> tuple[EagerEmitter, Any, Any, dict[str, EagerValue]]:
        e = EagerEmitter(scalars, np.float64, training)
        e.weight = EagerValue(weight, True)
        p = {name: EagerValue(point[name], False) for name in stated}
        return e, *layer.forward(e, EagerValue(point["x"], True), p), p

    def forward(point: Point) -> Array:
        y: Array = values(point)[1].array
        return y

    def backward(point: Point, dy: Array) -> Point:
        e, _, saved, p = values(point)
        dx, gradients = layer.backward(e, saved, EagerValue(dy, True), p)
        return {"x": dx.array} | {name: value.array for name, value in gradients.items()}

    def draw(rng: np.random.Generator) -> Point:
        return {"x": rng.normal(size=(images, *shape))} | _drawn(stated, rng)

    problem = Problem(where, draw, forward, backward, (images, *output), _statistics(stated))
    return _checked(problem, directions, seed, tolerance, strict)


def loss(
    loss: str | Loss,
    output_shape: Iterable[int],
    *,
    images: int = 3,
    directions: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    strict: bool = True,
) -> Report:
    """Check a loss's gradient on predictions of ``output_shape`` per image, with weights; otherwise as ``layer``.

    >>> loss("cross_entropy", (5,)).passed
    True
    """
    return model(
        Sequential([]),
        output_shape,
        loss,
        images=images,
        directions=directions,
        seed=seed,
        tolerance=tolerance,
        strict=strict,
    )


def model(
    model: Layer | Iterable[Layer],
    input_shape: Iterable[int],
    loss: str | Loss = "cross_entropy",
    *,
    images: int = 2,
    directions: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    strict: bool = True,
    training: bool = True,
) -> Report:
    """Check all gradients of a model with its loss: ∂z/∂x and ∂z/∂w for every parameter; otherwise as ``layer``.

    >>> from vecgrad.layers import Conv2D, Dense, ReLU
    >>> model([Conv2D(2, 3), ReLU(), Dense(3)], (5, 5, 1)).passed
    True
    """
    whole = model if isinstance(model, Layer) else Sequential(model)
    chosen = by_name(loss, LOSSES)
    shape = tuple(input_shape)
    output = whole.infer(shape)
    chosen.check(output)
    stated = whole.parameters(shape)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1.5, images)
    scalars = weighing(float(weight.sum()), images) | {"seed_low": float(seed)}
    statistics = _statistics(stated)
    target = EagerValue(chosen.rows(_targets(chosen, images, output, rng), weight), True)

    def values(point: Point, wanted: Wanted) -> Any:
        e = EagerEmitter(scalars, np.float64, wanted.training)
        p = {name: EagerValue(point[name], False) for name in stated}
        trained = [name for name in stated if name not in statistics]
        return run(
            e,
            whole,
            chosen,
            EagerValue(point["x"], True),
            target,
            EagerValue(weight, True),
            p,
            wanted,
            trained,
        )

    def forward(point: Point) -> Array:
        z: Array = values(point, Wanted(training=training, loss=True)).values["loss"].array
        return z

    def backward(point: Point, dy: Array) -> Point:
        found = values(point, Wanted(training=training, gradients=True, input_gradient=True))
        gradients = {name: value.array for name, value in found.gradients.items()}
        return {"x": dy * found.values["dx"].array} | {name: dy * g for name, g in gradients.items()}

    def draw(rng: np.random.Generator) -> Point:
        return {"x": rng.normal(size=(images, *shape))} | _drawn(stated, rng)

    empty = isinstance(whole, Sequential) and not whole.layers
    what = type(chosen).__name__ if empty else f"{type(chosen).__name__} of {whole}"
    problem = Problem(f"{what} on input {shape}", draw, forward, backward, (1,), statistics)
    return _checked(problem, directions, seed, tolerance, strict)


def _checked(problem: Problem, directions: int, seed: int, tolerance: float, strict: bool) -> Report:
    if directions < 1:
        raise ArgumentError(f"directions must be at least 1, got {directions}")
    rng = np.random.default_rng(seed)
    drawn = problem.draw(np.random.default_rng(seed))
    subjects = [name for name in drawn if name not in problem.fixed]
    report = Report(
        tuple(
            max((_direction(problem, subject, rng, tolerance) for _ in range(directions)), key=_badness)
            for subject in subjects
        )
    )
    if strict and not report.passed:
        raise GradientError("; ".join(str(f) for f in report.findings if not f.passed), report)
    return report


def _badness(found: Finding) -> tuple[bool, float]:
    return not found.passed, found.error / found.tolerance


def _direction(problem: Problem, subject: str, rng: np.random.Generator, tolerance: float) -> Finding:
    """One random point, one random direction; another point when the first lies too near to a kink."""
    for _ in range(_ATTEMPTS):
        point = problem.draw(rng)
        dy = rng.normal(size=problem.output)
        gradient = _gradient(problem, point, dy, subject)
        u = np.asarray(rng.normal(size=gradient.shape))
        measured = along(problem, point, dy, subject, u)
        norm = float(np.linalg.norm(gradient))
        scale = max(norm if np.isfinite(norm) else 0.0, abs(measured.value)) or 1.0
        said = float(np.vdot(gradient, u))
        zero = max(norm, abs(said), abs(measured.coarse)) <= measured.noise
        if zero:
            # Both sides are rounding: relative to it, not to each other, they agree.
            scale = 2.0 * measured.noise / min(tolerance, LINEAR_TOLERANCE)
            break
        if measured.doubt <= 0.1 * tolerance * scale:
            break
    # Where both are rounding, the smaller steps' differences are nothing but.
    forward = measured.coarse if zero else measured.value
    found = Finding(
        where=problem.where,
        subject=subject,
        method=measured.method,
        backward=said,
        forward=forward,
        error=float(np.nan_to_num(abs(said - forward) / scale, nan=np.inf)),
        tolerance=min(tolerance, LINEAR_TOLERANCE) if measured.method == "adjoint" else tolerance,
        settled=zero or bool(measured.doubt <= 0.1 * tolerance * scale),
    )
    if found.passed or not found.settled:
        return found
    entry = wrong_entry(problem, point, dy, subject, gradient, u)
    unit = np.zeros_like(u)
    unit[entry] = 1.0
    there = along(problem, point, dy, subject, unit).value
    return Finding(
        **{**asdict(found), "entry": entry, "entry_backward": float(gradient[entry]), "entry_forward": there}
    )


def _gradient(problem: Problem, point: Point, dy: Array, subject: str) -> Array:
    """∂z/∂subject as backward has it. Raises GradientError where it is missing or has another shape."""
    gradients = problem.backward(point, dy)
    if subject not in gradients or gradients[subject].shape != point[subject].shape:
        came = f"shape {gradients[subject].shape}" if subject in gradients else "nothing"
        message = (
            f"{problem.where}: backward gives {came} for {subject}, expected shape {point[subject].shape}"
        )
        raise GradientError(message, Report(()))
    return np.asarray(gradients[subject], np.float64)


def _statistics(stated: Mapping[str, Parameter]) -> frozenset[str]:
    return frozenset(name for name, parameter in stated.items() if not parameter.trained)


def _drawn(stated: Mapping[str, Parameter], rng: np.random.Generator) -> Point:
    """Parameters of a size at which values neither die out nor explode; biases too are not zero."""
    return {
        # A statistic that begins at 1 is one that is never negative.
        name: rng.uniform(0.5, 1.5, parameter.shape)
        if not parameter.trained and parameter.initial == "ones"
        else rng.normal(size=parameter.shape) / np.sqrt(max(parameter.fan_in, 1))
        for name, parameter in stated.items()
    }


def _targets(loss: Loss, images: int, output: Shape, rng: np.random.Generator) -> Array:
    if loss.targets == "values":
        return rng.normal(size=(images, *output))
    if loss.targets == "shares":
        return rng.random((images, *output))
    return np.eye(output[-1])[rng.integers(0, output[-1], images)]
