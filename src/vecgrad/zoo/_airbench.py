"""The CIFAR-10 speed-run network of Keller Jordan (airbench94, 2024): 94 % within seconds on one GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecgrad.layers import GELU, BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool2D, Rescale, Sequential
from vecgrad.spec.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

# Added to the eigenvalues, so that directions of hardly any variance are not blown up.
_EPSILON = 5e-4


def airbench94(classes: int = 10, *, widths: tuple[int, int, int] = (64, 256, 256)) -> Sequential:
    """A frozen 2×2 whitening layer, three groups of two 3×3 convolutions with pooling, GELU and batch normalization
    without scales, and one dense layer whose output is divided by 9; for (32, 32, 3).

    The first layer's weights are those of ``whitening``: put them in with ``Program.load_parameters``. Other convolutions
    begin as the identity on their first channels. widths: channels of the three groups.
    """
    groups: list[Layer] = []
    for number, filters in enumerate(widths, 1):
        groups.append(
            Sequential(
                [
                    Conv2D(filters, 3, padding=1, bias=False, initial="identity", name="conv1"),
                    MaxPool2D(2, name="pool"),
                    _norm("norm1"),
                    GELU(name="activ1"),
                    Conv2D(filters, 3, padding=1, bias=False, initial="identity", name="conv2"),
                    _norm("norm2"),
                    GELU(name="activ2"),
                ],
                name=f"group{number}",
            )
        )
    return Sequential(
        [
            Conv2D(24, 2, frozen=True, name="whiten"),
            GELU(name="activ"),
            *groups,
            MaxPool2D(3, name="pool"),
            Flatten(),
            Dense(classes, bias=False, name="head"),
            Rescale(1 / 9),
        ]
    )


def _norm(name: str) -> BatchNorm:
    return BatchNorm(momentum=0.4, epsilon=1e-12, scale=False, name=name)


def whitening(images: Any, kernel: int = 2) -> Array:
    """The weight (kernel, kernel, C, 2 · kernel² · C) whose outputs on ``images`` (n, H, W, C) are uncorrelated.

    The windows of all images are the rows of φ(x) (2.6). With φ(x)ᵀφ(x) / rows = V Λ Vᵀ, the columns of V (Λ + ε)^(−½)
    are filters with outputs of second moment one; each comes with its negative, for the activation behind it sees one side only.
    images: normalized as they are in training. Float64, largest eigenvalue first.

    >>> w = whitening(np.random.default_rng(0).normal(size=(4, 8, 8, 3)))
    >>> w.shape, bool(np.array_equal(w[..., :12], -w[..., 12:]))
    ((2, 2, 3, 24), True)
    """
    x = np.asarray(images, np.float64)
    if x.ndim != 4 or not len(x) or min(x.shape[1:3]) < kernel:
        raise DataError(
            f"images have shape {x.shape}; whitening needs (n, H, W, C), at least one image, not below {kernel}×{kernel}"
        )
    channels = x.shape[3]
    # (n, P, Q, C, R, S) as rows in the weight's order (R, S, C).
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
    phi = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels)
    values, vectors = np.linalg.eigh(phi.T @ phi / len(phi))
    filters = vectors[:, ::-1] / np.sqrt(values[::-1] + _EPSILON)
    # An eigenvector's sign is the library's choice: the largest entry is made positive.
    filters *= np.sign(filters[np.abs(filters).argmax(0), np.arange(filters.shape[1])])
    both = np.concatenate([filters, -filters], axis=1)
    return np.ascontiguousarray(both.reshape(kernel, kernel, channels, -1))
