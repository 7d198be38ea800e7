"""Reading a run: every file is checked against what ``config.json`` says before anything is made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vecgrad.layers import Layer
from vecgrad.losses import Loss
from vecgrad.runs._format import (
    CONFIG,
    FIELDS,
    FORMAT,
    HISTORY,
    LATER_FIELDS,
    LISTED,
    METRICS,
    MODEL,
    STATE,
    VERSION,
    config_digest,
    digest,
    is_count,
)
from vecgrad.runs._objects import from_json
from vecgrad.runs._record import Array, Run
from vecgrad.runs._write import previous
from vecgrad.spec.errors import RunError, VecgradError
from vecgrad.spec.tensor import Shape
from vecgrad.updates import AVERAGE, Update

# A writer may replace the run while it is read; more often than this in a row is no accident.
_ATTEMPTS = 10
_CHANGED = "was changed since the run was saved (its SHA-256 differs); get a good copy"


def read(folder: str | os.PathLike[str], layers: Mapping[str, type] | None = None) -> Run:
    """The run in ``folder``. ``layers``: classes of the caller's own (layers, losses, update rules), by name.

    Raises RunError naming the file that is missing, changed, cut short, of a newer format or at odds with the
    model, and for a class that neither the package nor ``layers`` has.
    """
    place = Path(folder)
    for _ in range(_ATTEMPTS):
        found = _found(place)
        with _held(found[0]):
            try:
                return _read(found[0], place, layers)
            except RunError:
                if _found(place) == found:
                    raise
    raise RunError(f"{place}: the run is being replaced again and again; try later")


def _found(place: Path) -> tuple[Path, int | None]:
    """Where the run is now, and that folder's number; the old run's while the new one is moving in."""
    for here in (place, previous(place.resolve())):
        try:
            return here, os.stat(here).st_ino
        except OSError:
            continue
    return place, None


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """While a folder is open no new one gets its number, even if it is removed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # nothing there, or a system that opens no folders
        yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


def _read(here: Path, place: Path, layers: Mapping[str, type] | None) -> Run:
    config = _config(here, place)
    data = {name: _listed(here, place, name, config["files"][name]) for name in LISTED}
    at = f"{place / CONFIG}: "
    model = from_json(config["model"], Layer, layers, what=at + "model")
    loss, optimizer = config["loss"], config["optimizer"]
    shape, output = tuple(config["input_shape"]), tuple(config["output_shape"])
    update = None if optimizer is None else from_json(optimizer, Update, layers, what=at + "optimizer")
    try:
        inferred, stated = model.infer(shape), model.parameters(shape)
    except VecgradError as error:
        raise RunError(f"{at}{error}") from error
    if inferred != output:
        raise RunError(f"{at}output_shape is {output}, but the model makes {inferred} of {shape}")
    shapes = {name: parameter.shape for name, parameter in stated.items()}
    trained = {name: parameter.shape for name, parameter in stated.items() if parameter.trained}
    kept = {
        key: shapes if key == AVERAGE else trained for key in (update.arrays() if update is not None else ())
    }
    state_shapes = {f"{key}/{name}": s for key, held in kept.items() for name, s in held.items()}
    state = _arrays(data[STATE], place / STATE, state_shapes, config["dtype"])
    return Run(
        model=model,
        input_shape=shape,
        output_shape=output,
        loss=None if loss is None else from_json(loss, Loss, layers, what=at + "loss"),
        optimizer=update,
        batch_size=config["batch_size"],
        dtype=config["dtype"],
        seed=config["seed"],
        steps=config["steps"],
        averaged=config.get("averaged", True),
        parameters=_arrays(data[MODEL], place / MODEL, shapes, config["dtype"]),
        state={key: {name: state[f"{key}/{name}"] for name in held} for key, held in kept.items()},
        data=config["data"],
        training=config["training"],
        history=[_object(line, place / HISTORY) for line in data[HISTORY].splitlines()],
        metrics=_object(data[METRICS], place / METRICS),
        name=str(place),
    )


def _config(here: Path, place: Path) -> dict[str, Any]:
    if not here.exists():
        raise RunError(f"{place}: there is no such run")
    if not here.is_dir():
        raise RunError(f"{place} is a file; a run is a folder with {CONFIG} and the weights")
    name = place / CONFIG
    config = _object(_bytes(here / CONFIG, name), name)
    kind = config.get("format")
    if not isinstance(kind, dict) or kind.get("name") != FORMAT or not is_count(kind.get("version")):
        raise RunError(f"{name}: this is not a vecgrad run")
    if kind["version"] > VERSION:
        raise RunError(
            f"{name}: format {kind['version']}, written by vecgrad {config.get('vecgrad')}; "
            f"this version reads up to format {VERSION}: upgrade vecgrad"
        )
    fields = FIELDS | {key: test for key, test in LATER_FIELDS.items() if key in config}
    for key in (*fields, *config):
        if key not in config or key not in fields:
            raise RunError(f"{name}: {key} is {'not known' if key in config else 'missing'}: it was changed")
        if not fields[key](config[key]):
            raise RunError(f"{name}: {key} cannot be {config[key]!r}")
    if config_digest(config) != config["sha256"]:
        raise RunError(f"{name}: {_CHANGED}")
    return config


def _listed(here: Path, place: Path, name: str, entry: object) -> bytes:
    """A file's content, which must be what ``config.json`` lists."""
    data = _bytes(here / name, place / name)
    if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"} or not is_count(entry["bytes"]):
        raise RunError(f"{place / CONFIG}: files.{name} must hold bytes and sha256, got {entry!r}")
    expected = entry["bytes"]
    if len(data) != expected:
        why = "the file is cut short" if len(data) < expected else "the file was changed"
        raise RunError(f"{place / name}: {len(data):,} bytes, {CONFIG} says {expected:,}: {why}")
    if digest(data) != entry["sha256"]:
        raise RunError(f"{place / name}: {_CHANGED}")
    return data


def _bytes(path: Path, name: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{name}: the file is missing; the run is not complete") from None
    except OSError as error:
        raise RunError(f"{name}: cannot be read: {error.strerror or error}") from error


def _object(data: bytes, name: Path) -> dict[str, Any]:
    try:
        value = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{name}: not valid JSON ({' '.join(str(error).split())}); get a good copy") from error
    if not isinstance(value, dict):
        raise RunError(f"{name}: expected a JSON object, got {type(value).__name__}")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _arrays(data: bytes, name: Path, shapes: Mapping[str, Shape], dtype: str) -> dict[str, Array]:
    """The arrays of a safetensors file, exactly those of ``shapes``."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{name}: not a valid safetensors file ({error}); get a good copy") from error
    if wrong := sorted(set(arrays) ^ set(shapes)):
        raise RunError(f"{name}: {wrong[0]} is {'missing' if wrong[0] in shapes else 'not of this model'}")
    for key, shape in shapes.items():
        array = arrays[key]
        if array.shape != shape or array.dtype != dtype:
            raise RunError(f"{name}: {key} is {array.dtype} {array.shape}, the model needs {dtype} {shape}")
    return {key: arrays[key] for key in shapes}
