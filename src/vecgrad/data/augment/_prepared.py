"""The preparation of a data set among its augmentations."""

from __future__ import annotations

from collections.abc import Sequence

from vecgrad.data._preparation import Preparation
from vecgrad.data.augment._base import Augmentation, Mixing
from vecgrad.data.augment._erase import Cutout
from vecgrad.data.augment._normalize import Normalize
from vecgrad.spec.errors import ArgumentError


def prepared(steps: Sequence[Augmentation], preparation: Preparation) -> tuple[Augmentation, ...]:
    """The steps for images as they were read, with a Normalize that does what ``preparation`` says.

    It stands before what erases or mixes, for which 0 then is the mean. Raises ArgumentError where one is there already.
    """
    if any(isinstance(step, Normalize) for step in steps):
        raise ArgumentError(
            "augment: the images are normalised anyway, as their preparation says; leave Normalize out"
        )
    place = next((k for k, step in enumerate(steps) if isinstance(step, (Cutout, Mixing))), len(steps))
    normalize = Normalize(preparation.mean, preparation.std, preparation.scale)
    return (*steps[:place], normalize, *steps[place:])
