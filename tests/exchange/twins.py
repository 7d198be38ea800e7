"""The zoo's networks in PyTorch, written as its users write them, each on images small enough for a test."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vecgrad import zoo
from vecgrad.layers import Layer

TWINS = (
    "lenet5", "mnist_cnn", "vgg_small", "vgg11", "vgg16", "resnet20", "resnet32", "resnet56", "resnet18", "resnet34",
    "resnet50", "mobilenet", "airbench94",
)  # fmt: skip
_VGG = {
    "vgg_small": (32, 32, 0, 64, 64, 0, 128, 128, 0, 256),
    "vgg11": (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    "vgg16": (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
}
_BLOCKS = {
    "resnet20": (3, 3, 3),
    "resnet32": (5, 5, 5),
    "resnet56": (9, 9, 9),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}


def twin(name: str) -> tuple[Layer, tuple[int, int, int], Any]:
    """(vecgrad's network, the images' shape, PyTorch's module)."""
    from torch import nn

    match name:
        case "lenet5":
            return zoo.lenet5(), (28, 28, 1), _named(
                conv1=nn.Conv2d(1, 6, 5, padding=2), r1=nn.ReLU(), p1=nn.MaxPool2d(2), conv2=nn.Conv2d(6, 16, 5),
                r2=nn.ReLU(), p2=nn.MaxPool2d(2), f=nn.Flatten(), fc1=nn.Linear(400, 120), r3=nn.ReLU(),
                fc2=nn.Linear(120, 84), r4=nn.ReLU(), fc3=nn.Linear(84, 10),
            )  # fmt: skip
        case "mnist_cnn":
            return zoo.mnist_cnn(), (28, 28, 1), _named(
                conv1=nn.Conv2d(1, 32, 3), r1=nn.ReLU(), conv2=nn.Conv2d(32, 64, 3), r2=nn.ReLU(), p=nn.MaxPool2d(2),
                f=nn.Flatten(), fc1=nn.Linear(9216, 128), r3=nn.ReLU(), fc2=nn.Linear(128, 10),
            )  # fmt: skip
        case "vgg_small":
            return zoo.vgg_small(), (16, 16, 3), _vgg(_VGG[name], 1024, batch_norm=False)
        case "vgg11" | "vgg16":
            return getattr(zoo, name)(), (32, 32, 3), _vgg(_VGG[name], 512, batch_norm=True)
        case "resnet20":
            return zoo.resnet20(size=16), (16, 16, 3), _cifar(_BLOCKS[name])
        case "resnet32" | "resnet56":
            return getattr(zoo, name)(size=8), (8, 8, 3), _cifar(_BLOCKS[name])
        case "resnet18":
            return zoo.resnet18(10, size=64), (64, 64, 3), _imagenet(_BLOCKS[name], bottleneck=False)
        case "resnet34":
            return (
                zoo.resnet34(10, size=16),
                (16, 16, 3),
                _imagenet(_BLOCKS[name], bottleneck=False, small=True),
            )
        case "resnet50":
            return (
                zoo.resnet50(10, size=16),
                (16, 16, 3),
                _imagenet(_BLOCKS[name], bottleneck=True, small=True),
            )
        case "mobilenet":
            return zoo.mobilenet(width=0.5), (32, 32, 3), _mobilenet()
    return zoo.airbench94(), (32, 32, 3), _airbench()


def _named(**modules: Any) -> Any:
    from torch import nn

    return nn.Sequential(OrderedDict(modules))


def _vgg(plan: tuple[int, ...], features: int, batch_norm: bool) -> Any:
    from torch import nn

    layers: list[Any] = []
    before = 3
    for filters in plan:
        if not filters:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(before, filters, 3, padding=1))
        layers += [nn.BatchNorm2d(filters), nn.ReLU()] if batch_norm else [nn.ReLU()]
        before = filters
    head = nn.Sequential(nn.Linear(features, 10))
    return _named(features=nn.Sequential(*layers), flat=nn.Flatten(), classifier=head)


def _block(before: int, filters: int, stride: int, bottleneck: bool) -> Any:
    from torch import nn

    out = 4 * filters if bottleneck else filters

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            if bottleneck:
                shapes = [(before, filters, 1, 1), (filters, filters, 3, stride), (filters, out, 1, 1)]
            else:
                shapes = [(before, filters, 3, stride), (filters, filters, 3, 1)]
            for number, (c, k, kernel, step) in enumerate(shapes, 1):
                setattr(self, f"conv{number}", nn.Conv2d(c, k, kernel, step, kernel // 2, bias=False))
                setattr(self, f"bn{number}", nn.BatchNorm2d(k))
            self.count = len(shapes)
            if stride != 1 or before != out:
                self.downsample = nn.Sequential(
                    nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out)
                )

        def forward(self, x: Any) -> Any:
            y = x
            for number in range(1, self.count + 1):
                y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
                y = nn.functional.relu(y) if number < self.count else y
            return nn.functional.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))

    return Block()


def _stages(blocks: tuple[int, ...], first: int, before: int, bottleneck: bool) -> dict[str, Any]:
    from torch import nn

    found = {}
    for number, count in enumerate(blocks):
        filters, layers = first << number, []
        for block in range(count):
            layers.append(_block(before, filters, 2 if number and not block else 1, bottleneck))
            before = 4 * filters if bottleneck else filters
        found[f"layer{number + 1}"] = nn.Sequential(*layers)
    return found


def _cifar(blocks: tuple[int, ...]) -> Any:
    from torch import nn

    return _named(
        conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(16), relu=nn.ReLU(),
        **_stages(blocks, 16, 16, bottleneck=False), avgpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(),
        fc=nn.Linear(64, 10),
    )  # fmt: skip


def _imagenet(blocks: tuple[int, ...], bottleneck: bool, small: bool = False) -> Any:
    from torch import nn

    conv = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    return _named(
        conv1=conv, bn1=nn.BatchNorm2d(64), relu=nn.ReLU(),
        maxpool=nn.Identity() if small else nn.MaxPool2d(3, 2, 1), **_stages(blocks, 64, 64, bottleneck),
        avgpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(2048 if bottleneck else 512, 10),
    )  # fmt: skip


def _mobilenet() -> Any:
    from torch import nn

    steps = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)]
    before, blocks = 16, [nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())]
    for filters, stride in steps:
        blocks.append(
            nn.Sequential(
                nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU(),
                nn.Conv2d(before, filters, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(),
            )
        )  # fmt: skip
        before = filters
    return _named(
        features=nn.Sequential(*blocks),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        fc=nn.Linear(512, 10),
    )


def _airbench() -> Any:
    from torch import nn

    def norm(filters: int) -> Any:
        made = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
        # Its scale is 1 and stays so: no weight of its own.
        del made.weight
        made.register_parameter("weight", None)
        return made

    class Over9(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x / 9

    groups, before = {}, 24
    for number, filters in enumerate((64, 256, 256), 1):
        groups[f"group{number}"] = _named(
            conv1=nn.Conv2d(before, filters, 3, padding=1, bias=False), pool=nn.MaxPool2d(2), norm1=norm(filters),
            activ1=nn.GELU(), conv2=nn.Conv2d(filters, filters, 3, padding=1, bias=False), norm2=norm(filters),
            activ2=nn.GELU(),
        )  # fmt: skip
        before = filters
    return _named(
        whiten=nn.Conv2d(3, 24, 2), activ=nn.GELU(), **groups, pool=nn.MaxPool2d(3), flat=nn.Flatten(),
        head=nn.Linear(256, 10, bias=False), scale=Over9(),
    )  # fmt: skip
