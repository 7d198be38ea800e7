"""What all commands share: how they fail, how they speak JSON, and options that several have."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from vecgrad.spec.errors import VecgradError

FAILED = 1
INTERRUPTED = 130
"""128 + SIGINT, what shells report of a program that Ctrl-C ended."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose failures are one line on stderr (with ``--json`` also an object on stdout)."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            try:
                return super().invoke(ctx)
            except VecgradError as error:
                _fail(ctx, str(error), FAILED)
            except BrokenPipeError:
                raise  # whoever read the output has left; click ends quietly
            except OSError as error:
                _fail(ctx, f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
            except MemoryError:
                _fail(ctx, "not enough memory; try a smaller --batch-size or smaller images", FAILED)
            except KeyboardInterrupt:
                _fail(ctx, "interrupted", INTERRUPTED)


def json_option(function: Function) -> Function:
    """``--json``, handed on as ``as_json``."""
    text = "Print one JSON object as the last line of stdout."
    return click.option("--json", "as_json", is_flag=True, help=text)(function)


def threads_option(function: Function) -> Function:
    """``--threads``."""
    text = "Threads to use. Default: the processors this process may use."
    return click.option("--threads", type=click.IntRange(1, 256), help=text)(function)


def tta_option(function: Function) -> Function:
    """``--tta``."""
    text = "Average over views: the image and its mirror image; with shift also both moved by a pixel."
    return click.option("--tta", type=click.Choice(["flip", "flip-shift"]), help=text)(function)


def backend_option(function: Function) -> Function:
    """``--backend``, for tests and platforms without llvmlite: kept out of the help."""
    kinds = click.Choice(["native", "reference"])
    return click.option("--backend", type=kinds, default="native", hidden=True)(function)


def say(text: str) -> None:
    """A line on stdout, of a command that has something to save: that its reader has left (``| head``) is no reason to stop."""
    try:
        click.echo(text)
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        try:
            _show_warning("nobody reads the output any more; the work goes on")
        except BrokenPipeError:  # they went into one pipe, as with 2>&1
            _to_nowhere(sys.stderr)


def _to_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say_json(value: object) -> None:
    """The object, on one line. Whoever calls it prints nothing to stdout afterwards."""
    click.echo(json.dumps(value, allow_nan=False))


def _fail(ctx: click.Context, message: str, code: int) -> None:
    line = " ".join(message.split())
    click.echo(f"error: {line}", err=True)
    if ctx.params.get("as_json"):
        say_json({"error": line})
    ctx.exit(code)


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
