"""A run is written beside its place, then moved there: readers see the old run or the new one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecgrad.runs._format import (
    CONFIG,
    FORMAT,
    HISTORY,
    LAST,
    LISTED,
    METRICS,
    MODEL,
    PAGES,
    STATE,
    VERSION,
    config_digest,
    digest,
)
from vecgrad.runs._objects import to_json
from vecgrad.runs._record import Array, Run
from vecgrad.spec.errors import RunError


def write(
    folder: str | os.PathLike[str],
    run: Run,
    *,
    last: Run | None = None,
    pages: Mapping[str, str] | None = None,
) -> Path:
    """Write ``run`` to ``folder`` and return the folder's full path. A run that is there already is replaced.

    last: the same network after its last step, where ``run`` is an earlier one: a run of its own in ``folder``/last.
    pages: text files for people, "history.csv" and "curve.svg".

    The old run stays until the new one is complete on disk. Raises RunError where ``folder`` is
    something else than a run, or cannot be written.
    """
    place = Path(folder).resolve()
    files = _files(run)
    for name, text in (pages or {}).items():
        if name not in PAGES:
            raise RunError(f"{name} is no page of a run; expected {' or '.join(PAGES)}")
        files[name] = text.encode()
    later = None if last is None else _files(last)
    try:
        check_place(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.parent / f".{place.name}.{secrets.token_hex(4)}"
        fresh.mkdir()
        try:
            for name, data in files.items():
                _write_file(fresh / name, data)
            if later is not None:
                (fresh / LAST).mkdir()
                for name, data in later.items():
                    _write_file(fresh / LAST / name, data)
                _sync(fresh / LAST)
            _sync(fresh)
            _move(fresh, place)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    except OSError as error:
        raise RunError(f"{place}: the run cannot be written: {error.strerror or error}") from error
    return place


def previous(place: Path) -> Path:
    """Where the old run waits during the moment in which the new one takes its place."""
    return place.parent / f".{place.name}.previous"


def _files(run: Run) -> dict[str, bytes]:
    """All files as bytes, so that nothing can fail half way but the disk."""
    from safetensors.numpy import save

    from vecgrad import __version__

    state = {f"{key}/{name}": array for key, arrays in run.state.items() for name, array in arrays.items()}
    files = {
        MODEL: save(_contiguous(run.parameters), metadata={"format": FORMAT}),
        STATE: save(_contiguous(state), metadata={"format": FORMAT}),
        HISTORY: b"".join(_line(record, HISTORY) for record in run.history),
        METRICS: _page(run.metrics, METRICS),
    }
    said = {
        "format": {"name": FORMAT, "version": VERSION},
        "vecgrad": __version__,
        "model": to_json(run.model),
        "input_shape": list(run.input_shape),
        "output_shape": list(run.output_shape),
        "loss": None if run.loss is None else to_json(run.loss),
        "optimizer": None if run.optimizer is None else to_json(run.optimizer),
        "batch_size": run.batch_size,
        "dtype": run.dtype,
        "seed": run.seed,
        "steps": run.steps,
        "averaged": run.averaged,
        "data": run.data,
        "training": run.training,
        "files": {name: {"bytes": len(files[name]), "sha256": digest(files[name])} for name in LISTED},
    }
    config = json.loads(_page(said, CONFIG))  # as a reader will find it: the digest is of that
    return files | {CONFIG: _page(config | {"sha256": config_digest(config)}, CONFIG)}


def _contiguous(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """safetensors writes memory as it lies."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _page(value: Mapping[str, Any] | None, name: str) -> bytes:
    return _json(value, name, indent=2)


def _line(value: Mapping[str, Any], name: str) -> bytes:
    return _json(value, name, indent=None)


def _json(value: object, name: str, indent: int | None) -> bytes:
    try:
        try:
            text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
            return (text + "\n").encode()
        except UnicodeEncodeError:
            # A name that is no UTF-8, as a file system may have: escaped as JSON escapes.
            return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise RunError(f"{name} cannot hold this: {error}; pass numbers, text, lists and dicts") from error


def check_place(folder: str | os.PathLike[str]) -> None:
    """RunError unless a run can be written to ``folder``: it is missing, empty, or a run and only that.

    A run is moved to its place as a whole, so what holds the folder must be writable too, and the folder no mount point.
    """
    place = Path(folder).resolve()
    if os.path.lexists(place) and not place.is_dir():
        raise RunError(f"{place} is a file; a run is a folder: choose another name")
    if os.path.ismount(place):
        raise RunError(
            f"{place} is where a file system is mounted, and cannot be replaced by a run; choose a folder in it, "
            f"such as {place / 'run'}"
        )
    above = next(parent for parent in place.parents if parent.exists())
    # Permissions alone do not tell (a read-only or virtual file system): a folder is made and removed.
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".vecgrad-", dir=above))
    except OSError as error:
        reason = f"{above} is no folder that may be written to ({error.strerror})"
        raise RunError(f"{place}: the run cannot be written: {reason}") from None
    held = {entry.name for entry in place.iterdir()} if place.exists() else set()
    if not held:
        return
    if CONFIG not in held or not _is_config(place / CONFIG):
        raise RunError(f"{place} is a folder that holds no run; nothing was written: choose another name")
    if LAST in held and (place / LAST).is_dir():
        check_place(place / LAST)  # what is in it will be gone
    if strangers := sorted(held - {CONFIG, *LISTED, *PAGES, LAST}):
        raise RunError(f"{place} holds {strangers[0]}, which is no part of a run; move it away first")


def _is_config(path: Path) -> bool:
    try:
        config = json.loads(path.read_bytes())
        return bool(config["format"]["name"] == FORMAT)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _write_file(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move(fresh: Path, place: Path) -> None:
    """Two renames: no call that works everywhere replaces a folder with files. ``read`` knows of the gap."""
    old = previous(place)
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        try:
            place.rename(old)
            fresh.rename(place)
        except BaseException:
            if not place.exists():
                old.rename(place)
            raise
    else:
        fresh.rename(place)
    _sync(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Has the folder's entries on disk, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
