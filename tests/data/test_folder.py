"""Folders of image files: classes from the names of sub-folders, parts from train, val and test."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vecgrad import data
from vecgrad.spec.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
RNG = np.random.default_rng(6)


def save(path: Path, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_classes_and_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["dog/b.png", "cat/2.png", "cat/10.PNG", "dog/deep/er/a.png", "emu/x.png"]
    images = {name: save(tmp_path / name) for name in names}
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    dataset = data.open(tmp_path)
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.train_labels.tolist() == [0, 0, 1, 1, 2]
    expected = [
        images[name] for name in ("cat/10.PNG", "cat/2.png", "dog/b.png", "dog/deep/er/a.png", "emu/x.png")
    ]
    assert np.array_equal(dataset.train_images[..., 0], expected)
    assert dataset.input_shape == (6, 5, 1)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev"])
def test_parts_are_found_by_name(tmp_path: Path, validation: str) -> None:
    for part, n in (("train", 3), (validation, 2), ("test", 1)):
        for name in ("a", "b"):
            for index in range(n):
                save(tmp_path / part / name / f"{index}.png", (4, 4, 3))
    dataset = data.open(tmp_path)
    assert str(dataset).endswith(": 6 training, 4 validation, 2 test images of 4×4×3, 2 classes")


def test_one_colour_file_makes_all_colour_and_options_override(tmp_path: Path) -> None:
    grey = save(tmp_path / "a" / "x.png")
    save(tmp_path / "b" / "x.png", (6, 5, 3))
    dataset = data.open(tmp_path)
    assert dataset.input_shape == (6, 5, 3)
    assert np.array_equal(dataset.train_images[0], grey[..., None].repeat(3, -1))
    assert data.open(tmp_path, channels=1).input_shape == (6, 5, 1)
    assert data.open(tmp_path, size=(3, 7)).input_shape == (3, 7, 3)


def test_sixteen_bit_files_are_brought_to_eight(tmp_path: Path) -> None:
    for name, value in (("a", 65535), ("b", 25700)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((3, 3), value, np.uint16)).save(tmp_path / name / "x.png")
    images = data.open(tmp_path).train_images
    assert images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [255, 100]


def test_mixed_sizes_are_refused_until_one_is_given(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png", (6, 5))
    save(tmp_path / "b" / "y.png", (5, 6))
    save(tmp_path / "b" / "z.png", (5, 6))
    expected = r"images of 2 sizes: 5×6 \(2, as .*y\.png\), 6×5 \(1, as .*x\.png\); pass size=.*--size"
    with pytest.raises(DataError, match=expected):
        data.open(tmp_path)
    assert data.open(tmp_path, size=(4, 4)).input_shape == (4, 4, 1)


def test_the_test_part_is_brought_to_the_size_of_training(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "train" / name / "x.png", (6, 5))
        save(tmp_path / "test" / name / "x.png", (12, 10))
    dataset = data.open(tmp_path)
    assert dataset.test_images is not None
    assert dataset.test_images.shape == (2, 6, 5, 1)


def test_one_class_an_empty_class_and_a_foreign_class_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "train" / "a" / "x.png")
    with pytest.raises(DataError, match=r"train: a folder that holds a/; expected two sub-folders"):
        data.open(tmp_path)
    (tmp_path / "train" / "b").mkdir()
    with pytest.raises(DataError, match=r"b: an empty folder; expected image files \(\.bmp"):
        data.open(tmp_path)
    save(tmp_path / "train" / "b" / "x.png")
    save(tmp_path / "test" / "c" / "x.png")
    with pytest.raises(DataError, match=r"c: there is no such class in training; expected a, b"):
        data.open(tmp_path)
    for path in (tmp_path / "test" / "c" / "x.png",):
        path.unlink()
    (tmp_path / "test" / "c").rmdir()
    with pytest.raises(DataError, match="test: an empty folder"):
        data.open(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png")
    save(tmp_path / "b" / "y.png")
    (tmp_path / "b" / "y.png").write_bytes((tmp_path / "b" / "y.png").read_bytes()[:45])
    with pytest.raises(DataError, match=r"b.y\.png: (damaged|not an image)"):
        data.open(tmp_path)


def test_a_picture_counts_as_it_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    lying = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
    for name, array, tag in (("a", lying, exif), ("b", lying.transpose(1, 0, 2), Image.Exif())):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / name / "x.png", exif=tag)
    images = data.open(tmp_path).train_images
    assert images.shape == (2, 8, 4, 3)
    assert np.array_equal(images[0], np.rot90(lying, -1))
    save(tmp_path / "b" / "y.png", (3, 3, 3))
    with pytest.raises(DataError, match=r"images of 2 sizes: 8×4 \(2, as .*a.x\.png\), 3×3 \(1, as"):
        data.open(tmp_path)


def test_colour_found_late_makes_all_colour(tmp_path: Path) -> None:
    grey = [save(tmp_path / "a" / f"{number:03}.png") for number in range(90)]
    save(tmp_path / "b" / "x.png")
    palette = Image.fromarray(RNG.integers(0, 256, (6, 5), dtype=np.uint8)).convert("P")
    palette.putpalette([(7 * i) % 256 for i in range(768)])
    palette.save(tmp_path / "b" / "y.png")
    for keep in (None, 0):
        images = np.asarray(data.open(tmp_path, keep=keep).train_images)
        assert images.shape == (92, 6, 5, 3)
        assert np.array_equal(images[89], grey[89][..., None].repeat(3, -1))
        assert np.array_equal(images[91], np.array(palette.convert("RGB")))


def test_hidden_files_are_none_of_the_data(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "x.png")
    (tmp_path / "a" / "._x.png").write_bytes(b"what macOS leaves")
    save(tmp_path / "a" / ".thumbnails" / "x.png", (2, 2))
    assert len(data.open(tmp_path).train_images) == 2


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png")
    (tmp_path / "b").mkdir()
    # A header that promises 10 gigapixels, and nothing behind it.
    (tmp_path / "b" / "y.pgm").write_bytes(b"P5 100000 100000 255 ")
    with pytest.raises(DataError, match=r"y\.pgm: .*pixels.* At most 89,478,485 are read"):
        data.open(tmp_path, size=(6, 5))


def test_broken_images_are_skipped_on_request(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/a/2", "train/b/1", "test/a/1", "test/b/1"):
        save(tmp_path / f"{name}.png")
    for name in ("train/a/0.png", "test/b/0.png"):
        (tmp_path / name).write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"a.0\.png: not an image"):
        data.open(tmp_path)
    for keep in (None, 0):
        dataset = data.open(tmp_path, broken="skip", keep=keep)
        assert str(dataset).endswith("3 training, 2 test images of 6×5×1, 2 classes; 2 broken images skipped")
        assert [text.partition(".png")[0][-3:] for text in dataset.skipped] == ["a/0", "b/0"]
        assert dataset.train_labels.tolist() == [0, 0, 1]


def layout(folder: Path, *names: str) -> Path:
    """A folder with one image of each name, without its suffix."""
    for name in names:
        save(folder / f"{name}.png")
    return folder


def test_names_of_parts_may_be_in_capitals(tmp_path: Path) -> None:
    layout(tmp_path, *(f"{part}/{name}/x" for part in ("Train", "VALID", "Test") for name in "ab"))
    assert str(data.open(tmp_path)).endswith(": 2 training, 2 validation, 2 test images of 6×5×1, 2 classes")


def test_a_class_may_be_called_as_a_part(tmp_path: Path) -> None:
    dataset = data.open(layout(tmp_path / "voc", "train/x", "bus/x", "car/x"))
    assert dataset.class_names == ("bus", "car", "train")
    assert data.open(layout(tmp_path / "b", "test/x", "other/x")).class_names == ("other", "test")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test/a/x", "test/b/x", "val/a/x"), r"images for test/ and val/ but no train/ .*put the training"),
        (("cat/x", "dog/x", "Test/a/x"), r"images for Test/ but no train/"),
        (("train/x", "test/x"), r"train: a folder that holds x\.png; expected two sub-folders"),
        (("val/x", "test/x"), r"images for test/ and val/ but no train/"),
        (
            ("train/a/x", "train/b/x", "holdout/a/x", "more/x"),
            r"images in holdout/ and more/ beside train/ would be left out; the names of parts are train, training, val",
        ),
        (("train/a/x", "train/b/x", "bus/x", "car/x"), r"images in bus/ and car/ beside train/ .*is a class"),
        (
            ("train/a/x", "train/b/x", "val/a/x", "valid/a/x"),
            "val/ and valid/ are all called as the validation",
        ),
        (("train/a/x", "train/b/x", "Training/a/x"), "Training/ and train/ are all called as the train part"),
    ],
)
def test_layouts_that_could_mean_two_things_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        data.open(layout(tmp_path, *names))


def test_folders_without_images_beside_the_parts_do_not_matter(tmp_path: Path) -> None:
    layout(tmp_path, "train/a/x", "train/b/x", "val/a/x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("no image")
    (tmp_path / "valid").mkdir()
    assert str(data.open(tmp_path)).endswith(": 2 training, 1 validation images of 6×5×1, 2 classes")


def test_all_suffixes_of_the_formats_that_are_read(tmp_path: Path) -> None:
    names = ("png", "jpg", "jpeg", "jpe", "jfif", "bmp", "pgm", "ppm", "pnm", "webp", "pbm")
    for suffix in names:
        (tmp_path / suffix).mkdir()
        grey = Image.fromarray(np.full((6, 5), 255, np.uint8))
        image = grey.convert("1" if suffix == "pbm" else "L")
        image.save(tmp_path / suffix / f"x.{suffix.upper()}", "PPM" if suffix == "pnm" else None)
    images = data.open(tmp_path).train_images
    assert len(images) == len(names)
    assert (np.asarray(images) > 250).all()


def test_images_of_other_formats_are_named_or_counted(tmp_path: Path) -> None:
    layout(tmp_path, "a/x", "b/x")
    for name, form in (("a/0.tif", "TIFF"), ("b/0.GIF", "GIF"), ("b/1.tiff", "TIFF"), ("b/png.gif", "PNG")):
        Image.fromarray(RNG.integers(0, 256, (6, 5), dtype=np.uint8)).save(tmp_path / name, form)
    for name in ("a/notes.txt", "a/Thumbs.db", "b/boxes.json", "b/README"):
        (tmp_path / name).write_text("no image")
    expected = r"a.0\.tif: not an image that can be read, the first of 3 such files; .*PNG.*convert.*--skip"
    with pytest.raises(DataError, match=expected):
        data.open(tmp_path)
    dataset = data.open(tmp_path, broken="skip")
    assert [text.partition(":")[0][-7:] for text in dataset.skipped] == ["a/0.tif", "b/0.GIF", "/1.tiff"]
    assert dataset.train_names == ("a/x.png", "b/png.gif", "b/x.png")


def test_a_class_of_other_formats_alone_is_named(tmp_path: Path) -> None:
    layout(tmp_path, "a/x")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.heic").write_bytes(b"heic")
    with pytest.raises(DataError, match=r"b.x\.heic: not an image that can be read; expected PNG"):
        data.open(tmp_path)
    with pytest.raises(DataError, match=r"not one image of the class b can be read; .*x\.heic"):
        data.open(tmp_path, broken="skip")


@pytest.mark.parametrize("place", ["", "train/", "test/"])
def test_images_beside_the_classes_are_named(tmp_path: Path, place: str) -> None:
    if place:
        layout(tmp_path, "test/a/x", "test/b/x")
    layout(tmp_path / "train" if place else tmp_path, "a/x", "b/x")
    layout(tmp_path, f"{place}one", f"{place}two")
    with pytest.raises(DataError, match=r"one\.png: lies beside .* 2 images in all; expected each in"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    ("link", "to", "message"),
    [
        ("cat/loop", "..", r"loop: leads to the folder .*; expected each folder once"),
        ("cat/loop", ".", r"loop: leads to the folder .*cat; expected"),
        ("cat/loop", "../..", r"loop: leads to the folder"),
        ("loop", ".", r"loop: leads to the folder"),
        ("cat/b", "a", r"leads to the folder .*a, as .*cat.[ab] does; expected each folder once"),
    ],
)
def test_links_that_would_multiply_images_are_refused(
    tmp_path: Path, link: str, to: str, message: str
) -> None:
    layout(tmp_path / "pets", "cat/x", "cat/a/x", "dog/x")
    (tmp_path / "pets" / link).symlink_to(to)
    with pytest.raises(DataError, match=message):
        data.open(tmp_path / "pets")


def test_links_between_two_classes_end(tmp_path: Path) -> None:
    layout(tmp_path, "cat/x", "dog/x")
    (tmp_path / "cat" / "a").symlink_to("../dog")
    (tmp_path / "dog" / "b").symlink_to("../cat")
    with pytest.raises(DataError, match=r"leads to the folder .*(cat|dog), as"):
        data.open(tmp_path)


def test_links_to_other_places_are_followed(tmp_path: Path) -> None:
    layout(tmp_path / "all", "1/x", "2/x")
    for part in ("train", "val"):
        (tmp_path / "pets" / part).mkdir(parents=True)
        for name, to in (("cat", "1"), ("dog", "2")):
            (tmp_path / "pets" / part / name).symlink_to(f"../../all/{to}")
    assert str(data.open(tmp_path / "pets")).startswith("pets: 2 training, 2 validation images")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_a_broken_image(tmp_path: Path) -> None:
    layout(tmp_path, "a/x", "b/x")
    os.mkfifo(tmp_path / "a" / "0.png")
    with pytest.raises(
        DataError, match=r"0\.png: cannot be read: a pipe, a device or a folder; expected a plain"
    ):
        data.open(tmp_path)
    assert len(data.open(tmp_path, broken="skip").skipped) == 1


def deep(folder: Path, *spans: tuple[int, int]) -> Path:
    """16-bit images of two classes, one for each pair of the least and the greatest value."""
    for number, (least, greatest) in enumerate(spans):
        place = folder / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(least, greatest, 30).reshape(5, 6).astype(np.uint16)).save(place)
    return folder


def test_sixteen_bits_that_eight_cannot_hold_are_warned_of(tmp_path: Path) -> None:
    dark = deep(tmp_path / "dark", (500, 719), (0, 65535), (9000, 9100), (4, 4))
    expected = (
        r"dark: 2 of 4 16-bit images .* the first: .*0\.png with values 500 to 719\. .*arrays of uint16"
    )
    for keep in (None, 0):
        with pytest.warns(UserWarning, match=expected) as warned:
            data.open(dark, keep=keep)
        assert len(warned) == 1


@pytest.mark.parametrize("spans", [((0, 65535), (20000, 40000), (7, 7), (0, 100)), ((3, 3), (60000, 60000))])
def test_most_sixteen_bit_images_lose_nothing_to_speak_of(
    tmp_path: Path, spans: tuple[tuple[int, int], ...], recwarn: pytest.WarningsRecorder
) -> None:
    data.open(deep(tmp_path, *spans))
    assert not list(recwarn)
