"""Update rules: how parameters follow their gradient. Each is one map over the flat arrays."""

from vecgrad.updates.adam import Adam
from vecgrad.updates.base import Update
from vecgrad.updates.sgd import SGD

UPDATES: dict[str, type[Update]] = {"sgd": SGD, "adam": Adam}

__all__ = ["SGD", "UPDATES", "Adam", "Update"]
