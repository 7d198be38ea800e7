"""Reader of arrays that are in memory already."""

from __future__ import annotations

from typing import Any

from vecgrad.data._reader import Options, Reader, Source
from vecgrad.spec.errors import DataError


def _recognises(source: object) -> bool:
    return isinstance(source, (tuple, list))


def _read(source: Any, options: Options) -> Source:
    if len(source) != 2:
        raise DataError(f"arrays: got {len(source)} of them; expected (X, y) or ((X, y), (X_test, y_test))")
    train, test = source, None
    if all(isinstance(part, tuple) for part in source):
        train, test = source
        for name, part in (("training", train), ("test", test)):
            if len(part) != 2:
                raise DataError(
                    f"arrays: the {name} part holds {len(part)} arrays; expected (images, labels)"
                )
    return Source("arrays", (train[0], train[1]), test=test, data_format=options.data_format)


ARRAYS = Reader(
    "arrays", "arrays (X, y) or ((X, y), (X_test, y_test))", _recognises, _read, minds=("data_format",)
)
