"""A layer that breaks its promises is stopped by name, whoever computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Dense, Layer, Parameter
from vecgrad.spec.errors import ShapeError

BACKENDS = pytest.mark.parametrize("backend", ["native", "reference"])


@dataclass(frozen=True)
class Scale(Layer):
    """x · a per channel; ``fault`` says which promise it breaks."""

    fault: str = ""

    def infer(self, shape: Any) -> Any:
        return (shape[0] + 1,) if self.fault == "infer" else shape

    def parameters(self, shape: Any) -> dict[str, Parameter]:
        return {"a": Parameter(shape[-1:], "ones")}

    def forward(self, e: Any, x: Any, p: Any) -> Any:
        other = e.reshape(x, (*x.shape, 1)) if self.fault == "broadcast" else x
        y = e.map(lambda x, a, o: x * a + 0 * o, x, p["a"], other)
        return (e.map(lambda a: a + 0, p["a"]) if self.fault == "unbatched" else y), x

    def backward(self, e: Any, x: Any, dy: Any, p: Any) -> Any:
        dx, each = e.map(lambda d, a: d * a, dy, p["a"]), e.map(lambda d, x: d * x, dy, x)
        da = e.reduce("sum", each, over="pixels")
        match self.fault:
            case "missing":
                return dx, {}
            case "batched":
                return dx, {"a": each}
            case "gradient":
                return dx, {"a": e.reduce("sum", da, over="channels")}
            case "dx":
                return e.reduce("sum", dx, over="channels"), {"a": da}
        return dx, {"a": da}


def step(fault: str, backend: str) -> None:
    program = vg.compile(
        [Dense(4), Scale(fault, name="odd")], (3,), loss="mse", optimizer="sgd", batch_size=2, backend=backend
    )
    program.step(np.ones((2, 3)), np.ones((2, *program.output_shape)))


@BACKENDS
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("infer", ["layer odd", "Scale(", "(4,)", "(5,)"]),
        ("unbatched", ["layer odd", "the same for all images"]),
        ("missing", ["odd.a", "no gradient"]),
        ("batched", ["odd.a", "once per image", "reduce"]),
        ("gradient", ["odd.a", "(1,)", "(4,)"]),
        ("dx", ["layer odd", "∂z/∂x", "(1,)", "(4,)"]),
    ],
)
def test_broken_promises(fault: str, words: list[str], backend: str) -> None:
    with pytest.raises(ShapeError) as caught:
        step(fault, backend)
    for word in words:
        assert word in str(caught.value)


@BACKENDS
def test_the_sound_layer_trains(backend: str) -> None:
    step("", backend)
