"""The plan: a graph's work as phases of kernel calls over chunks, with every choice and every byte decided. Data, not code."""

from vecgrad.plan.make import make
from vecgrad.plan.plan import BASES, Plan, PlannedCall, PlannedPhase
from vecgrad.plan.update import Update

__all__ = ["BASES", "Plan", "PlannedCall", "PlannedPhase", "Update", "make"]
