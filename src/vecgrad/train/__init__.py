"""Training: one call or a loop of events, schedules of the learning rate, built-in models, reports."""

from vecgrad.train._events import EpochEnd, EpochStart, Event, StepEnd
from vecgrad.train._fit import fit
from vecgrad.train._history import Checkpoint, Epoch, History
from vecgrad.train._loop import events
from vecgrad.train._report import ClassReport, Mistake, Report, report
from vecgrad.train.models import MODELS, BuiltIn, fitting
from vecgrad.train.schedules import SCHEDULES, Constant, Cosine, Linear, OneCycle, Schedule, Steps, Warmup

__all__ = [
    "MODELS",
    "SCHEDULES",
    "BuiltIn",
    "Checkpoint",
    "ClassReport",
    "Constant",
    "Cosine",
    "Epoch",
    "EpochEnd",
    "EpochStart",
    "Event",
    "History",
    "Linear",
    "Mistake",
    "OneCycle",
    "Report",
    "Schedule",
    "StepEnd",
    "Steps",
    "Warmup",
    "events",
    "fit",
    "fitting",
    "report",
]
