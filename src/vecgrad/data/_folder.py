"""Reader of a folder of image files: one sub-folder for each class, below train/, val/, test/ if present."""

from __future__ import annotations

import os
from pathlib import Path

from vecgrad.data._decoding import decoded
from vecgrad.data._listing import ImageFile, by_folder, is_hidden
from vecgrad.data._reader import Options, Reader, Source


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)) or not Path(source).is_dir():
        return False
    return any(entry.is_dir() and not is_hidden((entry.name,)) for entry in Path(source).iterdir())


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    folder = Path(source)
    files: dict[tuple[str, ...], ImageFile] = {}
    folders: list[tuple[str, ...]] = []
    # Links to folders are followed, as they are the user's own; a loop of them ends at the system's path limit.
    for where, names, file_names in os.walk(folder, followlinks=True, onerror=_raise):
        at = Path(where).relative_to(folder).parts
        names[:] = [name for name in names if not is_hidden((name,))]
        folders += [(*at, name) for name in names]
        for name in file_names:
            path = Path(where, name)
            files[(*at, name)] = ImageFile(os.fspath(path), path.read_bytes, "/".join((*at, name)))
    return decoded(folder.resolve().name, by_folder(os.fspath(folder), files, folders), options)


def _raise(error: OSError) -> None:
    raise error


FOLDER = Reader(
    "folder", "a folder with a sub-folder of image files for each class", _recognises, _read, decodes=True
)
