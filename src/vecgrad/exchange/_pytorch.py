"""PyTorch's names and layouts: arrays as its modules' ``state_dict`` has them, in safetensors files.

Names: a layer's path, without the parts that PyTorch's models do not have ("residual" and "body" of a residual block), and with
"downsample" for "shortcut". A chain of layers is thus named as ``torch.nn.Sequential`` names the same chain, and a
network of the zoo as its namesake.

Layouts: a kernel (R, S, C, K) is (K, C, R, S) there, a dense weight (F, K) is (K, F). Where a map was flattened, its entries
come in the order (C, H, W) there and (H, W, C) here (``_order``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecgrad.exchange._order import Order, leaves, places
from vecgrad.layers import Dense, Layer
from vecgrad.spec.errors import DataError, ShapeError
from vecgrad.spec.tensor import Shape

if TYPE_CHECKING:
    from vecgrad.program import Program

Array = np.ndarray[Any, np.dtype[Any]]

_WITHOUT = ("residual", "body")
_RENAMED = {"shortcut": "downsample"}


def to_pytorch(model: Layer, input_shape: Shape, parameters: Mapping[str, Any]) -> dict[str, Array]:
    """Parameters by PyTorch's names, in its layouts. Raises ShapeError where two would have one name."""
    found: dict[str, Array] = {}
    for entry in _entries(model, tuple(input_shape)):
        if entry.there in found:
            raise ShapeError(f"two parameters would be named {entry.there!r} in PyTorch; rename a layer")
        found[entry.there] = np.ascontiguousarray(entry.out(np.asarray(parameters[entry.here])))
    return found


def from_pytorch(model: Layer, input_shape: Shape, state: Mapping[str, Any]) -> dict[str, Array]:
    """A ``state_dict`` (arrays by name) as parameters of ``model``, for ``Program.load_parameters``.

    Counters of batches are passed over. Raises ShapeError for a missing, an extra or a wrongly shaped entry.
    """
    entries = _entries(model, tuple(input_shape))
    given = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    names = {entry.there for entry in entries}
    missing, extra = sorted(names - given.keys()), sorted(given.keys() - names)
    if missing or extra:
        told = [
            f"{what}: {', '.join(some[:5])}"
            for what, some in (("missing", missing), ("not of this model", extra))
            if some
        ]
        raise ShapeError(f"the state does not fit the model ({'; '.join(told)}); compare the layers' names")
    found = {}
    for entry in entries:
        array = np.asarray(_detached(given[entry.there]))
        expected = entry.out(np.empty(entry.shape)).shape
        if array.shape != expected:
            raise ShapeError(f"{entry.there} has shape {array.shape}, the model needs {expected}")
        found[entry.here] = np.ascontiguousarray(entry.back(array))
    return found


def export_pytorch(program: Program, path: str | os.PathLike[str]) -> Path:
    """Write a program's parameters as a safetensors file that PyTorch's twin loads; returns its full path.

    The file is complete or not there. In PyTorch: ``module.load_state_dict(safetensors.torch.load_file(path), strict=False)``
    (not strict for its counters of batches alone).
    """
    from safetensors.numpy import save

    target = Path(path).absolute()
    state = to_pytorch(program.model, program.input_shape, program.parameters)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(save(state, {"format": "pt"}))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def import_pytorch(program: Program, path: str | os.PathLike[str]) -> None:
    """Load a safetensors file written from PyTorch into a program. Nothing changes when it does not fit.

    Raises DataError for a file that is no safetensors file, ShapeError for one that does not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        state = load(Path(path).read_bytes())
    except KeyError as error:  # NumPy has no such dtype
        raise DataError(
            f"{os.fspath(path)}: holds {error.args[0]} numbers; convert them first, by tensor.float() in PyTorch"
        ) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as a safetensors file: {error}") from None
    program.load_parameters(from_pytorch(program.model, program.input_shape, state))


@dataclass(frozen=True)
class _Entry:
    """A parameter's two names, its shape here, and its array's way there and back."""

    here: str
    there: str
    shape: Shape
    out: Callable[[Array], Array]
    back: Callable[[Array], Array]


def _entries(model: Layer, shape: Shape) -> list[_Entry]:
    found: dict[str, _Entry] = {}
    for path, layer, before, order in leaves(model, shape):
        for name, parameter in layer.parameters(before).items():
            here = f"{path}.{name}" if path else name
            # A dense weight's first axis counts its input's features, and all that other layers of vectors have; nothing else does.
            of_features = len(parameter.shape) == 2 if isinstance(layer, Dense) else len(before) == 1
            ways = _ways(parameter.shape, order if of_features else None)
            found[here] = _Entry(here, _there(here), parameter.shape, *ways)
    return list(found.values())


def _there(name: str) -> str:
    parts = name.split(".")
    kept = [_RENAMED.get(part, part) for part in parts[:-1] if part not in _WITHOUT]
    return ".".join([*kept, parts[-1]])


def _ways(shape: Shape, order: Order | None) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """How a parameter's array goes there and comes back; ``order``: of the features that its first axis counts, if it does."""
    if len(shape) == 4:
        return lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0)
    if order is None or shape[0] != len(there := places(order)):
        return (lambda a: a.T), (lambda a: a.T)
    return (lambda a: a[there].T), (lambda a: a.T[np.argsort(there)])


def _detached(tensor: Any) -> Any:
    """Without what PyTorch remembers of a parameter's gradient, which NumPy cannot."""
    return tensor.detach() if hasattr(tensor, "detach") else tensor
