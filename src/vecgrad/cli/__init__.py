"""The command line: one file a command, each thin over the public API."""

from __future__ import annotations

import sys

import click

from vecgrad import __version__
from vecgrad.cli.equations import equations
from vecgrad.cli.evaluate import evaluate
from vecgrad.cli.explain import explain
from vecgrad.cli.predict import predict
from vecgrad.cli.summary import summary
from vecgrad.cli.train import train

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 misused, 130 interrupted by Ctrl-C.",
)
@click.version_option(__version__, prog_name="vecgrad")
def main() -> None:
    """Convolutional networks on the CPU: train, use and explain them.

    \b
    Example: vecgrad train
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter shows "?" for it; that is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


for command in (train, predict, evaluate, summary, explain, equations):
    main.add_command(command)
