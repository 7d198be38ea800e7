"""Where a weight gradient's sums lie: all weights, or a task's own block of them."""

from __future__ import annotations

from vecgrad.kernels.builder import Builder, Value
from vecgrad.spec.kernel import WeightGradientSpec


def moved(b: Builder, spec: WeightGradientSpec, slab: Value, c: Value, k: Value) -> Value:
    """From where the entry of a channel is reached by its number among all, in the block that begins at channels c and k."""
    if not spec.own:
        return slab
    first = b.add(b.mul(c, spec.slab_shape[1]), k)
    return b.around(slab, b.sub(0, b.mul(first, b.item)))


def reached(b: Builder, slab: Value, number: Value) -> Value:
    """The entry of that number; ``slab`` may be ``moved``, before the memory's beginning."""
    return b.around(slab, b.mul(number, b.item))
