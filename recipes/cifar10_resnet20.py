"""CIFAR-10 with ResNet-20, and the same training in PyTorch.

    python recipes/cifar10_resnet20.py SOURCE [--runs 3] [--epochs 30] [--seed 0] [--peer]

SOURCE: what vecgrad.data.open takes, for example a tar of folders of images. The recipe of He et al. 2016 on a shorter
schedule: batches of 128, padded by four pixels, cropped and flipped; SGD with Nesterov momentum, weight decay on kernels
and matrices, the rate along a cosine behind a short warm-up. --peer trains the twin in PyTorch instead, from the same first
weights, on the same batches with the same rates.

On the images as JPEG files of quality 75, test accuracy of the whole schedule (one run, seed 0): 0.8678, 1,070 s of training on two
threads of a shared Intel Emerald Rapids machine. Mean of 3 runs with `--epochs 8` (seeds 0 to 2): vecgrad 0.8193
(0.8196, 0.8164, 0.8219), the twin in PyTorch 0.8188 (0.8179, 0.8170, 0.8216). One epoch of 12,800 images took the twin 2.25 and
2.33 times as long, two pairs one behind the other in one process (before Winograd's inputs were read plane by plane).
On two cores of a shared AMD EPYC (Zen 3) 17 s against the twin's 48, 2.8 times (`--runs 1 --epochs 1 --images 12800`). On two of
another (Zen 5) `--runs 1 --epochs 3` took 53 s against 149, 2.8 times, accuracies 0.7330 and 0.7300.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.data.augment import Flip, PadCrop
from vecgrad.train.schedules import Cosine

BATCH = 128
RULE = vg.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, decay="weights")
SCHEDULE = Cosine(warmup=0.05)
AUGMENT = (Flip(), PadCrop(4, "zero"))


def program(seed: int) -> vg.Program:
    return vg.compile(vg.zoo.resnet20(), (32, 32, 3), "cross_entropy", RULE, BATCH, seed=seed)


def run(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float, float]:
    """(test accuracy, seconds of training, seconds of testing)."""
    made = program(seed)
    begin = time.perf_counter()
    vg.fit(made, x, y, epochs, schedule=SCHEDULE, augment=AUGMENT, verbose=True, training_accuracy=False)
    trained = time.perf_counter()
    accuracy = made.evaluate(x_test, y_test).accuracy
    return float(accuracy or 0.0), trained - begin, time.perf_counter() - trained


def peer(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float, float]:
    """The same in PyTorch."""
    import _pytorch

    model = _pytorch.resnet20()
    seconds = _pytorch.train(
        model, program(seed), x, y, epochs=epochs, batch=BATCH, seed=seed, rule=RULE,
        schedule=SCHEDULE, augment=AUGMENT,
    )  # fmt: skip
    begin = time.perf_counter()
    accuracy = _pytorch.accuracy(model, x_test, y_test)
    return accuracy, seconds, time.perf_counter() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="train on so many only")
    parser.add_argument("--peer", action="store_true", help="train the twin in PyTorch")
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
        seed = given.seed + number
        accuracy, training, testing = (peer if given.peer else run)(x, y, x_test, y_test, given.epochs, seed)
        results.append(accuracy)
        print(
            f"seed {seed}: test accuracy {accuracy:.4f}, {training:.0f} s of training, {testing:.0f} of testing",
            flush=True,
        )
    spread = statistics.stdev(results) if len(results) > 1 else 0.0
    print(f"mean of {len(results)}: {statistics.mean(results):.4f}, standard deviation {spread:.4f}")
