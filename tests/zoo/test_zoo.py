"""The zoo: sizes as published, whitening that whitens, first kernels that hand on."""

from __future__ import annotations

import numpy as np
import pytest

import vecgrad as vg
from vecgrad import zoo
from vecgrad.layers import Conv2D
from vecgrad.spec.errors import ArgumentError, DataError


def trained(name: str, shape: tuple[int, ...], **more: object) -> int:
    """Entries that have a gradient."""
    stated = getattr(zoo, name)(**more).parameters(shape)
    return sum(int(np.prod(p.shape)) for p in stated.values() if p.trained)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("lenet5", (28, 28, 1), 61_706),
        ("mnist_cnn", (28, 28, 1), 1_199_882),
        ("resnet20", (32, 32, 3), 272_474),
        ("resnet18", (224, 224, 3), 11_689_512),
        ("resnet34", (224, 224, 3), 21_797_672),
        ("resnet50", (224, 224, 3), 25_557_032),
    ],
)
def test_sizes_are_the_published_ones(name: str, shape: tuple[int, ...], count: int) -> None:
    assert trained(name, shape) == count


def test_the_authors_vgg16() -> None:
    model = zoo.vgg16(1000, batch_norm=False, units=(4096, 4096))
    stated = model.parameters((224, 224, 3))
    assert sum(int(np.prod(p.shape)) for p in stated.values()) == 138_357_544


@pytest.mark.parametrize(
    "name", ["resnet32", "resnet56", "vgg11", "vgg16", "vgg_small", "mobilenet", "airbench94"]
)
def test_shapes(name: str) -> None:
    assert getattr(zoo, name)(7).infer((32, 32, 3)) == (7,)


@pytest.mark.parametrize("size", [16, 48, 64, 224])
def test_mobilenet_for_any_size(size: int) -> None:
    assert zoo.mobilenet(size=size, width=0.25).infer((size, size, 3)) == (10,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: zoo.resnet20(size=30),
        lambda: zoo.resnet18(size=100),
        lambda: zoo.resnet18(size=36),
        lambda: zoo.mobilenet(size=80),
        lambda: zoo.mobilenet(width=0),
    ],
)
def test_sizes_that_do_not_work(make: object) -> None:
    assert callable(make)
    with pytest.raises(ArgumentError, match="must be a"):
        make()


def test_whitening_whitens() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 3))
    images = rng.normal(size=(64, 12, 12, 3)).cumsum(1) @ mix
    images -= images.mean((0, 1, 2))
    w = zoo.whitening(images)
    program = vg.compile([Conv2D(24, 2, bias=False)], (12, 12, 3), batch_size=64, dtype="float64")
    program.load_parameters({"0.weight": w})
    y = program.forward(images).reshape(-1, 24)[:, :12]
    moments = y.T @ y / len(y)
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-10)
    assert np.all(np.diag(moments) <= 1)
    assert np.all(np.diag(moments) > 0.9)


def test_whitening_needs_images() -> None:
    for shape in ((0, 8, 8, 3), (4, 8, 8), (4, 1, 8, 3)):
        with pytest.raises(DataError, match="whitening needs"):
            zoo.whitening(np.zeros(shape))


@pytest.mark.parametrize("filters", [3, 8])
def test_identity_kernels_hand_on(filters: int) -> None:
    program = vg.compile(
        [Conv2D(filters, 3, padding=1, bias=False, initial="identity")], (5, 4, 5), backend="reference"
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 5)).astype("f")
    same = min(filters, 5)
    np.testing.assert_array_equal(program.forward(x)[..., :same], x[..., :same])
    rest = program.parameters["0.weight"][..., same:]
    assert rest.size == 0 or 0.8 / np.sqrt(45) < np.abs(rest).max() <= 1 / np.sqrt(45)


def test_a_frozen_kernel_stays_and_its_bias_learns() -> None:
    model = [Conv2D(4, 2, frozen=True), vg.layers.Flatten(), vg.layers.Dense(2)]
    for backend in ("native", "reference"):
        program = vg.compile(model, (4, 4, 2), "mse", vg.SGD(0.1, weight_decay=0.5), 4, backend=backend)
        before = program.parameters
        rng = np.random.default_rng(0)
        program.step(rng.normal(size=(4, 4, 4, 2)), rng.normal(size=(4, 2)))
        now = program.parameters
        np.testing.assert_array_equal(now["0.weight"], before["0.weight"])
        assert not np.array_equal(now["0.bias"], before["0.bias"])
        assert "0.weight" not in program.gradients(np.ones((1, 4, 4, 2)), np.ones((1, 2)))
