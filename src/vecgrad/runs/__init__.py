"""A run folder, written whole or not at all and read strictly: weights as safetensors, all else JSON.

``docs/run-format.md`` states the format. Nothing in a run is code, and nothing is imported by name.
"""

from vecgrad.runs._objects import from_json, to_json
from vecgrad.runs._read import read
from vecgrad.runs._record import Run
from vecgrad.runs._write import check_place, write

__all__ = ["Run", "check_place", "from_json", "read", "to_json", "write"]
