"""``vecgrad explain``."""

from __future__ import annotations

from typing import Any

import click

from vecgrad.cli._command import Command, json_option, say_json, threads_option


@click.command(cls=Command)
@click.argument("model")
@click.option("--time", is_flag=True, help="Also measure every operation on a full batch.")
@click.option("--ir", is_flag=True, help="Show the kernels' LLVM IR.")
@click.option("--asm", is_flag=True, help="Show the kernels' machine code.")
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="NAME",
    help="With --ir or --asm: only these; a kernel's name, kind, or layer:operation such as 0:conv.",
)
@click.option("--batch-size", type=click.IntRange(1, 1 << 20), help="Default: the model's.")
@threads_option
@json_option
def explain(
    model: str,
    time: bool,
    ir: bool,
    asm: bool,
    kernels: tuple[str, ...],
    batch_size: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Show how a network's training step is compiled, operation by operation.

    Each row names the kernel, its tile, what it is fused with, arithmetic, bytes, the predicted time and where
    its result lies; below stand the kernels that were refused, with the reasons. MODEL is a built-in model
    (digits, mnist, cifar, lenet5) or a run folder.

    \b
    Examples:
      vecgrad explain mnist --time
      vecgrad explain digits --asm --kernel 0:conv
    """
    import vecgrad
    from vecgrad.cli._models import model_or_run
    from vecgrad.runs import Run

    if kernels and not (ir or asm):
        raise click.UsageError("--kernel chooses what --ir or --asm shows; add one of them")
    found = model_or_run(model)
    if isinstance(found, Run):
        program = vecgrad.load(found, batch_size=batch_size, threads=threads)
    else:
        program = vecgrad.compile(
            found.model,
            found.input_shape,
            loss="cross_entropy",
            optimizer=found.optimizer,
            batch_size=batch_size or found.batch_size,
            threads=threads,
        )
    explanation = program.explain(time=time)
    click.echo(str(explanation))
    names = kernels or tuple(dict.fromkeys(row.call.spec.name for row in explanation.rows))
    code: dict[str, Any] = {}
    for wanted, what, get in ((ir, "ir", explanation.ir), (asm, "asm", explanation.asm)):
        if wanted:
            code[what] = {name: get(name) for name in names}
            for name, text in code[what].items():
                click.echo(f"\n; {name}\n{text.rstrip()}")
    if as_json:
        say_json({"model": found.name, **explanation.to_json(), **code})
