"""How a classifier does, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vecgrad.data import check_labels
from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError


@dataclass(frozen=True)
class ClassReport:
    """precision: right among those called so; recall: right among those that are; None where there are none."""

    name: str
    precision: float | None
    recall: float | None
    images: int


@dataclass(frozen=True)
class Report:
    """``confusion[i][j]`` counts the images of class i that were taken for class j. ``loss`` is the mean."""

    accuracy: float
    loss: float
    images: int
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def report(program: Program, X: Any, y: Any, class_names: Sequence[str] | None = None) -> Report:
    """What ``program`` says of images X (n, *input_shape) with class numbers y (n,), against the truth.

    Raises ArgumentError for a program without cross entropy, DataError for labels out of range.
    """
    if program.loss is None or program.loss.targets != "classes":
        raise ArgumentError('a report by classes needs a program compiled with loss="cross_entropy"')
    classes = program.output_shape[-1]
    names = list(map(str, range(classes))) if class_names is None else list(class_names)
    if len(names) != classes:
        raise ArgumentError(f"{len(names)} class names for {classes} classes")
    labels = check_labels(y, classes, count=len(program.check_images(X)))
    said = program.forward(X).argmax(axis=-1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, said), 1)
    rows = [
        ClassReport(
            name=names[k],
            precision=_share(confusion[k, k], confusion[:, k].sum()),
            recall=_share(confusion[k, k], confusion[k].sum()),
            images=int(confusion[k].sum()),
        )
        for k in range(classes)
    ]
    return Report(
        accuracy=float(np.trace(confusion) / len(labels)),
        loss=program.evaluate(X, labels).loss,
        images=len(labels),
        classes=tuple(rows),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
