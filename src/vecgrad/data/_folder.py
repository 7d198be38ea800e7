"""Reader of a folder of image files: one sub-folder for each class, below train/, val/, test/ if present."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from vecgrad.data._decoding import decoded
from vecgrad.data._listing import ImageFile, by_folder, is_hidden, regular_file
from vecgrad.data._reader import Options, Reader, Source
from vecgrad.spec.errors import DataError


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)) or not Path(source).is_dir():
        return False
    return any(entry.is_dir() and not is_hidden((entry.name,)) for entry in Path(source).iterdir())


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    files: dict[tuple[str, ...], ImageFile] = {}
    folders: list[tuple[str, ...]] = []
    seen: dict[tuple[str, str], str] = {}
    # Links to folders are followed, as they are the user's own.
    for where, names, file_names in os.walk(folder, followlinks=True, onerror=_raise):
        at = Path(where).relative_to(folder).parts
        names[:] = [name for name in names if not is_hidden((name,))]
        for name in names:
            _check_link(os.path.join(where, name), (*at, name)[0], seen)
        folders += [(*at, name) for name in names]
        for name in file_names:
            path = Path(where, name)
            files[(*at, name)] = ImageFile(
                os.fspath(path), partial(regular_file, path), "/".join((*at, name))
            )
    return decoded(folder.resolve().name, by_folder(os.fspath(folder), files, folders), options)


def _check_link(path: str, top: str, seen: dict[tuple[str, str], str]) -> None:
    """Raises DataError for a folder that links lead to twice below the same ``top``, or that holds the link to it.

    Images would count several times, or for the classes of others, and a loop would have no end.
    """
    real = os.path.realpath(path)
    before = seen.setdefault((top, real), path)
    holds_itself = os.path.join(os.path.realpath(os.path.dirname(path)), "").startswith(
        os.path.join(real, "")
    )
    if holds_itself or before != path:
        also = "" if holds_itself else f", as {before} does"
        raise DataError(
            f"{path}: leads to the folder {real}{also}; expected each folder once, as images would count several "
            "times: remove the link"
        )


def _raise(error: OSError) -> None:
    raise error


FOLDER = Reader(
    "folder", "a folder with a sub-folder of image files for each class", _recognises, _read, decodes=True
)
