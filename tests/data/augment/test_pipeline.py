"""The same image in the same epoch comes out the same; text, JSON, bad input."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from vecgrad.data import Prefetch, batches
from vecgrad.data._prefetch import Ahead
from vecgrad.data.augment import (
    AUGMENTATIONS,
    VIEWS,
    Affine,
    Augmentation,
    ColorJitter,
    CutMix,
    Cutout,
    Draws,
    Flip,
    Mixup,
    Normalize,
    PadCrop,
    Pipeline,
    augmentations,
    from_json,
    to_json,
    views,
)
from vecgrad.spec.errors import ArgumentError, DataError

ALL = (
    Flip(mode="alternating", vertical=True),
    PadCrop(2),
    ColorJitter(0.3, 0.3, 0.3, 0.2),
    Affine(20, 0.1, (0.8, 1.2), 10),
    Normalize(),
    Mixup(0.3, probability=0.5),
    CutMix(probability=0.5),
    Cutout(3),
)


@pytest.fixture
def coloured() -> Pipeline:
    rng = np.random.default_rng(0)
    return Pipeline.of(ALL, rng.integers(0, 256, (70, 9, 8, 3), np.uint8), rng.integers(0, 5, 70), classes=5)


@pytest.mark.parametrize("size", [1, 2, 7, 33, 70])
def test_batch_boundaries_change_no_bit(coloured: Pipeline, size: int) -> None:
    x, t = coloured.batch(range(70), seed=3, epoch=4)
    for chosen in batches(70, size, seed=1, epoch=0):
        some, rows = coloured.batch(chosen, seed=3, epoch=4)
        assert some.tobytes() == x[chosen].tobytes()
        assert rows.tobytes() == t[chosen].tobytes()


def test_threads_change_no_bit(coloured: Pipeline) -> None:
    x, _ = coloured.batch(range(70), seed=3, epoch=4)
    found: dict[int, bytes] = {}

    def work(start: int) -> None:
        for i in range(start, 70, 4):
            found[i] = coloured.batch([i], seed=3, epoch=4)[0].tobytes()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(70)] == [image.tobytes() for image in x]


def test_seed_epoch_and_place_decide(coloured: Pipeline) -> None:
    x = coloured.batch(range(70), seed=3, epoch=4)[0]
    assert (coloured.batch(range(70), seed=3, epoch=5)[0] != x).any()
    assert (coloured.batch(range(70), seed=4, epoch=4)[0] != x).any()
    assert (coloured.batch(range(70), seed=3 + 2**32, epoch=4)[0] != x).any()
    twice = Pipeline.of((Flip(), Flip()), coloured.source).batch(range(70))[0]
    turned = (twice != coloured.source).any(axis=(1, 2, 3)).mean()
    assert 0.3 < turned < 0.7  # the second is drawn for itself, and does not undo the first


def test_the_images_are_never_written_to(coloured: Pipeline) -> None:
    before = coloured.source.copy()
    coloured.source.flags.writeable = False
    coloured.batch(range(70))
    coloured.plain(coloured.source)
    assert (coloured.source == before).all()


def test_ahead_of_the_training_in_a_thread(coloured: Pipeline) -> None:
    def work(chosen: np.ndarray) -> tuple[str, bytes]:
        return threading.current_thread().name, coloured.batch(chosen, seed=1)[0].tobytes()

    order = list(batches(70, 16, seed=0, epoch=0))
    with Ahead(work, order, depth=3, workers=3) as feed:
        found = list(feed)
    assert [bits for _, bits in found] == [work(chosen)[1] for chosen in order]
    assert all("prefetch" in name for name, _ in found)
    assert not [thread for thread in threading.enumerate() if "prefetch" in thread.name]


def test_what_fails_in_the_thread_is_raised_where_it_is_asked_for() -> None:
    def work(chosen: np.ndarray) -> int:
        if chosen[0] == 4:
            raise DataError("torn")
        return int(chosen[0])

    with Ahead(work, batches(6, 2, 0, 0, shuffle=False), depth=1) as feed:
        assert [next(feed), next(feed)] == [0, 2]
        with pytest.raises(DataError, match="torn"):
            next(feed)
    with pytest.raises(ArgumentError, match="depth"):
        Prefetch(np.zeros((1, 1, 1, 1)), None, [], depth=0)


def test_targets_that_are_rows_are_mixed_as_rows() -> None:
    x, rows = np.zeros((20, 2, 2, 1)), np.random.default_rng(0).random((20, 3))
    _, t = Pipeline.of(Mixup(1.0), x, rows).batch(range(20))
    assert t.shape == (20, 3)
    assert (t.min(axis=0) >= rows.min(axis=0)).all()
    assert (t.max(axis=0) <= rows.max(axis=0)).all()
    assert (t != rows).any()


def test_an_augmentation_of_one_s_own() -> None:
    @dataclass(frozen=True)
    class Noise(Augmentation):
        amount: float = 0.1

        def images(self, x: np.ndarray, draws: Draws) -> np.ndarray:
            return x + self.amount * draws.uniform(-1, 1)[:, None, None, None]

    x = np.zeros((50, 2, 2, 1))
    found, _ = Pipeline.of((Flip(), Noise(0.5)), x).batch(range(50))
    assert 0.4 < found.max() <= 0.5
    assert from_json(to_json([Noise(0.5)]), {"Noise": Noise}) == (Noise(0.5),)


def test_json_and_back(coloured: Pipeline) -> None:
    for pipeline in (ALL, coloured.steps):
        assert from_json(json.loads(json.dumps(to_json(pipeline)))) == tuple(pipeline)
    for bad in (
        3,
        [3],
        [{"class": "Shell"}],
        [{"class": "Flip", "sideways": True}],
        [{"class": "Cutout", "size": -1}],
    ):
        with pytest.raises(DataError):
            from_json(bad)


def test_text() -> None:
    assert augmentations(None) == augmentations("") == ()
    assert augmentations(Flip()) == augmentations("flip") == (Flip(),)
    assert augmentations(
        "flip:true:true:alternating, pad-crop:2/3:mode=zero,mixup:0.4,cutmix:probability=0.5,cutout:4,"
        "normalize:mean=0.5:std=0.25,color-jitter:0.1:hue=0.05,affine:15:scale=0.9/1.1"
    ) == (
        Flip(True, True, "alternating"), PadCrop((2, 3), "zero"), Mixup(0.4), CutMix(probability=0.5), Cutout(4),
        Normalize(0.5, 0.25), ColorJitter(0.1, hue=0.05), Affine(15, scale=(0.9, 1.1)),
    )  # fmt: skip
    assert all(augmentations(name) == (kind(),) for name, kind in AUGMENTATIONS.items())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("flop", "no augmentation 'flop'; choose among flip"),
        ("flip:mode=alternating:mode=random", "once"),
        ("cutout:4:0:7", "takes each of size, fill"),
        ("cutout:colour=3", "takes each of"),
        ("cutout:big", "size must be a positive integer"),
        (3, "augment must be"),
        ([Flip(), "pad-crop"], "augment holds 'pad-crop'"),
    ],
)
def test_text_that_means_nothing(given: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        augmentations(given)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flip(horizontal=False), "does nothing"),
        (lambda: Flip(mode="often"), "mode must be"),
        (lambda: PadCrop(0), "padding"),
        (lambda: PadCrop((2, -1)), "padding"),
        (lambda: PadCrop(2, "wrap"), "mode"),
        (lambda: Affine(rotation=-3), "rotation"),
        (lambda: Affine(scale=(1.1, 0.9)), "scale"),
        (lambda: Affine(scale=2), "scale"),
        (lambda: Affine(translate=2), "translate"),
        (lambda: Affine(shear=90), "shear"),
        (lambda: ColorJitter(-1), "brightness"),
        (lambda: ColorJitter(hue=0.7), "hue"),
        (lambda: ColorJitter(black=1, white=1), "both"),
        (lambda: Cutout(0), "size"),
        (lambda: Cutout(2, float("nan")), "fill"),
        (lambda: Mixup(0), "alpha"),
        (lambda: CutMix(probability=0), "probability"),
        (lambda: Normalize(std=(0.0,)), "std"),
        (lambda: Normalize(scale=-1), "scale"),
    ],
)
def test_fields_that_mean_nothing(make, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


@pytest.mark.parametrize(
    ("augment", "shape", "words"),
    [
        (PadCrop(4), (4, 9, 1), "4 rows can be reflected by at most 3"),
        (ColorJitter(saturation=0.1), (4, 4, 1), "need 3 channels"),
        (Normalize(mean=(1, 2), std=1), (4, 4, 3), "2 numbers as mean for 3"),
        ((Normalize(), Normalize()), (4, 4, 3), "twice"),
        (Mixup(), (4, 4, 3), "targets"),
    ],
)
def test_augmentations_that_do_not_fit_the_images(augment, shape, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Pipeline.of(augment, np.zeros((3, *shape), np.float32))


def test_colours_of_unknown_units_are_not_guessed_at() -> None:
    x = np.random.default_rng(0).normal(size=(9, 4, 4, 3))
    with pytest.raises(ArgumentError, match=r"not 0 \(black\) to 1"):
        Pipeline.of(ColorJitter(0.1), x)
    Pipeline.of(ColorJitter(0.1, black=-3, white=3), x).batch(range(9))


def test_views_of_an_image() -> None:
    x = np.arange(24.0).reshape(1, 4, 3, 2)
    plain, mirrored = views(x, "flip")
    assert (plain[0] == x).all()
    assert (mirrored[0] == x[:, :, ::-1]).all()
    seen = list(views(x, "flip-shift"))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    assert (seen[2][0] == padded[:, :4, :3]).all()
    assert (seen[5][0] == padded[:, 2:, 2:][:, :, ::-1]).all()
    assert all(sum(weight for _, weight in views(x, kind)) == 1 for kind in VIEWS)
    assert list(views(x[:, :1], "flip-shift"))
    with pytest.raises(ArgumentError, match="tta must be one of 'flip', 'flip-shift' or None"):
        list(views(x, "rotate"))
    with pytest.raises(ArgumentError, match="tta needs images"):
        list(views(x[0, 0], "flip"))
