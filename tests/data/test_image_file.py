"""Image files: a picture of a training image is worth its array, and damage is named."""

from __future__ import annotations

import contextlib
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecgrad import data
from vecgrad.data import Preparation, prepare_file
from vecgrad.data._image_file import MOST_PIXELS, read_image
from vecgrad.spec.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
RNG = np.random.default_rng(1)
PLAIN = {1: Preparation((4, 5), 1, 255.0), 3: Preparation((4, 5), 3, 255.0)}


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.mark.parametrize("inverted", [False, True])
def test_every_digit_saved_as_png_is_prepared_to_the_bits_of_its_array(
    tmp_path: Path, inverted: bool
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    digits = data.open("digits")
    assert digits.test_images is not None
    images = np.concatenate([digits.test_images, digits.train_images[:100]])
    expected = digits.preparation.arrays(images)
    stretched = np.rint(images[..., 0] * (255 / 16)).astype(np.uint8)
    for index, pixels in enumerate(255 - stretched if inverted else stretched):
        path = save(tmp_path / "digit.png", pixels)
        assert np.array_equal(prepare_file(path, digits.preparation), expected[index])


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_images_of_256_levels_come_back_exactly(tmp_path: Path, dtype: str) -> None:
    X = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    preparation = Preparation.of(X.astype(dtype), scale=255)
    for index in range(6):
        path = save(tmp_path / "x.png", X[index])
        assert np.array_equal(prepare_file(path, preparation), preparation.arrays(X)[index])


def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    X = RNG.integers(0, 65536, (1, 4, 5), dtype=np.uint16)
    preparation = Preparation.of(X[..., None], scale=65535)
    path = save(tmp_path / "x.png", X[0])
    assert np.array_equal(prepare_file(path, preparation), preparation.arrays(X)[0])
    assert read_image(path, channels=3)[0].shape == (4, 5, 3)
    small, white = read_image(save(tmp_path / "flat.png", np.full((9, 9), 40_000, np.uint16)), size=(2, 3))
    assert (white, small.tolist()) == (65535, [[[40_000]] * 3] * 2)


def test_values_between_training_levels_are_rounded_to_them(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.full((4, 5), 100, np.uint8))
    levels = Preparation((4, 5), 1, 16.0, whole_numbers=True)
    assert (prepare_file(path, levels) == 6 / 16).all()
    smooth = Preparation((4, 5), 1, 16.0)
    np.testing.assert_allclose(prepare_file(path, smooth), 100 / 255, rtol=1e-6)


def test_a_drawing_on_white_paper_is_inverted_after_resizing(tmp_path: Path) -> None:
    paper = np.full((80, 100), 255, np.uint8)
    paper[20:60, 20:80] = 0
    path = save(tmp_path / "x.png", paper)
    dark = Preparation((4, 5), 1, 255.0, background=0.0)
    expected = np.zeros((4, 5))
    expected[1:3, 1:4] = 1
    assert abs(prepare_file(path, dark)[..., 0] - expected).max() < 0.51
    assert (prepare_file(path, dark)[..., 0].round() == expected).all()
    for unchanged in (Preparation((4, 5), 1, 255.0, background=1.0), PLAIN[1]):
        assert (prepare_file(path, unchanged)[..., 0].round() == 1 - expected).all()


def test_resizing_averages_over_what_it_drops(tmp_path: Path) -> None:
    stripes = np.zeros((40, 50), np.uint8)
    stripes[:, ::2] = 255
    prepared = prepare_file(save(tmp_path / "x.png", stripes), PLAIN[1])
    assert abs(prepared - 0.5).max() < 0.06


def test_size_is_height_then_width(tmp_path: Path) -> None:
    tall = np.zeros((40, 10), np.uint8)
    tall[:20] = 255
    prepared = prepare_file(save(tmp_path / "x.png", tall), PLAIN[1])
    assert prepared.shape == (4, 5, 1)
    assert (prepared[..., 0].round() == np.array([[1], [1], [0], [0]])).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str, channels: int) -> None:
    pixels = np.zeros((4, 5), np.uint8)
    pixels[:2] = 255
    path = save(tmp_path / ("x.jpg" if mode == "CMYK" else "x.png"), pixels, mode)
    prepared = prepare_file(path, PLAIN[channels])
    assert prepared.shape == (4, 5, channels)
    assert (prepared.round() == (pixels / 255)[..., None]).all()


def test_colour_becomes_grey_by_luma(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.broadcast_to(np.array([255, 0, 0], np.uint8), (4, 5, 3)).copy())
    np.testing.assert_allclose(prepare_file(path, PLAIN[1]), 0.299, atol=1 / 255)
    assert (prepare_file(path, PLAIN[3]) == [1, 0, 0]).all()


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    ink = np.zeros((4, 5, 4), np.uint8)
    ink[1, :, 3] = 255
    expected = np.ones((4, 5, 1))
    expected[1] = 0
    path = save(tmp_path / "x.png", ink)
    assert (prepare_file(path, PLAIN[1]) == expected).all()
    grey = Image.fromarray(ink).convert("LA")
    grey.save(tmp_path / "y.png")
    pixels, white = read_image(tmp_path / "y.png")
    assert (white, pixels.shape) == (255, (4, 5, 1))
    assert (pixels == 255 * expected).all()
    Image.fromarray(ink[..., 0] + 255).save(tmp_path / "z.png", transparency=255)
    assert (prepare_file(tmp_path / "z.png", PLAIN[3]) == 1).all()


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((10, 8), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    prepared = prepare_file(save(tmp_path / "x.jpg", pixels, exif=exif, quality=95), PLAIN[1])
    assert (prepared[..., 0].round() == np.array([[1], [1], [0], [0]])).all()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_460, 12_000, 14_000, 2**31 - 1])
@pytest.mark.parametrize("pillows_own_limit", [True, False])
def test_an_image_bomb_is_refused_in_one_line(
    tmp_path: Path, side: int, pillows_own_limit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pillows_own_limit:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match=f"bomb.png.*{MOST_PIXELS:,}") as caught:
            prepare_file(tmp_path / "bomb.png", PLAIN[1])
    assert "\n" not in str(caught.value)
    assert warned == []


def test_truncated_images_are_refused(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    for name in ("x.png", "x.jpg", "x.bmp", "x.ppm", "x.webp"):
        whole = save(tmp_path / name, pixels).read_bytes()
        for keep in (len(whole) // 2, len(whole) - len(whole) // 10, 30, 3):
            (tmp_path / name).write_bytes(whole[:keep])
            with pytest.raises(DataError, match=name.replace(".", r"\.")):
                prepare_file(tmp_path / name, PLAIN[1])


def test_no_damage_ends_in_anything_but_a_data_error(tmp_path: Path) -> None:
    whole = save(tmp_path / "x.png", RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x5A
        (tmp_path / "x.png").write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert prepare_file(tmp_path / "x.png", PLAIN[1]).shape == (4, 5, 1)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a"]
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png: not an image .* PNG, JPEG"):
        prepare_file(tmp_path / "x.png", PLAIN[1])


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.png", "a\0b", "n" * 5000):
        with pytest.raises(DataError, match=r"no such file|cannot be read"):
            prepare_file(path, PLAIN[1])
    path = save(tmp_path / "x.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match="17"):
        prepare_file(path, Preparation((4, 5), 17, 255.0))
    assert prepare_file(str(path), PLAIN[1]).shape == (4, 5, 1)


def test_warning_filters_survive_reading_in_many_threads(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.zeros((4, 5), np.uint8))
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [prepare_file(path, PLAIN[1]) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
