"""Images keep the names of their files through splits, skipping, archives and caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.images import pack, png

from vecgrad import data
from vecgrad.data import Dataset

CLASSES = ("ant", "bee")
N = 12
BROKEN = ("ant/3.png", "bee/0.png", "bee/11.png")


def shade(name: str) -> int:
    """The grey value that the image of that name is filled with: another for each."""
    kind, number = name.removesuffix(".png").split("/")[-2:]
    return 100 * CLASSES.index(kind) + int(number)


def members(prefix: str = "") -> dict[str, bytes]:
    names = [f"{kind}/{number}.png" for kind in CLASSES for number in range(N)]
    return {
        prefix + name: b"GIF89a" if name in BROKEN else png(np.full((3, 4), shade(name), np.uint8))
        for name in names
    }


def written(place: Path, kind: str) -> Path:
    """The images as a folder, an archive or a list; a fifth are a part of their own where ``kind`` says so."""
    whole = members()
    if kind.endswith("parts"):
        whole = {("test/" if name[-5] in "4" else "train/") + name: whole[name] for name in whole}
    if kind.startswith("tar"):
        return pack(place / "all.tar", whole)
    for name, content in whole.items():
        (place / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / name).write_bytes(content)
    if kind == "csv":
        lines = [f"./{name},{name.split('/')[0]}" for name in sorted(whole, reverse=True)]
        (place / "set" / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
        return place / "set" / "list.csv"
    return place / "set"


def agree(dataset: Dataset) -> set[str]:
    """All names, each of which is that of its image and of its label's class."""
    found: list[str] = []
    for part in ("train", "validation", "test"):
        images, labels, names = (getattr(dataset, f"{part}_{what}") for what in ("images", "labels", "names"))
        assert (images is None) == (names is None)
        if images is not None:
            assert [int(image.flat[0]) for image in images[:]] == [shade(name) for name in names]
            assert [CLASSES[label] for label in labels] == [name.split("/")[-2] for name in names]
            found += names
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("keep", [None, 0, 90])
@pytest.mark.parametrize("kind", ["folder", "folder in parts", "tar", "tar in parts", "csv"])
@pytest.mark.parametrize("split", [{}, {"test": 0.2}, {"validation": 0.3, "test": 0.2, "seed": 5}])
def test_names_are_those_of_the_images(
    tmp_path: Path, kind: str, keep: int | None, split: dict[str, Any]
) -> None:
    source = written(tmp_path, kind)
    for _ in range(2):  # an archive comes from the cache the second time
        dataset = data.open(source, broken="skip", keep=keep, **split)
        names = agree(dataset)
        assert len(names) == 2 * N - len(BROKEN)
        assert not any(name.endswith(BROKEN) for name in names)
        assert all(name.count("/") == (2 if kind.endswith("parts") or kind == "csv" else 1) for name in names)
        if dataset.validation_images is None:
            assert agree(dataset.with_validation(0.25, seed=3)) == names


def test_arrays_have_no_names() -> None:
    dataset = data.open((np.zeros((8, 2, 2)), [0, 1] * 4), test=0.25).with_validation(0.5)
    assert (dataset.train_names, dataset.validation_names, dataset.test_names) == (None, None, None)
