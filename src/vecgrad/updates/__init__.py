"""Update rules: how parameters follow their gradient. Each, with all its options, is one pass over the flat arrays."""

from vecgrad.updates.adam import Adam
from vecgrad.updates.adamw import AdamW
from vecgrad.updates.base import AVERAGE, GROUP_DECAY, GROUP_RATE, SLOW, Update
from vecgrad.updates.rmsprop import RMSprop
from vecgrad.updates.sgd import SGD

UPDATES: dict[str, type[Update]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}

__all__ = [
    "AVERAGE",
    "GROUP_DECAY",
    "GROUP_RATE",
    "SGD",
    "SLOW",
    "UPDATES",
    "Adam",
    "AdamW",
    "RMSprop",
    "Update",
]
