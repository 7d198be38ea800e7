"""Steps on arrays that need no conversion take a shorter way in: the same bits, the same refusals, and nothing changes by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.program.host import same_bits

import vecgrad as vg
from vecgrad.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from vecgrad.losses import CrossEntropy
from vecgrad.program import Program
from vecgrad.program.stepping import Stepping
from vecgrad.spec.errors import ArgumentError, DataError, ShapeError, VecgradError

SHAPE, BATCH, CLASSES = (8, 6, 1), 6, 3
LAYERS: list[Layer] = [Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(CLASSES)]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, *SHAPE)), RNG.integers(0, CLASSES, 40)


def program(**more: Any) -> Program:
    work = {"loss": "cross_entropy", "optimizer": vg.Adam(0.01), "batch_size": BATCH}
    return vg.compile(LAYERS, SHAPE, **(work | more))


def everything(p: Program) -> dict[str, Any]:
    state = {f"{kind}.{name}": a for kind, arrays in p.state.items() for name, a in arrays.items()}
    return {**p.parameters, **state, "steps": np.array(p.steps)}


def trained(p: Program) -> list[float]:
    """Steps of several sizes, each taken more than once, between other work."""
    losses, first = [], 0
    for turn, n in enumerate((6, 6, 1, 6, 4, 4, 1, 6)):
        x, y = X[first : first + n].astype(p.dtype), Y[first : first + n]
        first += n
        if turn == 3:
            p.gradients(x, y)
        if turn == 5:
            p.step(x, y, sample_weight=np.arange(1, n + 1))
        losses.append(p.step(x, y, learning_rate=0.02 if turn == 6 else None))
        p.forward(x)
    return losses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("threads", "loss"),
    [
        (1, CrossEntropy()),
        (2, CrossEntropy()),
        (2, CrossEntropy(label_smoothing=0.1)),
        (1, CrossEntropy(class_weight=(1.0, 0.0, 3.7))),
        (2, CrossEntropy(label_smoothing=0.3, class_weight=(0.3, 2.0, 1.1))),
    ],
    ids=str,
)
def test_the_same_bits_either_way(
    dtype: str, threads: int, loss: CrossEntropy, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    run = Stepping.run
    monkeypatch.setattr(Stepping, "run", lambda self, scalars: taken.append(1) or run(self, scalars))
    short = program(dtype=dtype, threads=threads, loss=loss)
    losses = trained(short)
    assert len(taken) == 5
    monkeypatch.setattr(Stepping, "takes", lambda self, x, y: False)
    long = program(dtype=dtype, threads=threads, loss=loss)
    assert trained(long) == losses
    same_bits(everything(short), everything(long))
    assert len(taken) == 5


def changed(array: Any, place: Any, value: Any) -> Any:
    array = array.copy()
    array[place] = value
    return array


def apart(array: Any) -> Any:
    """The same entries with gaps between them."""
    return np.repeat(array, 2, axis=0)[::2]


def unaligned(array: Any) -> Any:
    return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


WELCOME: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "float64": lambda x, y: (x.astype(float), y),
    "other byte order": lambda x, y: (x.astype(">f4"), y.astype(">i8")),
    "int32 labels": lambda x, y: (x, y.astype(np.int32)),
    "labels byte-swapped": lambda x, y: (x, y.astype(">i8")),
    "uint64 labels": lambda x, y: (x, y.astype(np.uint64)),
    "gaps": lambda x, y: (apart(x), apart(y)),
    "Fortran": lambda x, y: (np.asfortranarray(x), y),
    "unaligned images": lambda x, y: (unaligned(x), y),
    "unaligned labels": lambda x, y: (x, unaligned(y)),
    "read-only": lambda x, y: (np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape), y),
    "no channel": lambda x, y: (x[..., 0], y),
    "lists": lambda x, y: (x, y.tolist()),
    "one-hot": lambda x, y: (x, np.eye(CLASSES)[y]),
    "large and denormal": lambda x, y: (changed(changed(x, 0, np.finfo("f4").max), 1, 1e-42), y),
}


@pytest.mark.parametrize("how", WELCOME)
def test_whatever_form_it_comes_in(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = X[:BATCH].astype("f4"), Y[:BATCH]
    given = WELCOME[how](x, y)
    one, other = program(), program()
    for p in (one, other):
        p.step(x, y)
    one.step(*given)
    monkeypatch.setattr(Stepping, "takes", lambda self, x, y: False)
    other.step(*given)
    same_bits(everything(one), everything(other))


ENTRY = (BATCH - 1, 7, 5, 0)
REFUSED: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], type[VecgradError], str]] = {
    "nan": (lambda x, y: (changed(x, ENTRY, np.nan), y), DataError, r"entry \(5, 7, 5, 0\) is nan"),
    "-nan": (lambda x, y: (changed(x, (0, 0, 0, 0), -np.nan), y), DataError, "is nan"),
    "inf": (lambda x, y: (changed(x, ENTRY, np.inf), y), DataError, "is inf"),
    "-inf": (lambda x, y: (changed(x, (2, 3, 1, 0), -np.inf), y), DataError, "is -inf"),
    "label below": (lambda x, y: (x, changed(y, 5, -1)), DataError, "label -1 of image 5"),
    "label above": (lambda x, y: (x, changed(y, 0, CLASSES)), DataError, f"label {CLASSES} of image 0"),
    "label far": (lambda x, y: (x, changed(y, 3, 2**62)), DataError, "of image 3"),
    "real labels": (lambda x, y: (x, y.astype(float)), DataError, "must be integers"),
    "times": (lambda x, y: (x, y.view("m8[s]")), DataError, "must be integers"),
    "too few labels": (lambda x, y: (x, y[:-1]), ShapeError, "5 labels for 6 images"),
    "labels in a column": (lambda x, y: (x, y[:, np.newaxis]), ShapeError, "targets have shape"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused_changes_nothing(how: str) -> None:
    make, kind, told = REFUSED[how]
    p, x, y = program(), X[:BATCH].astype("f4"), Y[:BATCH]
    p.step(x, y)
    before = everything(p)
    for _ in range(2):
        with pytest.raises(kind, match=told):
            p.step(*make(x, y))
    with pytest.raises(ArgumentError, match="learning_rate"):
        p.step(x, y, learning_rate=float("nan"))
    same_bits(everything(p), before)
    other = program()
    for trained in (p, other):
        for _ in range(2 - (trained is p)):
            trained.step(x, y)
    same_bits(everything(p), everything(other))


@pytest.mark.parametrize("loss", [{"label_smoothing": 0.25}, {"class_weight": (1.0, 2.0, 4.0)}], ids=str)
def test_losses_that_change_their_targets_go_the_short_way_too(loss: dict[str, Any]) -> None:
    p, other = program(loss=vg.losses.CrossEntropy(**loss)), program()
    x, y = X[4 : 4 + BATCH].astype("f4"), Y[4 : 4 + BATCH]
    first, again, plain = p.step(x, y, learning_rate=0), p.step(x, y, learning_rate=0), other.step(x, y)
    assert first == again != plain
    assert x.shape in p._steppings


@pytest.mark.parametrize("place", range(48))
def test_every_entry_is_looked_at(place: int) -> None:
    p, x, y = program(), X[:1, ..., 0].astype("f4"), Y[:1]
    p.step(x, y)
    assert x.shape in p._steppings
    x.reshape(-1)[place] = np.nan
    with pytest.raises(DataError, match="is nan"):
        p.step(x, y)
