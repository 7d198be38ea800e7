"""Parameters in one flat canonical array: the same offsets serve gradients, optimizer state and checkpoints.

What is trained comes first and statistics behind it, so that gradients and state end where statistics begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecgrad.layers import Parameter
from vecgrad.spec.errors import DataError, ShapeError
from vecgrad.spec.tensor import Shape, size
from vecgrad.updates import AVERAGE

Array = np.ndarray[Any, np.dtype[Any]]

# Each parameter begins at a multiple of this many entries: 64 bytes in float32, a whole cache line.
ALIGN = 16


@dataclass(frozen=True)
class Slot:
    """Where a parameter lies, in entries."""

    offset: int
    shape: Shape

    @property
    def length(self) -> int:
        return size(self.shape)


@dataclass(frozen=True)
class FlatLayout:
    """Offsets of all parameters by name, in layer order.

    entries: those of what is trained, gaps (always zero) included. total: with the statistics behind them.
    """

    slots: Mapping[str, Slot]
    entries: int
    total: int

    @staticmethod
    def of(parameters: Mapping[str, Parameter]) -> FlatLayout:
        """The layout of parameters as a model states them.

        >>> FlatLayout.of({"0.bias": Parameter((3,), "zeros"), "1.bias": Parameter((4,), "zeros")}).slots["1.bias"].offset
        16
        """
        offset, entries, offsets = 0, 0, {}
        for trained in (True, False):
            for name, parameter in parameters.items():
                if parameter.trained is trained:
                    offsets[name] = offset
                    offset += -(-size(parameter.shape) // ALIGN) * ALIGN
            entries, offset = (max(offset, ALIGN),) * 2 if trained else (entries, offset)
        slots = {name: Slot(offsets[name], parameter.shape) for name, parameter in parameters.items()}
        return FlatLayout(slots, entries, offset)

    @property
    def trained(self) -> dict[str, Slot]:
        """The slots of what is trained, in layer order."""
        return {name: slot for name, slot in self.slots.items() if slot.offset < self.entries}

    def kept(self, name: str) -> int:
        """Entries of the array ``name`` that an update rule keeps: an average is one of statistics too."""
        return self.total if name == AVERAGE else self.entries

    def views(self, flat: Array) -> dict[str, Array]:
        """Each parameter as a view of the flat array, in its public shape; without statistics where it ends before them."""
        return {
            name: flat[slot.offset : slot.offset + slot.length].reshape(slot.shape)
            for name, slot in self.held(flat).items()
        }

    def held(self, flat: Array) -> dict[str, Slot]:
        """The slots that a flat array has: all, or those of what is trained."""
        return dict(self.slots) if len(flat) == self.total else self.trained

    def checked(self, arrays: Mapping[str, Any], dtype: str, trained: bool = False) -> dict[str, Array]:
        """The arrays as NumPy arrays of ``dtype``; ShapeError for a missing, an extra or a wrongly shaped one, DataError for one
        that is not finite.

        trained: arrays for what is trained alone, like an optimizer's state.
        """
        slots = self.trained if trained else self.slots
        missing = [name for name in slots if name not in arrays]
        extra = [name for name in arrays if name not in slots]
        if missing or extra:
            parts = []
            if missing:
                parts.append(f"missing: {', '.join(missing)}")
            if extra:
                parts.append(f"not of this model: {', '.join(map(str, extra))}")
            raise ShapeError(f"parameters do not fit the model ({'; '.join(parts)})")
        found = {}
        for name, slot in slots.items():
            array = np.asarray(arrays[name])
            if array.shape != slot.shape:
                raise ShapeError(f"parameter {name} has shape {array.shape}, the model needs {slot.shape}")
            if array.dtype.kind not in "fiu":
                raise ShapeError(f"parameter {name} has dtype {array.dtype}, expected floating-point numbers")
            with np.errstate(over="ignore"):
                found[name] = array.astype(dtype, copy=False)
            if not np.isfinite(found[name]).all():
                what = f"numbers too large for {dtype}" if np.isfinite(array).all() else "NaN or infinity"
                raise DataError(f"parameter {name} holds {what}; load finite numbers")
        return found
