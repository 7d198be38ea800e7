"""MODEL: the name of a built-in model, or a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vecgrad.runs import Run
    from vecgrad.train import BuiltIn


def built_in(name: str) -> BuiltIn:
    """The built-in model of that name; misuse if there is none."""
    from vecgrad.train import MODELS

    if name not in MODELS:
        raise click.BadParameter(f"there is no built-in model {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def model_or_run(given: str) -> BuiltIn | Run:
    """What MODEL stands for. Raises RunError for a folder that is no sound run."""
    from vecgrad.runs import read
    from vecgrad.train import MODELS

    if given in MODELS:
        return MODELS[given]
    if Path(given).exists() or os.sep in given:
        return read(given)
    raise click.BadParameter(
        f"{given!r} is neither a built-in model ({', '.join(MODELS)}) nor a run folder", param_hint="MODEL"
    )
