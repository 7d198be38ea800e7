"""Where plan, kernels and runtime meet: a compiled model that steps, predicts and shows its gradients."""

from vecgrad.program.compiling import compile
from vecgrad.program.evaluation import Evaluation
from vecgrad.program.program import Program
from vecgrad.program.saving import load
from vecgrad.program.trace import LayerTrace

__all__ = ["Evaluation", "LayerTrace", "Program", "compile", "load"]
