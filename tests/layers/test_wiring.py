"""Models that are no chains: what they compute, how their parts are named, and what is said of those that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    Model,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from vecgrad.layers.summary import summary
from vecgrad.runs._objects import from_json, to_json
from vecgrad.spec.errors import ArgumentError, ShapeError, VecgradError

SAME = Conv2D(4, 3, padding=1)


def two_branches() -> Model:
    x = Input((6, 6, 4))
    a = ReLU()(SAME(x))
    return Model(x, Concat()(a, Conv2D(3, 1)(a), x))


def test_names_and_shapes() -> None:
    model = two_branches()
    assert model.infer((6, 6, 4)) == (6, 6, 11)
    assert list(model.parameters((6, 6, 4))) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    block = Residual([SAME, ReLU()], Conv2D(4, 1, name="match"))
    assert list(block.parameters((6, 6, 3))) == [
        "body.0.weight", "body.0.bias", "shortcut.weight", "shortcut.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("join", [Add, Concat])
def test_a_join_takes_its_values_as_a_list_too(join: type[Add] | type[Concat]) -> None:
    x = Input((6, 6, 4))
    a, b = SAME(x), Conv2D(4, 1)(x)
    assert Model(x, join()([a, b])) == Model(x, join()(a, b))
    with pytest.raises(ArgumentError, match="called on nothing"):
        join()([])
    with pytest.raises(ArgumentError, match="called on list"):
        ReLU()([a])  # type: ignore[arg-type]


def test_a_value_may_be_read_by_all_and_gradients_add_up() -> None:
    x = Input()
    model = Model(x, Add()(x, x, ReLU()(x)))
    program = vg.compile(model, (3,), "mse", backend="reference", dtype="float64")
    images = np.array([[1.0, -2.0, 3.0]])
    np.testing.assert_array_equal(program.forward(images), [[3.0, -4.0, 9.0]])
    dy = program.trace(images, np.zeros((1, 3)))["output"].dx
    np.testing.assert_allclose(program.gradients(images, np.zeros((1, 3)), inputs=True)["x"], dy * [3, 2, 3])


def test_a_layer_called_twice_shares_its_parameters() -> None:
    x, layer = Input(), Dense(3, name="again")
    model = Model(x, layer(layer(x)))
    assert list(model.parameters((3,))) == ["again.weight", "again.bias"]
    program = vg.compile(model, (3,), "mse", backend="reference", dtype="float64")
    w, b = program.parameters["again.weight"], program.parameters["again.bias"]
    images = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(program.forward(images), (images @ w + b) @ w + b)
    assert list(program.trace(images, images)) == ["again", "again#2", "output"]
    assert summary(model, (3,)).parameters == 12
    vg.check.model(model, (3,), "mse")


def test_equal_layers_are_not_the_same_layer() -> None:
    x = Input()
    assert list(Model(x, Dense(3)(Dense(3)(x))).parameters((3,))) == [
        "0.weight", "0.bias", "1.weight", "1.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [two_branches(), Residual([SAME, ReLU()]), Residual(SAME, Conv2D(4, 1)), Sequential([Residual(ReLU())])],
)
def test_they_are_data(model: Layer) -> None:
    assert from_json(to_json(model), Layer) == model


def test_an_order_is_found_whatever_the_depth() -> None:
    x = value = Input((2,))
    for _ in range(3000):
        value = ReLU()(value)
    assert len(Model(x, value).layers) == 3000


def test_receptive_fields_are_those_of_the_widest_branch() -> None:
    rows = summary(Residual(Sequential([SAME, SAME]), Conv2D(4, 1)), (9, 9, 4)).rows
    assert [(row.path, row.receptive_field) for row in rows] == [
        ("body.0", (3, 3)), ("body.1", (5, 5)), ("shortcut", (1, 1)), ("add", (5, 5)),
    ]  # fmt: skip


def other_input() -> Any:
    x, y = Input(), Input()
    return Model(x, Add()(x, y))


def dangling() -> Any:
    return Model(layers=[ReLU(), ReLU()], calls=[(0, 0), (1, 0)])


def never_called() -> Any:
    return Model(layers=[ReLU(), ReLU()], calls=[(0, 0)])


def cycle() -> Any:
    return Model(layers=[Add(name="sum"), ReLU(name="back")], calls=[(0, 0, 2), (1, 1)])


def itself() -> Any:
    return Model(layers=[Add(), ReLU()], calls=[(0, 0, 1), (1, 1)])


def inner() -> Any:
    return Model(Input(), Sequential([Dense(2), SAME])(Input((4,))))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_input, "second Input"),
        (dangling, "nothing reads layer 0"),
        (never_called, "layer 1, ReLU.*never called"),
        (cycle, "layer sum.*made by layer back.*a cycle"),
        (itself, "layer 0.*a cycle"),
        (lambda: Model(layers=[ReLU()], calls=[(0, 7)]), "value 7, expected 0"),
        (lambda: Model(layers=[ReLU()], calls=[(0,)]), "reads nothing"),
        (lambda: Model(layers=[ReLU()], calls=[(3, 0)]), "call 0 is of layer 3"),
        (lambda: Model(Input(), 3), "outputs must be what"),
        (lambda: Model(ReLU()(Input()), Input()), "inputs must be what Input"),
        (lambda: Model(*[Input()] * 2), "the input itself"),
        (lambda: ReLU()(np.ones(3)), "ReLU.*ndarray.*compile the model"),
        (ReLU(), "called on nothing"),
        (lambda: ReLU()(Input(), Input()), "takes one value, got 2"),
        (lambda: Add()(Input((3, 3, 4)), Input((3, 3, 5))), r"Add.*\(3, 3, 4\) and \(3, 3, 5\) differ"),
        (lambda: Add()(Input((3,))), "two values or more"),
        (lambda: Concat()(Input((3, 3, 4)), Input((3, 2, 4))), "differ in more than their channels"),
        (lambda: Concat()(Input((3,)), Input((1, 1, 3))), "differ in more than their channels"),
        (lambda: Dense(2)(Conv2D(3, 5)(Input((3, 3, 1)))), "Conv2D"),
        (inner, "layer 1, Conv2D.*needs an image"),
        (lambda: Residual(Conv2D(5, 3)).infer((6, 6, 4)), r"layer add, Add\(\).*differ"),
        (lambda: Sequential([Residual([SAME, Dense(3)])]).infer((6, 6, 4)), r"layer 0\.add"),
        (lambda: Sequential([Residual([Flatten(), SAME])]).infer((6, 6, 4)), r"layer 0\.body\.1"),
    ],
)  # fmt: skip
def test_what_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(VecgradError, match=words) as error:
        make()
    assert isinstance(error.value, (ArgumentError, ShapeError))


def test_statistics_are_not_shared() -> None:
    from vecgrad.layers import BatchNorm

    x, norm = Input(), BatchNorm()
    with pytest.raises(ShapeError, match=r"layer 0, BatchNorm.*used twice.*running statistics"):
        Model(x, norm(ReLU()(norm(x)))).parameters((3,))


def test_shared_parameters_need_one_shape() -> None:
    x, layer = Input(), Dense(4)
    with pytest.raises(ShapeError, match=r"layer 0, Dense.*used twice.*shapes differ"):
        Model(x, layer(layer(x))).parameters((3,))


def test_a_value_is_told_without_all_that_it_was_made_of() -> None:
    """Written out with its sources it would double with every layer."""
    v = Input((6, 6, 4))
    assert repr(v) == "<Input, (6, 6, 4)>"
    for _ in range(60):
        v = Add()(v, ReLU()(v))
    assert repr(v) == "<output of Add(), (6, 6, 4)>"
    with pytest.raises(ArgumentError, match=r"layer 0 is <output of Add\(\), .* which is not a layer"):
        Sequential([v])  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match=r"not a model yet; write Model\(inputs, outputs\)"):
        vg.compile(v, (6, 6, 4), backend="reference")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "layer", [Conv2D(4, 1, frozen=True), BatchNorm(frozen=True)], ids=["kernel", "statistics"]
)
def test_what_stays_as_it_is_can_be_shared(layer: Layer) -> None:
    x = Input((6, 6, 4))
    model = Model(x, Dense(2)(Add()(layer(x), layer(ReLU()(x)))))
    program = vg.compile(model, (6, 6, 4), "cross_entropy", vg.SGD(0.1), 4, backend="reference")
    before = program.parameters
    program.step(np.ones((4, 6, 6, 4), np.float32), np.array([0, 1, 0, 1]))
    fixed = {name for name, p in model.parameters((6, 6, 4)).items() if p.fixed}
    assert fixed
    for name in fixed:
        np.testing.assert_array_equal(program.parameters[name], before[name])
    norm = BatchNorm()
    shared = Model(x, Add()(norm(x), norm(ReLU()(x))))
    with pytest.raises(ShapeError, match="it keeps running statistics"):
        shared.parameters((6, 6, 4))


def test_where_a_model_begins_and_ends() -> None:
    """Within its layers, whatever holds them: it may begin by scaling pixels, and may not end in Softmax for cross entropy."""
    x = Input((6, 6, 1))
    scaled = [
        Model(x, Dense(2)(Rescale(1 / 255)(x))),
        Sequential([Sequential([]), Sequential([Rescale(1 / 255)]), Dense(2)]),
        Model(x, Dense(2)(Concat()(Rescale(1 / 255)(x), Rescale(2 / 255)(x)))),
    ]
    for model in scaled:
        assert vg.compile(model, (6, 6, 1), backend="reference").rescales
    plain = [Model(x, Dense(2)(Concat()(Rescale(1 / 255)(x), x))), Sequential([Sequential([])])]
    for model in plain:
        assert not vg.compile(model, (6, 6, 1), backend="reference").rescales
    for ending in (Model(x, Softmax()(Dense(2)(x))), Sequential([Dense(2), Sequential([Softmax()])])):
        with pytest.raises(ArgumentError, match="remove the final Softmax"):
            vg.compile(ending, (6, 6, 1), "cross_entropy", backend="reference")


def test_an_empty_call_is_named() -> None:
    with pytest.raises(ArgumentError, match="call 0 is empty"):
        Model(layers=[ReLU()], calls=[()])
