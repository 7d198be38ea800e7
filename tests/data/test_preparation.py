"""The preparation record: its arithmetic on arrays, its statistics, its JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vecgrad.data import Preparation
from vecgrad.spec.errors import ArgumentError, DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_arrays_are_scaled_and_normalised_by_channel(dtype: str, channels: int) -> None:
    X = RNG.integers(0, 256, (4, 5, 6, channels)).astype(dtype)
    mean, std = RNG.random(channels), 0.5 + RNG.random(channels)
    preparation = Preparation((5, 6), channels, 255.0, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    before = X.copy()
    got = preparation.arrays(X)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got.shape == (4, 5, 6, channels)
    np.testing.assert_allclose(got, (X / 255.0 - mean) / std, rtol=0, atol=2e-6)
    assert np.array_equal(X, before)


def test_every_dtype_of_the_same_numbers_is_prepared_to_the_same_bits() -> None:
    X = RNG.integers(0, 17, (50, 8, 8))
    preparation = Preparation.of(X.astype(np.uint8)[..., None], scale=16)
    expected = preparation.arrays(X.astype(np.uint8))
    for dtype in ("int32", "float32", "float64"):
        assert np.array_equal(preparation.arrays(X.astype(dtype)), expected)


def test_without_normalisation_white_is_one_and_black_zero() -> None:
    X = np.array([[[0, 16]], [[8, 4]]], np.uint8)[..., None]
    preparation = Preparation.of(X, scale=16, normalise=False)
    assert (preparation.mean, preparation.std) == ((0.0,), (1.0,))
    assert preparation.arrays(X).ravel().tolist() == [0.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 2500])
def test_statistics_are_those_of_all_training_pixels(n: int) -> None:
    X = RNG.integers(0, 256, (n, 2, 3, 3), dtype=np.uint8)
    X[..., 2] = 77
    preparation = Preparation.of(X, scale=255)
    np.testing.assert_allclose(preparation.mean, X.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(preparation.std[:2], X.std(axis=(0, 1, 2))[:2] / 255, rtol=1e-9)
    assert preparation.std[2] == 1.0, "a constant channel is only shifted"
    assert abs(preparation.arrays(X)[..., 2]).max() < 1e-6


def test_whole_numbers_are_noticed_in_any_dtype() -> None:
    X = RNG.integers(0, 17, (1100, 3, 3, 1))
    assert Preparation.of(X.astype(np.float64), scale=16).whole_numbers
    fraction = X.astype(np.float64)
    fraction[1099, 2, 2] = 0.5
    assert not Preparation.of(fraction, scale=16).whole_numbers


def frames(border: Any, n: int = 40) -> np.ndarray:
    X = RNG.integers(0, 256, (n, 6, 7, 1), dtype=np.uint8)
    X[:, [0, -1]] = X[:, :, [0, -1]] = np.asarray(border).reshape(-1, 1, 1, 1)
    return X


@pytest.mark.parametrize(
    ("border", "background"),
    [(0, 0.0), (255, 1.0), (51, 0.2), (128, None), (np.arange(40) % 2 * 255, None), ([255, *[0] * 39], 0.0)],
)
def test_a_plain_background_is_noticed(border: Any, background: float | None) -> None:
    assert Preparation.of(frames(border), scale=255).background == background


def test_colour_images_have_no_plain_background() -> None:
    assert Preparation.of(np.zeros((9, 4, 4, 3), np.uint8), scale=255).background is None


@pytest.mark.parametrize(
    ("invert", "background", "border", "expected"),
    [
        ("auto", 0.0, 0.9, True),
        ("auto", 0.0, 0.4, False),
        ("auto", 1.0, 0.4, True),
        ("auto", 1.0, 0.6, False),
        ("auto", 0.0, 0.5, False),
        ("auto", None, 1.0, False),
        (True, 0.0, 0.0, True),
        (True, None, 0.5, True),
        (False, 0.0, 1.0, False),
    ],
)
def test_the_rule_of_inversion(invert: Any, background: float | None, border: float, expected: bool) -> None:
    preparation = Preparation((5, 5), 1, 255.0, invert=invert, background=background)
    brightness = np.full((5, 5, 1), 1.0 - border)
    brightness[[0, -1]] = brightness[:, [0, -1]] = border
    assert preparation.inverts(brightness) is expected


def test_other_sizes_and_channels_are_refused() -> None:
    preparation = Preparation((8, 6), 1, 16.0)
    for shape in [(2, 6, 8), (2, 8, 6, 3), (2, 48), (8, 6)]:
        with pytest.raises(DataError, match=r"digit\.npy"):
            preparation.arrays(np.zeros(shape), what="digit.npy")
    with pytest.raises(DataError, match="nan"):
        preparation.arrays(np.full((1, 8, 6), np.nan))


def test_json_there_and_back() -> None:
    for preparation in (
        Preparation.of(frames(255), scale=255),
        Preparation((32, 30), 3, 1.0, invert=False, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 1 / 3)),
        Preparation((1, 2), 1, 16, whole_numbers=True, invert=True),
    ):
        assert Preparation.from_json(json.loads(json.dumps(preparation.to_json()))) == preparation


@pytest.mark.parametrize(
    "change",
    [
        {"size": [8]},
        {"size": [8, 0]},
        {"size": [8, 2.5]},
        {"size": "88"},
        {"size": None},
        {"channels": 0},
        {"channels": "1"},
        {"channels": 10**9},
        {"scale": 0},
        {"scale": float("nan")},
        {"scale": "255"},
        {"whole_numbers": 1},
        {"invert": "yes"},
        {"invert": None},
        {"background": 2},
        {"background": [0.5]},
        {"mean": [0.0, 0.0]},
        {"mean": []},
        {"mean": [None]},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"std": 1.0},
        {"colour": True},
    ],
)
def test_tampered_json_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(json.dumps(Preparation((8, 8), 1, 16.0).to_json()))
    with pytest.raises(DataError, match=r"^run/preparation\.json: "):
        Preparation.from_json(good | change, what="run/preparation.json")


def test_incomplete_json_is_refused() -> None:
    good = Preparation((8, 8), 1, 16.0).to_json()
    del good["scale"]
    for data in (good, {}, [], None, "x"):
        with pytest.raises(DataError, match="exactly the fields"):
            Preparation.from_json(data)


def test_an_impossible_record_cannot_be_made() -> None:
    with pytest.raises(ArgumentError, match="std must be one positive number for each channel"):
        Preparation((8, 8), 3, 255.0, std=(1.0,))
