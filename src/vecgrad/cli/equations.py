"""``vecgrad equations``."""

from __future__ import annotations

import click

from vecgrad.cli._command import FAILED, Command, json_option, say_json


@click.command(cls=Command)
@click.argument("number", required=False)
@click.option(
    "--trials", type=click.IntRange(1), default=8, show_default=True, help="Random shapes for each."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
@click.pass_context
def equations(ctx: click.Context, number: str | None, trials: int, seed: int, as_json: bool) -> None:
    """Try every formula of the paper on random shapes, both sides computed by different code.

    A row is a formula's number, the largest relative residual in float64, the number of trials and what it
    states. With NUMBER that formula is shown at work on small matrices. The exit code is 1 if a residual
    exceeds 1e-12.

    \b
    Examples:
      vecgrad equations
      vecgrad equations 2.21
    """
    from vecgrad.reference import equations as paper
    from vecgrad.spec.errors import ArgumentError

    try:
        shown = None if number is None else paper.show(number, seed)
        rows = paper.run(None if shown is None else [shown.equation.number], seed, trials)
    except ArgumentError as error:
        raise click.BadParameter(str(error), param_hint="NUMBER") from error
    wide = max(len(row.number) for row in rows)
    if shown is not None:
        click.echo(f"{shown}\n")
    for row in rows:
        verdict = "" if row.holds else "  DOES NOT HOLD"
        click.echo(f"{row.number:<{wide}}  {row.residual:7.1e}  {row.trials:3}  {row.statement}{verdict}")
    broken = [row.number for row in rows if not row.holds]
    if shown is not None and shown.residual > paper.TOLERANCE and not broken:
        broken = [shown.equation.number]
    if shown is None:
        click.echo(
            f"{len(rows)} statements, {len(broken) or 'none'} with a residual above {paper.TOLERANCE:g}"
        )
    if as_json:
        listed = [
            {"number": row.number, "residual": row.residual, "trials": row.trials, "statement": row.statement}
            for row in rows
        ]
        say_json({"equations": listed, "tolerance": paper.TOLERANCE, "broken": broken})
    if broken:
        click.echo(f"error: {', '.join(broken)}: residual above {paper.TOLERANCE:g}", err=True)
        ctx.exit(FAILED)
