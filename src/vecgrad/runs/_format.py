"""The format: the files and their fields, and the digest by which a change of ``config.json`` shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

FORMAT = "vecgrad run"
VERSION = 1

CONFIG = "config.json"
MODEL = "model.safetensors"
STATE = "state.safetensors"
HISTORY = "history.jsonl"
METRICS = "metrics.json"
# Every file beside config.json, which lists their sizes and hashes.
LISTED = (MODEL, STATE, HISTORY, METRICS)
# What may lie there too and no reader needs: the learning curve for people, and a run of its own.
PAGES = ("history.csv", "curve.svg")
LAST = "last"


def is_count(value: object) -> bool:
    """Whether a JSON value is an integer from 0 to 2⁶⁴ − 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(is_count(side) and side > 0 for side in value)


# What config.json holds, each with a test of its JSON value.
FIELDS: dict[str, Callable[[Any], bool]] = {
    "format": lambda v: isinstance(v, dict),
    "vecgrad": lambda v: isinstance(v, str),
    "model": lambda v: isinstance(v, dict),
    "input_shape": _is_shape,
    "output_shape": _is_shape,
    "loss": lambda v: v is None or isinstance(v, dict),
    "optimizer": lambda v: v is None or isinstance(v, dict),
    "batch_size": lambda v: is_count(v) and v >= 1,
    "dtype": lambda v: v in ("float32", "float64"),
    "seed": is_count,
    "steps": is_count,
    "data": lambda v: v is None or isinstance(v, dict),
    "training": lambda v: v is None or isinstance(v, dict),
    "files": lambda v: isinstance(v, dict) and set(v) == set(LISTED),
    "sha256": lambda v: isinstance(v, str),
}
# What runs written earlier do not have.
LATER_FIELDS: dict[str, Callable[[Any], bool]] = {"averaged": lambda v: isinstance(v, bool)}


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def config_digest(config: Mapping[str, Any]) -> str:
    """The digest of what ``config.json`` says, its own digest left out and its layout on the page ignored."""
    said = {key: value for key, value in config.items() if key != "sha256"}
    return digest(json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
