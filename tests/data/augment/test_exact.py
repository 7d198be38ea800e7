"""Each augmentation against values worked out by hand or by other code, pixel for pixel."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecgrad.data import Preparation
from vecgrad.data.augment import (
    Affine,
    ColorJitter,
    CutMix,
    Cutout,
    Draws,
    Flip,
    Mixup,
    Normalize,
    PadCrop,
    Pipeline,
)
from vecgrad.data.augment._affine import _inverse, warp
from vecgrad.data.augment._colour import grey, turned
from vecgrad.data.augment._shift import pad
from vecgrad.spec.random import STREAM_AUGMENT, draw, substream


def word(seed: int, epoch: int, index: int, position: int, number: int) -> int:
    """The number-th 32-bit word of an image, from the generator itself."""
    stream = substream(STREAM_AUGMENT, position * 256 + number // 4)
    return int(draw(seed, stream, epoch, index)[number % 4])


def whole(n: int, height: int, width: int, channels: int, kind: type = np.float32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, (n, height, width, channels)).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_flip(kind: type, channels: int) -> None:
    x = whole(40, 4, 7, channels, kind)
    found, _ = Pipeline.of(Flip(horizontal=True, vertical=True), x).batch(range(40), seed=9, epoch=2)
    seen = set()
    for i in range(40):
        sideways, upright = (word(9, 2, i, 0, k) >= 2**31 for k in (0, 1))
        expected = x[i, :, ::-1] if sideways else x[i]
        expected = expected[::-1] if upright else expected
        assert (found[i] == expected).all()
        seen.add((sideways, upright))
    assert len(seen) == 4
    assert found.dtype == kind


def test_an_alternating_flip_shows_both_sides_in_turn() -> None:
    x = whole(50, 3, 4, 3)
    flip = Pipeline.of(Flip(mode="alternating"), x)
    epochs = [flip.batch(range(50), seed=4, epoch=epoch)[0] for epoch in range(4)]
    assert (epochs[0] == Pipeline.of(Flip(), x).batch(range(50), seed=4, epoch=0)[0]).all()
    turned_ = (epochs[0] != x).any(axis=(1, 2, 3))
    assert 10 < turned_.sum() < 40
    assert (epochs[1] == epochs[0][:, :, ::-1]).all()
    assert (epochs[2] == epochs[0]).all()
    assert (epochs[3] == epochs[1]).all()


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 4), st.integers(0, 4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_pads_as_numpy_does(height: int, width: int, rows: int, columns: int, channels: int) -> None:
    x = whole(3, height, width, channels)
    sides = ((0, 0), (rows, rows), (columns, columns), (0, 0))
    assert (pad(x, rows, columns, "zero") == np.pad(x, sides)).all()
    assert (pad(x, rows, columns, "edge") == np.pad(x, sides, "edge")).all()
    if rows < height and columns < width:
        assert (pad(x, rows, columns, "reflect") == np.pad(x, sides, "reflect")).all()


@pytest.mark.parametrize("mode", ["reflect", "zero", "edge"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_crop_is_a_window_of_the_padded_image(mode: str, kind: type) -> None:
    x = whole(60, 5, 6, 3, kind)
    found, _ = Pipeline.of(PadCrop((2, 3), mode), x).batch(range(60), seed=3, epoch=1)
    padded = np.pad(
        x, ((0, 0), (2, 2), (3, 3), (0, 0)), {"zero": "constant"}.get(mode, mode)  # type: ignore[call-overload]
    )  # fmt: skip
    corners = set()
    for i in range(60):
        top, left = (word(3, 1, i, 0, k) * bound >> 32 for k, bound in ((0, 5), (1, 7)))
        assert (found[i] == padded[i, top : top + 5, left : left + 6]).all()
        corners.add((top, left))
    assert {top for top, _ in corners} == set(range(5))
    assert {left for _, left in corners} == set(range(7))
    assert found.dtype == kind


def test_cutout_erases_a_square_about_a_pixel() -> None:
    x = whole(80, 6, 5, 2) + 1
    found, _ = Pipeline.of(Cutout((3, 2), fill=-1.5), x).batch(range(80), seed=1)
    for i in range(80):
        top, left = (word(1, 0, i, 0, k) * bound >> 32 for k, bound in ((0, 6), (1, 5)))
        expected = x[i].copy()
        expected[max(top - 1, 0) : top + 2, max(left - 1, 0) : left + 1] = -1.5
        assert (found[i] == expected).all()


def test_a_quarter_turn_a_shift_and_a_half_pixel_by_hand() -> None:
    x = np.float32([[[1, 2], [3, 4]]])[..., None]
    turned_ = warp(x, np.array([_inverse(90, 0, 0, 0, 0, height=2, width=2)]), "zero")
    np.testing.assert_allclose(turned_[0, :, :, 0], [[3, 1], [4, 2]], atol=1e-6)  # clockwise: x towards y
    down = warp(x, np.array([_inverse(0, 0, 0, 1, 0, height=2, width=2)]), "zero")
    assert down[0, :, :, 0].tolist() == [[0, 0], [1, 2]]
    half = warp(x, np.array([_inverse(0, 0, 0, 0, 0.5, height=2, width=2)]), "zero")
    assert half[0, :, :, 0].tolist() == [[0.5, 1.5], [1.5, 3.5]]
    half = warp(x, np.array([_inverse(0, 0, 0, 0, 0.5, height=2, width=2)]), "edge")
    assert half[0, :, :, 0].tolist() == [[1, 1.5], [3, 3.5]]
    double = warp(x, np.array([_inverse(0, 0, math.log(2), 0, 0, height=2, width=2)]), "zero")
    # Half a pixel from the centre shows what lies a quarter of a pixel from it.
    np.testing.assert_allclose(double[0, :, :, 0], [[1.75, 2.25], [2.75, 3.25]], rtol=1e-6)


@given(
    st.floats(-180, 180), st.floats(-60, 60), st.floats(-1, 1), st.floats(-4, 4), st.floats(-4, 4),
    st.integers(1, 6), st.integers(1, 6), st.sampled_from(["zero", "edge"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_affine_against_a_loop(
    rotation: float, shear: float, size: float, down: float, right: float, height: int, width: int, mode: str
) -> None:
    x = whole(1, height, width, 2, np.float64)
    inverse = _inverse(rotation, shear, size, down, right, height=height, width=width)
    found = warp(x, np.array([inverse]), mode)[0]
    cosine, sine, slope = (
        f(math.radians(a)) for f, a in ((math.cos, rotation), (math.sin, rotation), (math.tan, shear))
    )
    forward = math.exp(size) * np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1, slope], [0, 1]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])

    def pixel(y: int, z: int) -> np.ndarray:
        if mode == "edge":
            return x[0, min(max(y, 0), height - 1), min(max(z, 0), width - 1)]
        return x[0, y, z] if 0 <= y < height and 0 <= z < width else np.zeros(2)

    for y in range(height):
        for z in range(width):
            u, v = np.linalg.solve(forward, np.array([z, y]) - centre - [right, down]) + centre
            y0, z0 = math.floor(v), math.floor(u)
            expected = sum(
                (1 - abs(v - a)) * (1 - abs(u - b)) * pixel(a, b) for a in (y0, y0 + 1) for b in (z0, z0 + 1)
            )
            # Where the point lies within rounding of the zeros outside, so does the result.
            np.testing.assert_allclose(found[y, z], expected, rtol=1e-9, atol=1e-7)


def test_affine_draws_within_its_bounds() -> None:
    x = np.zeros((200, 9, 9, 1), np.float32)
    x[:, 4, 4] = 1
    moved, _ = Pipeline.of(Affine(translate=(0.2, 0.4)), x).batch(range(200), seed=2)
    rows, columns = (np.arange(9) @ moved.sum(axis=(axis, 3)).T for axis in (2, 1))
    assert 1.5 < np.abs(rows - 4).max() <= 1.8 + 1e-5
    assert 3.2 < np.abs(columns - 4).max() <= 3.6 + 1e-5
    still = Pipeline.of(Affine(), whole(5, 4, 3, 2))
    assert (still.batch(range(5))[0] == still.source).all()


def test_hue_as_the_standard_library_turns_it() -> None:
    rng = np.random.default_rng(0)
    light = np.concatenate(
        [rng.random((1, 8, 8, 3)), np.tile(rng.random((1, 8, 8, 1)), 3), rng.integers(0, 2, (1, 8, 8, 3))]
    )
    for turns in (-0.5, -0.2, 0.0, 0.1, 0.5):
        found = turned(light, np.full((3, 1, 1), turns))
        for (n, y, x), _ in np.ndenumerate(light[..., 0]):
            hue, saturation, value = colorsys.rgb_to_hsv(*light[n, y, x])
            expected = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
            np.testing.assert_allclose(found[n, y, x], expected, atol=1e-12)


def test_brightness_contrast_and_saturation_by_hand() -> None:
    x = np.random.default_rng(0).random((30, 3, 4, 3))
    jitter = Pipeline.of(ColorJitter(0.5, 0.4, 0.3), x)
    found, _ = jitter.batch(range(30), seed=8, epoch=5)
    for i in range(30):
        b, c, s = (1 - a + 2 * a * word(8, 5, i, 0, k) / 2**32 for k, a in enumerate((0.5, 0.4, 0.3)))
        light = np.clip(b * x[i], 0, 1)
        weights = np.array([0.299, 0.587, 0.114])
        light = np.clip(c * light + (1 - c) * (light @ weights).mean(), 0, 1)
        light = np.clip(s * light + (1 - s) * (light @ weights)[..., None], 0, 1)
        np.testing.assert_allclose(found[i], light, atol=1e-12)


def test_colours_are_jittered_in_the_units_in_which_they_come() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.1)
    plain, _ = Pipeline.of(jitter, (x / 255).astype(np.float32)).batch(range(20))
    raw, _ = Pipeline.of(jitter, x).batch(range(20))
    np.testing.assert_allclose(raw / 255, plain, atol=1e-6)
    preparation = Preparation.of(x)
    before, _ = Pipeline.of(jitter, preparation.arrays(x), preparation=preparation).batch(range(20))
    behind = Pipeline.of((Normalize(), jitter), x)
    std, mean = np.array(preparation.std), np.array(preparation.mean)
    np.testing.assert_allclose(before * std + mean, plain, atol=1e-6)
    moved, _ = Pipeline.of((Normalize(0.0, 1.0, 1.0), jitter), (x / 255).astype(np.float32)).batch(range(20))
    np.testing.assert_allclose(behind.batch(range(20))[0] * std + mean, moved, atol=1e-6)
    assert behind.steps[1].black == pytest.approx(-mean / std)
    assert behind.steps[1].white == pytest.approx((1 - mean) / std)


def test_grey_of_other_numbers_of_channels_is_the_mean() -> None:
    x = np.float64([[[[1, 3]]]])
    assert grey(x).tolist() == [[[2]]]


def test_normalize_is_the_preparation_to_the_bit() -> None:
    x = whole(30, 5, 4, 3, np.uint8)
    preparation = Preparation.of(x)
    pipeline = Pipeline.of(Normalize(), x)
    for found in (pipeline.batch(range(30))[0], pipeline.plain(x)):
        assert (found == preparation.arrays(x)).all()
        assert found.dtype == np.float32
    assert pipeline.normalize.preparation(x) == preparation
    given_ = Pipeline.of(Normalize(0.5, (0.1, 0.2, 0.3), 200), x).plain(x)
    np.testing.assert_allclose(given_, (x / 200 - 0.5) / [0.1, 0.2, 0.3], rtol=1e-6, atol=1e-6)


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    x, y = whole(50, 3, 3, 2, np.float64), np.arange(50) % 7
    found, t = Pipeline.of(Mixup(0.4), x, y, classes=7).batch(range(50), seed=5, epoch=1)
    eye = np.eye(7)
    for i in range(50):
        partner = word(5, 1, i, 0, 1) * 50 >> 32
        draws = Draws(5, 1, np.array([i]))
        draws.word(), draws.word()
        share = draws.beta(0.4)[0]
        np.testing.assert_allclose(found[i], share * x[i] + (1 - share) * x[partner], rtol=1e-12)
        np.testing.assert_allclose(t[i], share * eye[y[i]] + (1 - share) * eye[y[partner]], atol=1e-6)
    np.testing.assert_allclose(t.sum(axis=1), 1, rtol=1e-6)


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels() -> None:
    n, height, width = 200, 6, 9
    x = np.broadcast_to(np.arange(float(n))[:, None, None, None], (n, height, width, 1)).copy()
    y = np.arange(n)
    found, t = Pipeline.of(CutMix(), x, y, classes=n).batch(range(n), seed=5)
    shares = []
    for i in range(n):
        partner = word(5, 0, i, 0, 1) * n >> 32
        pasted = found[i, :, :, 0] != i
        if partner == i or not pasted.any():
            continue
        assert (found[i][pasted] == partner).all()
        rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        assert pasted.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert t[i, partner] == pytest.approx(pasted.mean(), abs=1e-6)
        assert t[i, i] == pytest.approx(1 - pasted.mean(), abs=1e-6)
        shares.append(pasted.mean())
    assert min(shares) < 0.1
    assert max(shares) > 0.7


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.49, 0.5, 0.51, 1.0, 2.0, 8.0])
def test_beta_has_the_moments_of_beta(alpha: float) -> None:
    found = Draws(3, 0, np.arange(20_000)).beta(alpha)
    assert ((found >= 0) & (found <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))
    assert found.mean() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 20_000))
    centred = found - 0.5
    assert (centred**2).mean() == pytest.approx(
        variance, abs=4 * math.sqrt((fourth - variance**2) / 20_000) + 1e-4
    )
    assert (centred**4).mean() == pytest.approx(fourth, rel=0.06)


def test_mixing_a_share_of_the_images_only() -> None:
    x, y = whole(400, 2, 2, 1), np.arange(400) % 3
    found, t = Pipeline.of(Mixup(1.0, probability=0.25), x, y, classes=3).batch(range(400))
    untouched = (found == x).all(axis=(1, 2, 3))
    assert 260 < untouched.sum() < 340
    assert (t[untouched].max(axis=1) == 1).all()


def test_partners_come_from_those_allowed() -> None:
    x, y = np.zeros((30, 5, 5, 1)), np.arange(30)
    _, t = Pipeline.of(CutMix(), x, y, classes=30, partners=np.array([4, 6])).batch(range(30))
    others = t.copy()
    others[np.arange(30), y] = 0
    assert set(np.flatnonzero(others.any(axis=0))) <= {4, 6}
    assert others.any()
