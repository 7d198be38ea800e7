"""CIFAR-10 with the speed-run network (airbench94), and the same training in PyTorch.

    python recipes/cifar10_speedrun.py SOURCE [--runs 3] [--epochs 10] [--seed 0] [--peer]

SOURCE: what vecgrad.data.open takes, for example a tar of folders of images. After Jordan, "94 % on CIFAR-10 in 3.29 seconds on
a single GPU" (2024): a frozen whitening layer from the eigenvectors of φ(x)ᵀφ(x), convolutions that begin as the identity,
biases of the normalizations that learn 64 times as fast, alternating flips, crops by two pixels, label smoothing, a triangular
rate, lookahead, six views of each test image. His rates, per image, for batches of 256 instead of 1024: what his sum of losses
learns with is divided among the images of a batch here, whose loss is a mean. --peer trains the twin in PyTorch instead, from
the same first weights, on the same batches with the same rates.

On the images as JPEG files of quality 75, test accuracy of the whole schedule (one run, seed 0): 0.9037, 589 s of training on two
threads of a shared, loaded Intel Emerald Rapids machine, 31 s of testing. Mean of 3 runs with `--epochs 3` (seeds 0 to 2): vecgrad
0.8512 (0.8491, 0.8557, 0.8489), the twin in PyTorch 0.8491 (0.8486, 0.8525, 0.8463). One epoch of 20,480 images, pairs one behind
the other (`--runs 1 --epochs 1 --images 20480`): training 26 and 26 s, the twin's 80 and 83 s, 3.1 and 3.2 times as long; with the
test's six views of 10,000 images 47 and 45 s against 161 and 169 s. Two pairs with slightly slower kernels, before: 3.2 and 3.0.
On two cores of a shared AMD EPYC (Zen 3) 52 and 49 s against the twin's 150: 2.9 and 3.1 times. On two of another (Zen 5) 14 s
against 44, 3.1 times, and with `--runs 1 --epochs 3` 97 s against 308, 3.2 times; with the tests 108 against 354.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import vecgrad as vg
from vecgrad.data.augment import Flip, PadCrop
from vecgrad.losses import CrossEntropy
from vecgrad.train.schedules import OneCycle

BATCH, MOMENTUM, SMOOTHING = 256, 0.85, 0.2
# Per 1024 images, and counted with all that momentum adds to a step.
RATE, DECAY = 11.5, 0.0153
SHARE = BATCH / 1024 / (1 + 1 / (1 - MOMENTUM))
RULE = vg.SGD(
    RATE * SHARE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY / RATE,
    groups=(("*norm*.bias", 64.0, 1 / 64),), lookahead=5,
)  # fmt: skip
SCHEDULE = OneCycle(peak=0.23, start=0.2, final=0.07, linear=True)
AUGMENT = (Flip(mode="alternating"), PadCrop(2))


def program(x: Any, seed: int) -> vg.Program:
    made = vg.compile(
        vg.zoo.airbench94(), x.shape[1:], CrossEntropy(label_smoothing=SMOOTHING), RULE, BATCH, seed=seed
    )
    # A tenth of the images, from all over: files come class by class.
    made.load_parameters({**made.parameters, "whiten.weight": vg.zoo.whitening(x[::10])})
    return made


def run(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float, float]:
    """(test accuracy, seconds of training, seconds of testing)."""
    made = program(x, seed)
    begin = time.perf_counter()
    vg.fit(made, x, y, epochs, schedule=SCHEDULE, augment=AUGMENT, verbose=True, training_accuracy=False)
    trained = time.perf_counter()
    accuracy = made.evaluate(x_test, y_test, tta="flip-shift").accuracy
    return float(accuracy or 0.0), trained - begin, time.perf_counter() - trained


def peer(x: Any, y: Any, x_test: Any, y_test: Any, epochs: int, seed: int) -> tuple[float, float, float]:
    """The same in PyTorch."""
    import _pytorch

    model = _pytorch.airbench94()
    seconds = _pytorch.train(
        model, program(x, seed), x, y, epochs=epochs, batch=BATCH, seed=seed, rule=RULE,
        schedule=SCHEDULE, augment=AUGMENT, smoothing=SMOOTHING,
    )  # fmt: skip
    begin = time.perf_counter()
    accuracy = _pytorch.accuracy(model, x_test, y_test, tta="flip-shift")
    return accuracy, seconds, time.perf_counter() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
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
