"""From a program to a run folder and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from vecgrad.data import Dataset
from vecgrad.kernels.reasons import Algorithm
from vecgrad.program.compiling import compile
from vecgrad.program.program import Program
from vecgrad.runs import Run, read, write


class State(Protocol):
    """A program's parameters and its optimizer's state by name, after ``steps`` steps."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def state(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def steps(self) -> int: ...


class Trained(Protocol):
    """A history: JSON with "epochs", one record each, and "settings", how the network was trained; pages for people;
    and what the last step left where the program is an earlier state."""

    @property
    def last(self) -> State | None: ...
    def to_json(self) -> dict[str, Any]: ...
    def pages(self) -> Mapping[str, str]: ...


def save(
    folder: str | os.PathLike[str],
    program: Program,
    history: Trained | None,
    data: Dataset | Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None,
) -> Path:
    """What ``Program.save`` does; the caller sees to it that the program stands still."""
    told = {} if history is None else history.to_json()
    run = Run(
        model=program.model,
        input_shape=program.input_shape,
        output_shape=program.output_shape,
        loss=program.loss,
        optimizer=program.optimizer,
        batch_size=program.batch_size,
        dtype=program.dtype,
        seed=program.seed,
        steps=program.steps,
        averaged=program.averaged or program.average is None,
        parameters=program.parameters,
        state=program.state,
        data=_described(data) if isinstance(data, Dataset) else program.data if data is None else data,
        training=told.get("settings"),
        history=told.get("epochs", ()),
        metrics=metrics or {},
    )
    last = None
    if history is not None and (later := history.last) is not None:
        last = replace(run, parameters=later.parameters, state=later.state, steps=later.steps, metrics={})
    return write(folder, run, last=last, pages={} if history is None else history.pages())


def load(
    run: str | os.PathLike[str] | Run,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    backend: str = "native",
    layers: Mapping[str, type] | None = None,
    algorithm: Algorithm = "auto",
) -> Program:
    """The program that a run folder holds, with its optimizer's state and step count, so that training can go on.

    run: the folder, or what ``vecgrad.runs.read`` made of it. batch_size: None means as it was trained.
    threads, backend, algorithm: as in ``compile``. layers: classes of your own (layers, losses, update rules) by name,
    such as {"Swish": Swish}; a run is data and never imports anything by itself.

    Raises RunError for a run that is incomplete, changed, of a newer format, or needs a class it was not given.
    """
    found = run if isinstance(run, Run) else read(run, layers)
    program = compile(
        found.model,
        found.input_shape,
        loss=found.loss,
        optimizer=found.optimizer,
        batch_size=found.batch_size if batch_size is None else batch_size,
        threads=threads,
        seed=found.seed,
        dtype=found.dtype,
        backend=backend,
        parameters=found.parameters,
        algorithm=algorithm,
    )
    program.load_state(found.state, found.steps)
    program.averaged = found.averaged and program.averaged
    program.data = found.data
    return program


def told(program: Program) -> dict[str, Any]:
    """All that a copy of the program needs, as plain objects and arrays; the program must stand still."""
    return {
        "compile": {
            "model": program.model,
            "input_shape": program.input_shape,
            "loss": program.loss,
            "optimizer": program.optimizer,
            "batch_size": program.batch_size,
            "threads": program.threads,
            "seed": program.seed,
            "dtype": program.dtype,
            "backend": program.backend,
            "algorithm": program.algorithm,
            "parameters": program.parameters,
        },
        "state": program.state,
        "steps": program.steps,
        "averaged": program.averaged,
        "data": program.data,
    }


def restored(what: Mapping[str, Any]) -> Program:
    """The program that ``told`` described."""
    program = compile(**what["compile"])
    program.load_state(what["state"], what["steps"])
    program.averaged = what["averaged"]
    program.data = what["data"]
    return program


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "source": dataset.name,
        "class_names": list(dataset.class_names) or None,
        "preparation": dataset.preparation.to_json(),
    }
