"""Reader of a CSV file that lists image files with their classes, or with numbers to predict.

The first line names the columns; commas, semicolons or tabs stand between them. Paths are relative to the file.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vecgrad.data._decoding import decoded
from vecgrad.data._listing import PARTS, ImageFile, Listed, Listing, regular_file
from vecgrad.data._reader import Options, Reader, Source
from vecgrad.spec.errors import ArgumentError, DataError

# Names of columns as such files have them, small letters; the first that is there counts.
_PATH = ("path", "file", "filename", "file_name", "image", "image_path", "filepath", "file_path")
_LABEL = ("label", "class", "category", "label_name", "class_name", "y")
_SPLIT = ("split", "part", "subset", "set")
_TARGET = "target"
_DELIMITERS = ",;\t"
_HEAD = 1 << 16
_KEYS = ("path", "label", "targets", "split")


@dataclass(frozen=True, slots=True)
class _Columns:
    path: str
    label: str | None
    targets: tuple[str, ...]
    split: str | None


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    file: ImageFile
    said: str | tuple[float, ...]


def _recognises(source: object) -> bool:
    if not isinstance(source, (str, os.PathLike)) or not Path(source).is_file():
        return False
    return Path(source).suffix.lower() in (".csv", ".tsv") or any(
        name.strip().lower() in _PATH for name in _names(_first_line(Path(source)))
    )


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    # Lines may end in CR alone, as old spreadsheets write them.
    return re.split(rb"[\r\n]", head, maxsplit=1)[0].decode("utf-8-sig", errors="replace")


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _names(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=_delimiter(line)), [])
    except csv.Error:  # any file may come here: a zero byte, say
        return []


def _read(source: str | os.PathLike[str], options: Options) -> Source:
    path = Path(source)
    columns = _columns(path, [name.strip() for name in _names(_first_line(path))], options)
    rows: dict[str, list[_Row]] = {part: [] for part in PARTS}
    missing: list[_Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(_first_line(path)), strict=True)
            header = [name.strip() for name in next(reader)]
            for fields in reader:
                if not any(map(str.strip, fields)):
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(fields)} columns, but the first line names "
                        f"{len(header)} ({', '.join(header)})"
                    )
                part, row = _row(path, reader.line_num, dict(zip(header, fields, strict=True)), columns)
                rows[part].append(row)
                if not Path(row.file.name).is_file():
                    missing.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error
    if missing:
        raise DataError(
            f"{path}, line {missing[0].line}: {missing[0].file.name}: there is no such file ({len(missing):,} of "
            f"{sum(map(len, rows.values())):,} files are missing); paths are relative to the folder of {path.name}"
        )
    if not rows["train"]:
        raise DataError(
            f"{path}: lists no training images; expected a line for each image below {', '.join(header)}"
        )
    return decoded(path.name, _listing(path, columns, rows), options)


def _columns(path: Path, names: Sequence[str], options: Options) -> _Columns:
    """Which column is which: as the caller says, else by the names that are usual."""
    said = dict(options.columns or {})
    if unknown := set(said) - set(_KEYS):
        raise ArgumentError(
            f"columns: expected the keys {', '.join(_KEYS)}, got {', '.join(sorted(unknown))}"
        )
    wanted = [name for value in said.values() for name in ([value] if isinstance(value, str) else value)]
    if missing := [name for name in wanted if name not in names]:
        raise DataError(f"{path}: has no column {missing[0]!r}; its columns are {', '.join(names)}")

    def find(key: str, usual: Sequence[str]) -> str | None:
        if key in said:
            return str(said[key])
        return next((name for known in usual for name in names if name.lower() == known), None)

    file = find("path", _PATH)
    if file is None:
        raise DataError(
            f"{path}: its columns are {', '.join(names) or 'not named'}; expected one of {', '.join(_PATH)}, "
            'or pass columns={"path": …}'
        )
    given = said.get("targets", ())
    targets = (given,) if isinstance(given, str) else tuple(given)
    label = None if targets else find("label", _LABEL)
    if label is None and not targets:
        targets = tuple(name for name in names if name.lower().startswith(_TARGET))
    if options.targets == "numbers" and label is not None:
        targets, label = (label,), None
    if options.targets == "classes" and label is None and len(targets) == 1:
        label, targets = targets[0], ()
    if label is None and not targets:
        raise DataError(
            f"{path}: its columns are {', '.join(names)}; expected also one of {', '.join(_LABEL)} (classes), or "
            f'{_TARGET}, {_TARGET}_1 … (numbers), or pass columns={{"label": …}} or {{"targets": (…)}}'
        )
    return _Columns(file, label, targets, find("split", _SPLIT))


def _row(path: Path, line: int, fields: Mapping[str, str], columns: _Columns) -> tuple[str, _Row]:
    where = f"{path}, line {line}"
    part = "train"
    if columns.split is not None:
        said = fields[columns.split].strip().lower()
        known = {name: part for part, names in PARTS.items() for name in names}
        if said not in known:
            raise DataError(f"{where}: {columns.split} is {said!r}; expected one of {', '.join(known)}")
        part = known[said]
    name = fields[columns.path].strip()
    if not name:
        raise DataError(f"{where}: the column {columns.path} is empty; expected the path of an image")
    place = path.parent / name
    file = ImageFile(os.fspath(place), partial(regular_file, place), name)
    if columns.label is not None:
        label = fields[columns.label].strip()
        if not label:
            raise DataError(f"{where}: the column {columns.label} is empty; expected the class of {name}")
        return part, _Row(line, file, label)
    numbers = tuple(_number(where, column, fields[column]) for column in columns.targets)
    return part, _Row(line, file, numbers)


def _number(where: str, column: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise DataError(f"{where}: {column} is {text!r}; expected a finite number")
    return number


def _listing(path: Path, columns: _Columns, rows: Mapping[str, list[_Row]]) -> Listing:
    used = {part: found for part, found in rows.items() if found}
    if columns.label is None:
        return Listing(
            {
                part: Listed(
                    tuple(row.file for row in found), np.array([row.said for row in found], np.float32)
                )
                for part, found in used.items()
            },
            None,
        )
    classes = _ordered({str(row.said) for row in rows["train"]})
    if len(classes) < 2:
        raise DataError(
            f"{path}: every training image has the label {classes[0]}; expected two classes or more"
        )
    numbers = {label: number for number, label in enumerate(classes)}
    for part, found in used.items():
        for row in found:
            if row.said not in numbers:
                raise DataError(
                    f"{path}, line {row.line}: no training image has the label {row.said} of this {part} image; "
                    f"expected {', '.join(classes[:20])}{' …' if len(classes) > 20 else ''}"
                )
    return Listing(
        {
            part: Listed(
                tuple(row.file for row in found),
                np.array([numbers[str(row.said)] for row in found], np.int64),
            )
            for part, found in used.items()
        },
        classes,
    )


def _ordered(labels: set[str]) -> tuple[str, ...]:
    """Whole numbers by size, names by the alphabet."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


CSV = Reader(
    "csv",
    "a CSV file with columns path and label (or target)",
    _recognises,
    _read,
    decodes=True,
    minds=("columns",),
)
