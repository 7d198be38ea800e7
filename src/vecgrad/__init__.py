"""vecgrad: convolutional networks on the CPU, with closed-form gradients compiled to vector code.

>>> import vecgrad as vg
>>> from vecgrad.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
>>> model = vg.Sequential([Conv2D(8, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(10)])
>>> model.infer((28, 28, 1))
(10,)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vecgrad.estimator import CNNClassifier, CNNRegressor
    from vecgrad.layers import Input, Model, Residual, Sequential
    from vecgrad.layers.summary import summary
    from vecgrad.program import Program, compile, load
    from vecgrad.runtime import get_num_threads, set_num_threads
    from vecgrad.train import fit
    from vecgrad.updates import SGD, Adam, AdamW, RMSprop

# The public face: name → module. Loaded on first use, so that importing the package stays cheap.
_FACE = {
    "Adam": "vecgrad.updates",
    "AdamW": "vecgrad.updates",
    "CNNClassifier": "vecgrad.estimator",
    "CNNRegressor": "vecgrad.estimator",
    "Input": "vecgrad.layers",
    "Model": "vecgrad.layers",
    "Program": "vecgrad.program",
    "RMSprop": "vecgrad.updates",
    "Residual": "vecgrad.layers",
    "SGD": "vecgrad.updates",
    "Sequential": "vecgrad.layers",
    "compile": "vecgrad.program",
    "fit": "vecgrad.train",
    "get_num_threads": "vecgrad.runtime",
    "load": "vecgrad.program",
    "set_num_threads": "vecgrad.runtime",
    "summary": "vecgrad.layers.summary",
}
# The rooms that are public as modules, loaded on first use too.
_ROOMS = ("check", "data", "exchange", "layers", "losses", "reference", "runs", "train", "updates", "zoo")

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CNNClassifier",
    "CNNRegressor",
    "Input",
    "Model",
    "Program",
    "RMSprop",
    "Residual",
    "Sequential",
    "__version__",
    "compile",
    "fit",
    "get_num_threads",
    "load",
    "set_num_threads",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        import importlib

        value = getattr(importlib.import_module(_FACE[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        import importlib

        return importlib.import_module(f"vecgrad.{name}")
    raise AttributeError(f"module 'vecgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
