"""``vecgrad evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vecgrad.cli._command import Command, backend_option, json_option, say_json, threads_option

if TYPE_CHECKING:
    from vecgrad.train import Report


@click.command(cls=Command)
@click.argument("run")
@click.option("--data", "folder", metavar="DIR", help="Other data, or the same that were moved.")
@threads_option
@json_option
@backend_option
def evaluate(run: str, folder: str | None, threads: int | None, as_json: bool, backend: str) -> None:
    """Measure a saved run on the test images beside which it was trained.

    Prints accuracy, precision and recall of each class, and the confusion matrix (rows: what the images are,
    columns: what they were taken for).

    \b
    Example: vecgrad evaluate runs/digits-0-1
    """
    import vecgrad
    from vecgrad import runs
    from vecgrad.cli._sources import test_part
    from vecgrad.train import report

    found = runs.read(run)
    name, images, labels = test_part(found, folder)
    program = vecgrad.load(found, threads=threads, backend=backend)
    measured = report(program, found.preparation.arrays(images), labels, found.class_names)
    click.echo(
        f"{name}: {measured.images:,} images, accuracy {measured.accuracy:.4f}, loss {measured.loss:.4f}"
    )
    click.echo(_table(measured))
    if as_json:
        say_json({"run": found.name, "data": name, **measured.to_json()})


def _table(measured: Report) -> str:
    """Classes as rows, with the confusion matrix to the right."""
    names = [row.name for row in measured.classes]
    lines = [["class", "images", "precision", "recall", "", *names]]
    for row, counts in zip(measured.classes, measured.confusion, strict=True):
        shares = ["–" if share is None else f"{share:.4f}" for share in (row.precision, row.recall)]
        lines.append(
            [row.name, f"{row.images:,}", *shares, "│", *(str(count) if count else "·" for count in counts)]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
