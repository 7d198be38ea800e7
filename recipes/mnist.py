"""MNIST with the usual small CNN: convolutions of 32 and 64, one pooling, 128 units, dropout.

    python recipes/mnist.py DIR [--runs 5] [--epochs 12] [--seed 0]

DIR holds the four IDX files. Batches of 64; images shifted by up to two pixels; SGD with Nesterov momentum, the rate by one
cycle; label smoothing.

Test accuracy after 12 epochs, 5 runs (seeds 0 to 4): mean 0.9944, lowest 0.9942, highest 0.9948, standard deviation 0.0002.
124 to 137 s a run on two cores of a shared Intel Emerald Rapids machine. Measured by the command above without options.
"""

from __future__ import annotations

import argparse
import statistics
import time

import vecgrad as vg
from vecgrad.data.augment import PadCrop
from vecgrad.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from vecgrad.losses import CrossEntropy


def network() -> vg.Sequential:
    return vg.Sequential(
        [
            Conv2D(32, 3), ReLU(), Conv2D(64, 3), ReLU(), MaxPool2D(2), Dropout(0.25),
            Flatten(), Dense(128), ReLU(), Dropout(0.5), Dense(10),
        ]
    )  # fmt: skip


def run(folder: str, epochs: int, seed: int) -> tuple[float, float]:
    """(test accuracy, seconds of training)."""
    data = vg.data.open(folder)
    x, x_test = (data.preparation.arrays(images) for images in (data.train_images, data.test_images))
    program = vg.compile(
        network(),
        x.shape[1:],
        CrossEntropy(label_smoothing=0.05),
        vg.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, decay="weights"),
        batch_size=64,
        seed=seed,
    )
    begin = time.perf_counter()
    vg.fit(
        program,
        x,
        data.train_labels,
        epochs,
        schedule="one_cycle",
        augment=(PadCrop(2, "edge"),),
        verbose=True,
    )
    seconds = time.perf_counter() - begin
    return float(program.evaluate(x_test, data.test_labels).accuracy or 0.0), seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results = []
    for number in range(given.runs):
        accuracy, seconds = run(given.folder, given.epochs, given.seed + number)
        results.append(accuracy)
        print(f"seed {given.seed + number}: test accuracy {accuracy:.4f}, {seconds:.0f} s", flush=True)
    spread = statistics.stdev(results) if len(results) > 1 else 0.0
    print(f"mean of {len(results)}: {statistics.mean(results):.4f}, standard deviation {spread:.4f}")
