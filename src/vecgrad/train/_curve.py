"""The learning curve: epochs as CSV for tables and as SVG for eyes, both plain text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vecgrad.train._history import Epoch

# Pixels: a panel for the losses and one for the accuracies, side by side.
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP, _BOTTOM = 300, 200, 60, 30, 80, 40
# Training and validation, told apart without seeing colour by the dashes too (Okabe and Ito's blue and vermilion).
_STYLES = {"training": ("#0072b2", ""), "validation": ("#d55e00", ' stroke-dasharray="6 3"')}
_TICKS = 4

Series = dict[str, list[tuple[float, float]]]


def as_csv(epochs: Sequence[Epoch]) -> str:
    """A line of names and a line for each epoch; what was not measured is empty."""
    from vecgrad.train._history import Epoch as Record

    page = io.StringIO()
    writer = csv.DictWriter(page, [field.name for field in fields(Record)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    return page.getvalue()


def as_svg(epochs: Sequence[Epoch], best: int | None = None) -> str:
    """Loss and accuracy over the epochs; ``best`` marks the epoch that was kept. One panel where there is no accuracy."""
    panels = [
        ("loss", _series(epochs, "loss", "validation_loss")),
        ("accuracy", _series(epochs, "accuracy", "validation_accuracy")),
    ]
    panels = [(name, series) for name, series in panels if any(series.values())]
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + _BOTTOM}" '
        f'width="{width}" height="{_TOP + _HEIGHT + _BOTTOM}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, (name, series) in enumerate(panels):
        parts += _panel(_LEFT + place * (_WIDTH + _GAP), name, series, best)
    return "\n".join([*parts, "</svg>", ""])


def _series(epochs: Sequence[Epoch], training: str, validation: str) -> Series:
    found: Series = {}
    for name, field in (("training", training), ("validation", validation)):
        values = [(float(epoch.epoch), getattr(epoch, field)) for epoch in epochs]
        found[name] = [(x, float(y)) for x, y in values if y is not None and math.isfinite(y)]
    return found


def _panel(left: int, name: str, series: Series, best: int | None) -> list[str]:
    points = [point for line in series.values() for point in line]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        return left + _WIDTH * across, _TOP + _HEIGHT * (1 - (y - low) / (high - low))

    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="bold">{name}</text>']
    for tick in ticks:
        _, y = place(first, tick)
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for x, anchor in ((first, "start"), (last, "end"))[: 2 if last > first else 1]:
        parts.append(
            f'<text x="{place(x, low)[0]:.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="{anchor}">{x:g}</text>'
        )
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{_TOP + _HEIGHT + 30}" text-anchor="middle">epoch</text>')
    if best is not None and first <= best <= last:
        x, _ = place(best, low)
        parts.append(
            f'<path d="M{x:.1f} {_TOP}v{_HEIGHT}" stroke="#999"><title>kept: epoch {best}</title></path>'
        )
    for number, (label, line) in enumerate((key, line) for key, line in series.items() if line):
        colour, dashes = _STYLES[label]
        placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        if len(line) == 1:
            parts.append(
                f'<circle cx="{placed.split(",")[0]}" cy="{placed.split(",")[1]}" r="3" fill="{colour}"/>'
            )
        parts.append(
            f'<text x="{left + _WIDTH}" y="{_TOP - 12 - 12 * number}" text-anchor="end" fill="{colour}">{label}</text>'
        )
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, about four steps."""
    span = high - low if high > low else abs(high) or 1.0
    raw = span / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * (1 - 1e-9))
    start, end = math.floor(low / step), math.ceil(high / step)
    end = max(end, start + 1)
    return [step * k for k in range(start, end + 1)]
