"""Data by what the command line says, and what a run notes about it so that its test images are found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecgrad.spec.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from vecgrad.data import Dataset
    from vecgrad.runs import Run

# Of a source that brings no test images, this share is held out for the test, always the same.
TEST_SHARE = 0.2
# What the scans that scikit-learn carries are called; a run notes the first.
_DIGITS = ("digits", "sklearn:digits")


def open_source(
    source: str, folder: str | None, size: tuple[int, int] | None = None, skip_broken: bool = False
) -> tuple[Dataset, dict[str, Any]]:
    """The data that ``SOURCE [--data DIR] [--size] [--skip-broken]`` means, and what its run notes."""
    from vecgrad import data

    if source == "mnist" and folder is None and not Path(source).exists():
        raise click.UsageError(
            "mnist needs --data DIR, the folder with its four IDX files; nothing is downloaded"
        )
    if folder is not None and source != "mnist":
        raise click.UsageError(
            f"--data goes with the source mnist; for other data write: vecgrad train {folder}"
        )
    place = source if folder is None else folder
    # A source that brings test images keeps its own.
    options: dict[str, Any] = {"test": TEST_SHARE, "seed": 0}
    if skip_broken:
        options["broken"] = "skip"
    dataset = data.open(place, size=size, **options)
    if dataset.targets == "numbers":
        raise DataError(f"{dataset.name}: its labels are numbers; the command line trains classifiers only")
    return dataset, {
        "source": "digits" if place in _DIGITS else str(Path(place).resolve()),
        "options": options,
        "class_names": list(dataset.class_names),
        "preparation": dataset.preparation.to_json(),
        "test_sha256": dataset.test_digest(),
    }


def test_part(run: Run, folder: str | None) -> tuple[str, Any, Any, tuple[str, ...] | None]:
    """(name, images as the reader holds them, labels, the images' names if they have any) to evaluate a run on.

    Without ``folder`` the test images beside which the run was trained; DataError when they are others by now.
    Of another folder its test images: where it has no such part, all of them, or those beside which the run was trained where
    it holds the same images, moved. Broken images are skipped where they were in training.
    """
    from vecgrad import data

    noted = run.data or {}
    place = (
        noted.get("source")
        if folder is None
        else "digits"
        if folder in _DIGITS
        else str(Path(folder).resolve())
    )
    if not isinstance(place, str):
        raise DataError(f"{run.name}: does not know its data; name them: vecgrad evaluate RUN SOURCE")
    known = place == noted.get("source")
    # Of a run, the word means the scans, whatever lies beside; of the user, the door asks which.
    opened = _DIGITS[1] if folder is None and place == "digits" else folder if folder in _DIGITS else place
    options = _options(noted)
    preparation = run.preparation

    def opening(**asked: Any) -> Dataset:
        try:
            return data.open(opened, size=preparation.size, channels=preparation.channels, **asked)
        except ArgumentError:
            # Arrays, of another shape (that is said below), none of which is broken.
            return data.open(opened, **{key: value for key, value in asked.items() if key != "broken"})

    broken = {key: value for key, value in options.items() if key == "broken"}
    try:
        dataset = opening(**(options if known else broken))
        if not known and dataset.test_images is None and dataset.class_names == run.class_names:
            divided = opening(**options)
            if divided.test_digest() == noted.get("test_sha256"):
                dataset = divided
    except DataError as error:
        hint = (
            "; if the data were moved, say where: vecgrad evaluate RUN SOURCE (or --data DIR)"
            if folder is None
            else ""
        )
        raise DataError(f"{error}{hint}") from error
    if dataset.class_names != run.class_names:
        raise DataError(f"{dataset.name}: its classes are {dataset.class_names}, the run's {run.class_names}")
    if dataset.input_shape != preparation.shape:
        raise DataError(
            f"{dataset.name}: its images are arrays of (height, width, channels) = {dataset.input_shape}; the run's "
            f"are {preparation.shape}: bring the arrays to that first"
        )
    if known and "test_sha256" in noted and noted["test_sha256"] != dataset.test_digest():
        raise DataError(
            f"{place}: the test images are not those the run was trained beside; "
            f"keep new data in a folder of their own and pass it with --data"
        )
    if dataset.test_images is not None:
        return dataset.name, dataset.test_images, dataset.test_labels, dataset.test_names
    return dataset.name, dataset.train_images, dataset.train_labels, dataset.train_names


def _options(noted: Mapping[str, Any]) -> dict[str, Any]:
    options = noted.get("options", {})
    if not isinstance(options, dict) or not set(options) <= {"test", "seed", "broken"}:
        raise DataError(f"the run notes options of its data that mean nothing: {options!r}")
    return options
