"""Training: one call or a loop of events, schedules of the learning rate, built-in models, reports."""

from vecgrad.train._events import EpochEnd, EpochStart, Event, StepEnd
from vecgrad.train._fit import fit
from vecgrad.train._history import Checkpoint, Epoch, History
from vecgrad.train._loop import events
from vecgrad.train._report import ClassReport, Mistake, Report, report
from vecgrad.train.models import MODELS, BuiltIn, fitting
from vecgrad.train.schedules import Constant, Cosine, Schedule, Steps

__all__ = [
    "MODELS",
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
    "Mistake",
    "Report",
    "Schedule",
    "StepEnd",
    "Steps",
    "events",
    "fit",
    "fitting",
    "report",
]
