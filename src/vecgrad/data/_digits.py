"""Reader of the digits that scikit-learn carries: 1,797 scans, 8×8, values 0 … 16, white on black."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vecgrad.data._order import split
from vecgrad.data._reader import Options, Reader, Source
from vecgrad.spec.errors import DataError

# The test images are the same in every run, whatever its seed: 360 of 1,797, stratified by label,
# chosen by this constant. Results are comparable only as long as neither number changes.
_TEST_IMAGES = 360
_SPLIT_SEED = 0
# What they are called; the longer name means nothing else where a file or folder has the shorter.
NAME, FULL_NAME = "digits", "sklearn:digits"


def _read(source: object, options: Options) -> Source:
    if source == NAME and os.path.lexists(NAME):
        raise DataError(
            f"{NAME}: names {Path.cwd() / NAME} and the digits that scikit-learn carries; write ./{NAME} for "
            f"the former, {FULL_NAME} for the latter"
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits: these images come with scikit-learn: pip install scikit-learn") from error
    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int64)
    kept, held_out = split(labels, _TEST_IMAGES / len(labels), _SPLIT_SEED)
    return Source(
        "digits",
        (images[kept], labels[kept]),
        test=(images[held_out], labels[held_out]),
        class_names=tuple(map(str, bunch.target_names)),
        white=16,
    )


DIGITS = Reader(
    "digits",
    'the name "digits"',
    lambda source: isinstance(source, str) and source in (NAME, FULL_NAME),
    _read,
)
