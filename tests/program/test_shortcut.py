"""Arrays that need no conversion take a shorter way in: the same answers, the same refusals, never an old one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from tests.program.host import same_bits

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from vecgrad.program import Program
from vecgrad.program.shortcut import MOST_BYTES, Shortcut
from vecgrad.runtime import set_num_threads
from vecgrad.spec.errors import DataError, ShapeError

SHAPE = (8, 6, 2)
X = np.random.default_rng(0).standard_normal((9, *SHAPE)).astype(np.float32)
VECTOR: list[Layer] = [Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
MAP: list[Layer] = [Conv2D(5, 3), ReLU()]  # five channels of a pixel lie apart


def program(layers: list[Layer] = VECTOR, batch: int = 4, **more: Any) -> Program:
    work = {"loss": "cross_entropy", "optimizer": vg.SGD(0.1)} if layers is VECTOR else {}
    return vg.compile(layers, SHAPE, batch_size=batch, **(work | more))


def the_long_way(p: Program, x: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(Shortcut, "__call__", lambda self, x: None)
        return p.forward(x)


@pytest.mark.parametrize("layers", [VECTOR, MAP, []], ids=["vector", "map", "nothing"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_either_way(layers: list[Layer], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p, x = program(layers, dtype=dtype), X.astype(dtype)
    alone = [the_long_way(p, x[i : i + 1], monkeypatch) for i in range(9)]
    for count in (1, 2, 4, 5, 4, 9, 1):
        for start in (0, 9 - count):
            expected = np.concatenate(alone[start : start + count])
            for _ in range(3):
                same_bits({"output": p.forward(x[start : start + count])}, {"output": expected})
    swapped = np.asfortranarray(x[:1])
    shifted = np.frombuffer(b"\0" + x[:1].tobytes(), np.uint8)[1:].view(dtype).reshape(1, *SHAPE)
    for image in (swapped, shifted, x[:1].tolist(), x[:1].astype(f">f{x.itemsize}"), x[::-1][8:]):
        same_bits({"output": p.forward(image)}, {"output": alone[0]})


def test_a_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    p = program()
    p.forward(X[:1])
    monkeypatch.setattr("vecgrad.program.door.images", lambda *_: pytest.fail("the long way"))
    p.forward(X[1:2])


def test_answers_are_of_now_and_stay() -> None:
    p = program()
    first = p.forward(X[:1])
    kept = [(found := p.forward(X[i : i + 1]), found.copy()) for i in range(3)]
    p.gradients(X[:4], np.arange(4) % 3)
    p.evaluate(X, np.arange(9) % 3)
    same_bits({"output": p.forward(X[:1])}, {"output": first})
    p.step(X[:4], np.arange(4) % 3)
    after = p.forward(X[:1])
    assert (after != first).any(), "the step was not heard of"
    same_bits({"output": p.forward(X[:1].tolist())}, {"output": after})
    p.load_parameters({name: 0 * array for name, array in p.parameters.items()})
    assert not p.forward(X[:1]).any()
    p.predict_proba(X[:1])
    np.testing.assert_allclose(p.predict_proba(X[:1]), 1 / 3, rtol=1e-6)
    for found, copy in kept:
        same_bits({"output": found}, {"output": copy})


def test_refusals_are_the_same() -> None:
    p = program()
    p.forward(X[:2])
    for value in (np.nan, np.inf, -np.inf):
        bad = X[:2].copy()
        bad[1, 2, 3, 1] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError, match=r"entry \(1, 2, 3, 1\) .*1 of 2"):
                p.forward(bad)
    for wrong, kind in ((X[:2] > 0, DataError), (X[:2, :5], ShapeError), (X[0], ShapeError)):
        with pytest.raises(kind):
            p.forward(wrong)


def test_entries_whose_squares_are_too_large_are_welcome() -> None:
    p = program(MAP)
    p.forward(X[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(p.forward(np.full((1, *SHAPE), 1e25, np.float32))).all()


def test_threads_may_change_between_calls() -> None:
    p = program(batch=8)
    expected = p.forward(X[:8])
    try:
        for count in (1, 3, 2, 4, 1):
            set_num_threads(count)
            same_bits({"output": p.forward(X[:8])}, {"output": expected})
    finally:
        set_num_threads(None)


def test_images_too_large_to_be_copied_go_the_long_way() -> None:
    p = vg.compile([Conv2D(2, 3)], (80, 80, 3), batch_size=4)
    x = np.ones((4, 80, 80, 3), np.float32)
    assert x[:1].nbytes > MOST_BYTES
    same_bits({"output": p.forward(x)[:1]}, {"output": p.forward(x[:1])})
    same_bits({"output": p.forward(x)[:1]}, {"output": p.forward(x[:1])})
