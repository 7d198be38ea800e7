"""``vecgrad evaluate``."""

from __future__ import annotations

import click

from vecgrad.cli._command import Command, backend_option, json_option, say_json, threads_option, tta_option


@click.command(cls=Command)
@click.argument("run")
@click.argument("source", required=False)
@click.option("--data", "folder", metavar="DIR", help="The same as SOURCE.")
@click.option(
    "--mistakes",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Mistakes to list, the worst first.",
)
@tta_option
@threads_option
@json_option
@backend_option
def evaluate(
    run: str,
    source: str | None,
    folder: str | None,
    mistakes: int,
    tta: str | None,
    threads: int | None,
    as_json: bool,
    backend: str,
) -> None:
    """Measure a saved run on the test images beside which it was trained, or on those of SOURCE.

    Prints accuracy, precision and recall of each class, the confusion matrix (rows: what the images are, columns: what
    they were taken for) and the images of the greatest loss among those that were taken for another class, by their file
    names where they have any, else by number. SOURCE is other data, or the same that were moved: its test images, or all
    where it has no such part.

    \b
    Examples:
      vecgrad evaluate runs/digits-0-1
      vecgrad evaluate runs/pets ~/new-pets --tta flip
    """
    import vecgrad
    from vecgrad import runs
    from vecgrad.cli._sources import test_part
    from vecgrad.train import report

    if source is not None and folder is not None:
        raise click.UsageError("SOURCE and --data mean the same; give one of them")
    found = runs.read(run)
    name, images, labels, files = test_part(found, source if folder is None else folder)
    program = vecgrad.load(found, threads=threads, backend=backend)
    measured = report(
        program,
        found.preparation.images(images),
        labels,
        found.class_names,
        tta=tta,
        mistakes=mistakes,
        files=files,
    )
    click.echo(f"{name}: {measured}")
    if as_json:
        say_json({"run": found.name, "data": name, "tta": tta, **measured.to_json()})
