"""Images and labels: one door for every source, checks, fixed order, prefetch, image files."""

from __future__ import annotations

from vecgrad.data._checks import (
    check_images,
    check_labels,
    check_numbers,
    check_stored,
    looks_channels_first,
)
from vecgrad.data._dataset import Dataset
from vecgrad.data._image_file import prepare_file
from vecgrad.data._lazy import LazyImages, chosen
from vecgrad.data._memory import at_once
from vecgrad.data._open import open
from vecgrad.data._order import batches, order, split
from vecgrad.data._prefetch import Ahead, Prefetch
from vecgrad.data._preparation import Preparation

__all__ = [
    "Ahead",
    "Dataset",
    "LazyImages",
    "Prefetch",
    "Preparation",
    "at_once",
    "batches",
    "check_images",
    "check_labels",
    "check_numbers",
    "check_stored",
    "chosen",
    "looks_channels_first",
    "open",
    "order",
    "prepare_file",
    "split",
]
