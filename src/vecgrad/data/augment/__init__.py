"""Augmentation: images changed at random in every epoch, by numbers that depend on (seed, epoch, index) alone.

A pipeline is a tuple of frozen records, done in their order: ``(Flip(), PadCrop(4), Cutout(8))``. The same image in the same
epoch comes out the same, bit for bit, in whatever batch and on whatever thread it is made.

>>> import numpy as np
>>> images = np.random.default_rng(0).random((100, 8, 8, 3), np.float32)
>>> pipeline = Pipeline.of((Flip(), PadCrop(1)), images)
>>> all_, last = (pipeline.batch(indices, seed=1, epoch=3)[0] for indices in (range(100), [99]))
>>> bool((all_[99] == last[0]).all())
True
"""

from __future__ import annotations

from vecgrad.data.augment._affine import Affine
from vecgrad.data.augment._base import Augmentation, Mixing, Range
from vecgrad.data.augment._colour import ColorJitter
from vecgrad.data.augment._draws import Draws
from vecgrad.data.augment._erase import Cutout
from vecgrad.data.augment._mix import CutMix, Mixup
from vecgrad.data.augment._normalize import Normalize
from vecgrad.data.augment._pipeline import Pipeline
from vecgrad.data.augment._prepared import prepared
from vecgrad.data.augment._shift import Flip, PadCrop
from vecgrad.data.augment._text import AUGMENTATIONS, augmentations, from_json, to_json
from vecgrad.data.augment._views import VIEWS, views

__all__ = [
    "AUGMENTATIONS",
    "VIEWS",
    "Affine",
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "Draws",
    "Flip",
    "Mixing",
    "Mixup",
    "Normalize",
    "PadCrop",
    "Pipeline",
    "Range",
    "augmentations",
    "from_json",
    "prepared",
    "to_json",
    "views",
]
