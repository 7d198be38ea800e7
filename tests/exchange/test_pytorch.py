"""Weights to PyTorch and back: names and layouts, by files, with the same outputs on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exchange.twins import TWINS, twin

import vecgrad as vg
from vecgrad.exchange import export_pytorch, from_pytorch, import_pytorch, to_pytorch
from vecgrad.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    Input,
    MaxPool2D,
    Model,
    ReLU,
    Residual,
    Sequential,
)
from vecgrad.spec.errors import DataError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
MODEL = Sequential(
    [
        Conv2D(4, 3, name="stem"),
        Sequential([Residual([Conv2D(4, 1), BatchNorm()], Conv2D(4, 1), name="residual")], name="layer1"),
        Flatten(),
        BatchNorm(),
        ReLU(),
        Dense(3),
    ]
)


# More of the blocks that their shorter siblings have.
LONGER = ("vgg11", "vgg16", "resnet32", "resnet56", "resnet18", "resnet34", "resnet50")


def test_names_and_layouts() -> None:
    stated = MODEL.parameters((5, 4, 2))
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=parameter.shape) for name, parameter in stated.items()}
    state = to_pytorch(MODEL, (5, 4, 2), p)
    assert list(state)[:7] == [
        "stem.weight", "stem.bias", "layer1.0.weight", "layer1.0.bias", "layer1.1.weight", "layer1.1.bias",
        "layer1.1.running_mean",
    ]  # fmt: skip
    assert "layer1.downsample.weight" in state
    assert state["stem.weight"].shape == (4, 2, 3, 3)
    assert state["stem.weight"][3, 1, 2, 0] == p["stem.weight"][2, 0, 1, 3]
    # Entry (row 2, column 1, channel 3) of the map of 3 × 2 × 4 pixels.
    assert state["5.weight"][1, (3 * 3 + 2) * 2 + 1] == p["5.weight"][(2 * 2 + 1) * 4 + 3, 1]
    assert state["3.running_var"][(3 * 3 + 2) * 2 + 1] == p["3.running_var"][(2 * 2 + 1) * 4 + 3]
    back = from_pytorch(MODEL, (5, 4, 2), state | {"3.num_batches_tracked": np.array(7)})
    assert list(back) == list(p)
    for name in p:
        np.testing.assert_array_equal(back[name], p[name], err_msg=name)


def test_what_does_not_fit(tmp_path: Path) -> None:
    program = vg.compile(MODEL, (5, 4, 2), backend="reference")
    state = to_pytorch(MODEL, (5, 4, 2), program.parameters)
    with pytest.raises(ShapeError, match=r"missing: stem.bias; not of this model: more"):
        from_pytorch(
            MODEL, (5, 4, 2), {k: v for k, v in state.items() if k != "stem.bias"} | {"more": np.ones(1)}
        )
    with pytest.raises(ShapeError, match=r"stem.weight has shape \(3,\), the model needs \(4, 2, 3, 3\)"):
        from_pytorch(MODEL, (5, 4, 2), state | {"stem.weight": np.ones(3)})
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not one")
    before = program.parameters
    for path in (broken, tmp_path / "none"):
        with pytest.raises(DataError, match=f"{path.name}.*safetensors"):
            import_pytorch(program, path)
    assert all(np.array_equal(before[name], array) for name, array in program.parameters.items())
    clash = Sequential([Sequential([Dense(2, name="a")], name="body"), Dense(2, name="a")])
    arrays = {name: np.zeros(parameter.shape) for name, parameter in clash.parameters((2,)).items()}
    with pytest.raises(ShapeError, match=r"two parameters would be named 'a.weight'"):
        to_pytorch(clash, (2,), arrays)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONGER)) for name in TWINS]
)
def test_the_twin_gives_the_same_outputs_both_ways(name: str, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="the peer, PyTorch, is not installed")
    from safetensors.torch import load_file, save_file

    model, shape, peer = twin(name)
    program = vg.compile(model, shape, batch_size=4, seed=2)
    rng = np.random.default_rng(1)
    # Statistics as a training leaves them; first values would hide an exchange of the two.
    kinds = {"running_mean": (-0.2, 0.2), "running_var": (0.5, 1.5), "bias": (-0.1, 0.1)}
    drawn = {
        key: rng.uniform(*kinds[end], a.shape) if (end := key.rpartition(".")[2]) in kinds else a
        for key, a in program.parameters.items()
    }
    program.load_parameters(drawn)
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    peer.eval()
    there = peer.load_state_dict(
        load_file(export_pytorch(program, tmp_path / "weights.safetensors")), strict=False
    )
    assert not there.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in there.missing_keys)
    with torch.no_grad():
        expected = peer(images).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(program.forward(x), expected, rtol=0, atol=1e-5 * scale)
    back = vg.compile(model, shape, batch_size=4, seed=3)
    save_file(peer.state_dict(), tmp_path / "theirs.safetensors")
    import_pytorch(back, tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(back.forward(x), program.forward(x))


def there(parts: list[Array]) -> Array:
    """The features that PyTorch makes of maps (n, h, w, c) and vectors, flattened and one behind the other."""
    moved = [part.transpose(0, 3, 1, 2) if part.ndim == 4 else part for part in parts]
    return np.concatenate([part.reshape(len(part), -1) for part in moved], 1)


def test_joined_flattened_maps_come_each_in_its_order() -> None:
    x = Input((4, 3, 2))
    a = Conv2D(5, 3, padding=1, name="c")(x)
    joined = Concat()(Flatten()(a), GlobalAvgPool2D()(x), Flatten()(ReLU()(x)))
    model = Model(x, Dense(2, name="d", bias=False)(Dropout(0.5)(BatchNorm(name="n")(joined))))
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=q.shape) for name, q in model.parameters((4, 3, 2)).items()}
    state = to_pytorch(model, (4, 3, 2), p)
    maps = [rng.normal(size=shape) for shape in ((6, 4, 3, 5), (6, 2), (6, 4, 3, 2))]
    here = np.concatenate([part.reshape(6, -1) for part in maps], 1)
    np.testing.assert_allclose(there(maps) @ state["d.weight"].T, here @ p["d.weight"], rtol=1e-12)
    assert state["n.weight"].shape == p["n.weight"].shape
    np.testing.assert_allclose((there(maps) * state["n.weight"]).sum(), (here * p["n.weight"]).sum())
    back = from_pytorch(model, (4, 3, 2), state)
    for name, array in p.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_orders_without_a_counterpart_are_refused() -> None:
    x = Input((4, 3, 2))
    narrow = MaxPool2D((2, 1), stride=(2, 1))(Conv2D(4, 1)(x))
    added = Model(x, Dense(2)(Add(name="sum")(Flatten()(x), Flatten()(narrow))))
    grouped = Sequential([Flatten(), GroupNorm(2), Dense(2)])
    for model, words in (
        (added, "layer sum, Add.*different orders"),
        (grouped, "layer 1, GroupNorm.*groups"),
    ):
        p = {name: np.zeros(q.shape) for name, q in model.parameters((4, 3, 2)).items()}
        with pytest.raises(ShapeError, match=words):
            to_pytorch(model, (4, 3, 2), p)
    one = Sequential([Flatten(), GroupNorm(1), Dense(2)])
    to_pytorch(one, (4, 3, 2), {name: np.zeros(q.shape) for name, q in one.parameters((4, 3, 2)).items()})


def test_numbers_that_numpy_has_not_are_named(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(DataError, match=r"holds BF16 numbers; convert them first"):
        import_pytorch(vg.compile(MODEL, (5, 4, 2), backend="reference"), tmp_path / "b.safetensors")


def test_only_features_come_in_another_order() -> None:
    """A bias has as many entries here as the map before it, by chance."""
    model = Sequential([Conv2D(24, 1), BatchNorm(), Conv2D(2, 1), Flatten(), Dense(24), ReLU(), Dense(24)])
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=q.shape) for name, q in model.parameters((4, 3, 2)).items()}
    state = to_pytorch(model, (4, 3, 2), p)
    for name in ("0.bias", "1.weight", "1.running_var", "4.bias", "6.bias"):
        np.testing.assert_array_equal(state[name], p[name], err_msg=name)
    np.testing.assert_array_equal(state["6.weight"], p["6.weight"].T)
    assert (state["4.weight"] != p["4.weight"].T).any()
