"""Where plan, kernels and runtime meet: a compiled model that steps, predicts and shows its gradients."""

from vecgrad.program.compiling import compile
from vecgrad.program.evaluation import Evaluation
from vecgrad.program.program import LayerTrace, Program
from vecgrad.program.saving import load

__all__ = ["Evaluation", "LayerTrace", "Program", "compile", "load"]
