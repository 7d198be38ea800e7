"""``vecgrad summary``."""

from __future__ import annotations

import click

from vecgrad.cli._command import Command, json_option, say_json


@click.command(cls=Command)
@click.argument("model")
@json_option
def summary(model: str, as_json: bool) -> None:
    """Show a network layer by layer: shapes, parameters, arithmetic, receptive field, memory.

    MODEL is a built-in model (digits, mnist, cifar, lenet5) or a run folder. Arithmetic and memory are those of one
    image; "sees" is the part of the image that an entry can depend on.

    \b
    Example: vecgrad summary lenet5
    """
    import vecgrad
    from vecgrad.cli._models import model_or_run

    found = model_or_run(model)
    table = vecgrad.summary(found.model, found.input_shape)
    click.echo(str(table))
    if as_json:
        say_json({"model": found.name, **table.to_json()})
