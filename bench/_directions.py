"""vecgrad's side of a single convolution: each of its three directions as a plan of its own, run on arrays as users hold them.

The plans come from a one-layer network: its prediction is the forward pass; under a loss whose gradient is given, the
gradient of the weights and of the input are the two others. What is not asked for is not in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.graph.build import Wanted
from vecgrad.layers import Conv2D
from vecgrad.losses import Loss
from vecgrad.runtime import aligned
from vecgrad.spec.geometry import Conv
from vecgrad.spec.machine import Machine

DIRECTIONS = ("forward", "dx", "dw")
_WANTED = {
    "forward": Wanted(prediction=True),
    "dx": Wanted(input_gradient=True),
    "dw": Wanted(gradients=True),
}
_RESULT = {"forward": "prediction", "dx": "dx", "dw": "gradient.0.weight"}


class Given(Loss):
    """z = Σ x t: its gradient with respect to the prediction is the target itself."""

    targets = "values"

    def forward(self, e: Any, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        return e.reduce(
            "sum", e.reduce("sum", e.map(lambda x, t: x * t, x, t), over="channels"), over="pixels"
        ), t

    def backward(self, e: Any, saved: Any) -> Any:
        return saved


@dataclass(frozen=True)
class Direction:
    """run: the operation with its weights already packed. pack: the packing, which a training step does
    once in its update. kernels: what the plan chose. result: the last run's result in its public shape."""

    run: Callable[[], None]
    pack: Callable[[], None]
    kernels: str
    result: Callable[[], Any]
    _kept: Any

    def both(self) -> None:
        self.pack()
        self.run()


def _aligned(values: Any) -> Any:
    """NumPy's own arrays begin 16 bytes behind a line, so that every vector of theirs would be two lines."""
    array: Any = aligned(values.nbytes).array(values.dtype, values.shape)
    array[...] = values
    return array


@dataclass(frozen=True)
class Layer:
    """A convolution of ``batch`` images with its arrays in vecgrad's layout: x, w, dy, aligned as a network's maps are."""

    conv: Conv
    batch: int
    x: Any
    w: Any
    dy: Any

    @classmethod
    def of(cls, conv: Conv, batch: int, seed: int = 0) -> Layer:
        rng = np.random.default_rng(seed)
        shapes = (batch, *conv.in_shape), conv.weight_shape, (batch, *conv.out_shape)
        return cls(conv, batch, *(_aligned(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes))

    @property
    def flops(self) -> int:
        """Nominal, of all images in one direction."""
        return self.conv.flops * self.batch

    @property
    def nbytes(self) -> int:
        """Of x, w and dy, each touched once: what any direction reads and writes at least."""
        return self.x.nbytes + self.w.nbytes + self.dy.nbytes

    def directions(self, machine: Machine, threads: int = 1, **options: Any) -> dict[str, Direction]:
        """The three directions, compiled."""
        conv, sliding = self.conv, self.conv.window
        layer = Conv2D(
            conv.channels_out, sliding.kernel, sliding.stride, sliding.padding, dilation=sliding.dilation,
            groups=conv.groups, bias=False,
        )  # fmt: skip
        program = vg.compile(
            vg.Sequential([layer]), conv.in_shape, loss=Given(), batch_size=self.batch, threads=threads,
            machine=machine, parameters={"0.weight": self.w}, **options,
        )  # fmt: skip
        return {name: self._direction(program, name, threads) for name in DIRECTIONS}

    def _direction(self, program: vg.Program, name: str, threads: int) -> Direction:
        compiled = program._backend.compiled(_WANTED[name])
        weights = np.ones(self.batch, np.float32)
        compiled.set(self.x, self.dy, weights, {"inverse_weight": 1.0})
        compiled.run("pack", threads)
        # A plan holds addresses only; the memory behind them lives as long as the direction.
        kept = (program, self, weights)
        calls = compiled.plan.calls()
        kernels = "+".join(dict.fromkeys(call.kernel for call in calls if call.op.startswith("conv")))
        result = compiled.plan.results[_RESULT[name]]
        return Direction(
            lambda: compiled.run("main", threads), lambda: compiled.run("pack", threads), kernels,
            lambda: compiled.result(result, self.x), kept,
        )  # fmt: skip
