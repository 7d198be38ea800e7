"""Networks that people use, as values: each function gives the layers, ready for ``vecgrad.compile``.

Names of layers follow the PyTorch models of the same name, and padding is symmetric and numeric where theirs is, so that weights
move between the two.

>>> import vecgrad as vg
>>> model = vg.zoo.resnet20()
>>> model.infer((32, 32, 3)), vg.summary(model, (32, 32, 3)).parameters
((10,), 272474)
"""

from vecgrad.zoo._airbench import airbench94, whitening
from vecgrad.zoo._mobile import mobilenet
from vecgrad.zoo._plain import lenet5, mnist_cnn, vgg11, vgg16, vgg_small
from vecgrad.zoo._resnet import resnet18, resnet20, resnet32, resnet34, resnet50, resnet56

__all__ = [
    "airbench94",
    "lenet5",
    "mnist_cnn",
    "mobilenet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "vgg11",
    "vgg16",
    "vgg_small",
    "whitening",
]
