"""``vecgrad predict``."""

from __future__ import annotations

from typing import Any

import click

from vecgrad.cli._command import (
    FAILED,
    Command,
    backend_option,
    json_option,
    say_json,
    threads_option,
    tta_option,
)


@click.command(cls=Command)
@click.argument("run")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@tta_option
@threads_option
@json_option
@backend_option
@click.pass_context
def predict(
    ctx: click.Context,
    run: str,
    images: tuple[str, ...],
    tta: str | None,
    threads: int | None,
    as_json: bool,
    backend: str,
) -> None:
    """Classify PNG or JPEG files with a saved run.

    The run knows how its images were prepared (size, grey or colour, scale, inversion) and does the same to
    each IMAGE. Every image gets a line: its file, its class, the class's probability. Files that cannot be
    read are named on stderr, and the exit code is then 1.

    \b
    Example: vecgrad predict runs/digits-0-1 three.png seven.png
    """
    import numpy as np

    import vecgrad
    from vecgrad import runs
    from vecgrad.data import prepare_file
    from vecgrad.spec.errors import DataError

    found = runs.read(run)
    program = vecgrad.load(found, batch_size=min(len(images), 64), threads=threads, backend=backend)
    preparation, names = found.preparation, found.class_names
    inputs, errors = {}, {}
    for image in dict.fromkeys(images):
        try:
            inputs[image] = prepare_file(image, preparation)
        except DataError as error:
            errors[image] = " ".join(str(error).split())
            click.echo(f"error: {errors[image]}", err=True)
    answers: list[dict[str, Any]] = []
    if inputs:
        said = program.predict_proba(np.stack(list(inputs.values())), tta=tta)
        for image, row in zip(inputs, said, strict=True):
            best = int(row.argmax())
            click.echo(f"{image}: {names[best]} ({100 * row[best]:.1f} %)")
            answers.append(
                {
                    "image": image,
                    "label": best,
                    "class": names[best],
                    "probability": float(row[best]),
                    "probabilities": [float(p) for p in row],
                }
            )
    if as_json:
        say_json({"predictions": answers, "classes": list(names), "errors": errors})
    if errors:
        ctx.exit(FAILED)
