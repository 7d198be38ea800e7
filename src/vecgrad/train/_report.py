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
class Mistake:
    """An image that was taken for another class: number ``index``, of class ``truth``, called ``said``.

    ``confidence``: the probability of ``said``; ``loss``: −log of the truth's. ``file``: where it came from, if that is known.
    """

    index: int
    truth: str
    said: str
    confidence: float
    loss: float
    file: str | None = None


@dataclass(frozen=True)
class Report:
    """``confusion[i][j]`` counts the images of class i that were taken for class j. ``loss`` is the mean.

    ``mistakes``: those of the greatest loss, the worst first. As text: a table of the classes with the confusion matrix,
    and the mistakes.
    """

    accuracy: float
    loss: float
    images: int
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.images:,} images, accuracy {self.accuracy:.4f}, loss {self.loss:.4f}"
        tables = [head, _aligned(self._rows())]
        if self.mistakes:
            tables += ["", "the worst mistakes", _aligned(self._worst())]
        return "\n".join(tables)

    def _rows(self) -> list[list[str]]:
        """Classes as rows, with the confusion matrix to the right."""
        lines = [["class", "images", "precision", "recall", "", *(row.name for row in self.classes)]]
        for row, counts in zip(self.classes, self.confusion, strict=True):
            shares = ["–" if share is None else f"{share:.4f}" for share in (row.precision, row.recall)]
            told = [str(count) if count else "·" for count in counts]
            lines.append([row.name, f"{row.images:,}", *shares, "│", *told])
        return lines

    def _worst(self) -> list[list[str]]:
        lines = [["image", "is", "taken for", "confidence", "loss"]]
        for each in self.mistakes:
            name = each.file or str(each.index)
            lines.append([name, each.truth, each.said, f"{each.confidence:.4f}", f"{each.loss:.4f}"])
        return lines


def report(
    program: Program,
    X: Any,
    y: Any,
    class_names: Sequence[str] | None = None,
    *,
    tta: str | None = None,
    mistakes: int = 10,
    files: Sequence[str] | None = None,
) -> Report:
    """What ``program`` says of images X (n, *input_shape) with class numbers y (n,), against the truth.

    tta: as in ``program.forward``. mistakes: how many of the worst to list. files: names of the images, for that list.
    Raises ArgumentError for a program without cross entropy, DataError for labels out of range.
    """
    if program.loss is None or program.loss.targets != "classes":
        raise ArgumentError('a report by classes needs a program compiled with loss="cross_entropy"')
    classes = program.output_shape[-1]
    names = list(map(str, range(classes))) if class_names is None else list(class_names)
    if len(names) != classes:
        raise ArgumentError(f"{len(names)} class names for {classes} classes")
    images = program.check_images(X)
    labels = check_labels(y, classes, count=len(images))
    if files is not None and len(files) != len(labels):
        raise ArgumentError(f"{len(files)} files for {len(labels)} images")
    logits = program.forward(images, tta=tta)
    said = logits.argmax(axis=-1)
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
        loss=program.evaluate(images, labels, tta=tta).loss,
        images=len(labels),
        classes=tuple(rows),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        mistakes=_mistakes(logits, labels, said, names, mistakes, files),
    )


def _mistakes(
    logits: Any, labels: Any, said: Any, names: Sequence[str], most: int, files: Sequence[str] | None
) -> tuple[Mistake, ...]:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    total = np.log(np.exp(x).sum(axis=1))
    each = np.arange(len(x))
    losses = total - x[each, labels]
    wrong = np.flatnonzero(said != labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:most]
    return tuple(
        Mistake(
            index=int(i),
            truth=names[labels[i]],
            said=names[said[i]],
            confidence=float(np.exp(x[i, said[i]] - total[i])),
            loss=float(losses[i]),
            file=None if files is None else str(files[i]),
        )
        for i in worst
    )


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
