"""Chains of convolutions, poolings and dense layers."""

from __future__ import annotations

from vecgrad.layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sequential


def lenet5(classes: int = 10) -> Sequential:
    """LeNet-5 (LeCun et al. 1998) as it is used today, with ReLU and max pooling; for (28, 28, 1), padded to 32 × 32."""
    return Sequential(
        [
            Conv2D(6, 5, padding=2, name="conv1"),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, 5, name="conv2"),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(120, name="fc1"),
            ReLU(),
            Dense(84, name="fc2"),
            ReLU(),
            Dense(classes, name="fc3"),
        ]
    )


def mnist_cnn(classes: int = 10) -> Sequential:
    """The usual small network for (28, 28, 1): convolutions of 32 and 64, one pooling, 128 units."""
    return Sequential(
        [
            Conv2D(32, 3, name="conv1"),
            ReLU(),
            Conv2D(64, 3, name="conv2"),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(128, name="fc1"),
            ReLU(),
            Dense(classes, name="fc2"),
        ]
    )


def vgg_small(classes: int = 10) -> Sequential:
    """Seven 3×3 convolutions of 32 to 256 channels and one dense layer, for (32, 32, 3)."""
    return _vgg((32, 32, 0, 64, 64, 0, 128, 128, 0, 256), classes, (), batch_norm=False)


def vgg11(classes: int = 10, *, batch_norm: bool = True, units: tuple[int, ...] = ()) -> Sequential:
    """VGG with 8 convolutions (Simonyan and Zisserman 2015, configuration A). units: of the hidden dense layers."""
    return _vgg((64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0), classes, units, batch_norm)


def vgg16(classes: int = 10, *, batch_norm: bool = True, units: tuple[int, ...] = ()) -> Sequential:
    """VGG with 13 convolutions (configuration D). For 32 × 32 images the last maps are single pixels.

    units: of the hidden dense layers; the authors' network for 224 × 224 images has (4096, 4096).
    """
    plan = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
    return _vgg(plan, classes, units, batch_norm)


def _vgg(plan: tuple[int, ...], classes: int, units: tuple[int, ...], batch_norm: bool) -> Sequential:
    """Filters of 3×3 convolutions that keep the size; 0 halves it."""
    features: list[Layer] = []
    for filters in plan:
        if not filters:
            features.append(MaxPool2D(2))
            continue
        features.append(Conv2D(filters, 3, padding=1))
        features += [BatchNorm(), ReLU()] if batch_norm else [ReLU()]
    head: list[Layer] = []
    for count in units:
        head += [Dense(count), ReLU()]
    return Sequential(
        [
            Sequential(features, name="features"),
            Flatten(),
            Sequential([*head, Dense(classes)], name="classifier"),
        ]
    )
