"""CIFAR-10 with ResNet-20, and the same training in PyTorch.

    python recipes/cifar10_resnet20.py SOURCE [--runs 3] [--epochs 30] [--seed 0] [--peer]

SOURCE: what vecgrad.data.open takes, for example a tar of folders of images. The recipe of He et al. 2016 on a shorter
schedule: batches of 128, padded by four pixels, cropped and flipped; SGD with Nesterov momentum, weight decay on kernels
and matrices, the rate along a cosine behind a short warm-up. --peer trains the twin in PyTorch instead, from the
same first weights, on the same batches (augmented by vecgrad) with the same rates.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.data.augment import Flip, PadCrop, Pipeline
from vecgrad.train.schedules import Cosine

RATE, MOMENTUM, DECAY, BATCH = 0.1, 0.9, 5e-4, 128
SCHEDULE = Cosine(warmup=0.05)
AUGMENT = (Flip(), PadCrop(4, "zero"))


def program(seed: int) -> vg.Program:
    rule = vg.SGD(RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY, decay="weights")
    return vg.compile(vg.zoo.resnet20(), (32, 32, 3), "cross_entropy", rule, BATCH, seed=seed)


def run(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float]:
    """(test accuracy, seconds of training)."""
    made = program(seed)
    begin = time.perf_counter()
    vg.fit(made, x, y, epochs, schedule=SCHEDULE, augment=AUGMENT, verbose=True)
    seconds = time.perf_counter() - begin
    return float(made.evaluate(x_test, y_test).accuracy or 0.0), seconds


def peer(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float]:
    """The same in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(vg.get_num_threads())

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, before: int, filters: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, filters, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(filters)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(filters)
            changes = stride != 1 or before != filters
            self.downsample = (
                nn.Sequential(nn.Conv2d(before, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))
                if changes
                else nn.Sequential()
            )

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + self.downsample(x)).relu()

    layers: dict[str, Any] = {
        "conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        "bn1": nn.BatchNorm2d(16),
        "relu": nn.ReLU(),
    }
    before = 16
    for number, filters in enumerate((16, 32, 64), 1):
        blocks = []
        for block in range(3):
            blocks.append(Block(before, filters, 2 if number > 1 and not block else 1))
            before = filters
        layers[f"layer{number}"] = nn.Sequential(*blocks)
    layers |= {"avgpool": nn.AvgPool2d(8), "flat": nn.Flatten(), "fc": nn.Linear(64, 10)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    first = vg.exchange.to_pytorch(vg.zoo.resnet20(), (32, 32, 3), program(seed).parameters)
    model.load_state_dict({name: torch.from_numpy(a) for name, a in first.items()}, strict=False)
    model = model.to(memory_format=torch.channels_last)
    kinds = {
        True: [p for p in model.parameters() if p.ndim > 1],
        False: [p for p in model.parameters() if p.ndim < 2],
    }
    groups = [{"params": kinds[True], "weight_decay": DECAY}, {"params": kinds[False], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, RATE, MOMENTUM, nesterov=True, fused=True)
    pipeline = Pipeline.of(AUGMENT, x, y, classes=10)
    steps, done = epochs * -(-len(x) // BATCH), 0
    begin = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        for indices in vg.data.batches(len(x), BATCH, seed, epoch):
            images, labels = pipeline.batch(indices, seed=seed, epoch=epoch)[:2]
            for group in optimizer.param_groups:
                group["lr"] = RATE * SCHEDULE.factor(done / steps)
            batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
            loss = nn.functional.cross_entropy(model(batch), torch.from_numpy(np.asarray(labels)))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
        print(f"epoch {epoch + 1}: {time.perf_counter() - begin:.0f} s", flush=True)
    seconds = time.perf_counter() - begin
    model.eval()
    right = 0
    with torch.no_grad():
        for at in range(0, len(x_test), 500):
            out = model(torch.from_numpy(x_test[at : at + 500]).permute(0, 3, 1, 2))
            right += int((out.argmax(1).numpy() == y_test[at : at + 500]).sum())
    return right / len(x_test), seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="train on so many only")
    parser.add_argument("--peer", action="store_true")
    given = parser.parse_args()
    data = vg.data.open(given.source)
    # Files come class by class: fewer images are taken evenly.
    count = len(data.train_images)
    taken = np.linspace(0, count - 1, min(given.images or count, count)).astype(int)
    x = data.preparation.arrays(data.train_images[taken])
    x_test = data.preparation.arrays(data.test_images)
    y, y_test = np.asarray(data.train_labels)[taken], np.asarray(data.test_labels)
    results = []
    for number in range(given.runs):
        accuracy, seconds = (peer if given.peer else run)(
            x, y, x_test, y_test, given.epochs, given.seed + number
        )
        results.append(accuracy)
        print(f"seed {given.seed + number}: test accuracy {accuracy:.4f}, {seconds:.0f} s", flush=True)
    spread = statistics.stdev(results) if len(results) > 1 else 0.0
    print(f"mean of {len(results)}: {statistics.mean(results):.4f}, standard deviation {spread:.4f}")
