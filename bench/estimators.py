"""The classifier beside scikit-learn's, all with their defaults, on the same images.

    python -m bench.estimators [--mnist DIR] [--cifar TAR_OR_FOLDER] [--seeds 5] [--only NAME …]

digits: scikit-learn's, a fixed split. MNIST: the first 10,000 training images and all test images, from the folder
with its four IDX files. CIFAR-10: the first 1,000 training images of each class and all test images, from a folder
or a .tar.gz that holds train/CLASS/*.jpg and test/CLASS/*.jpg. The peers get rows of pixels in [0, 1]; our
classifier gets the images as they are. A cell is the mean accuracy on the test images (least to greatest over the
seeds) and the mean time of a fit. SVC draws nothing, so one fit stands for all seeds.
"""

from __future__ import annotations

import argparse
import gzip
import platform
import statistics
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_PER_CLASS = 1_000


@dataclass(frozen=True)
class Problem:
    """Images (n, h, w, c) and labels (n,) to train and to test on; ``white`` is the number that means white."""

    name: str
    train: tuple[Array, Array]
    test: tuple[Array, Array]
    white: float

    def rows(self, images: Array) -> Array:
        """What the peers get: (n, h·w·c) in [0, 1]."""
        return images.reshape(len(images), -1) / np.float32(self.white)


def digits() -> Problem:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    X, Xt, y, yt = train_test_split(
        found.images[..., np.newaxis], found.target, test_size=0.25, random_state=0, stratify=found.target
    )
    return Problem("digits", (X, y), (Xt, yt), 16)


def mnist(folder: Path) -> Problem:
    def part(name: str, count: int | None) -> tuple[Array, Array]:
        images = _idx(folder / f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
        return images[:count], _idx(folder / f"{name}-labels-idx1-ubyte", 8)[:count].astype(np.int64)

    return Problem("MNIST, 10,000 images", part("train", 10_000), part("t10k", None), 255)


def cifar10(place: Path) -> Problem:
    with _unpacked(place) as folder:
        classes = sorted(each.name for each in (folder / "train").iterdir() if each.is_dir())
        return Problem(
            "CIFAR-10, 10,000 images",
            _images(folder / "train", classes, _PER_CLASS),
            _images(folder / "test", classes, None),
            255,
        )


def _idx(path: Path, header: int) -> Array:
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


@contextmanager
def _unpacked(place: Path) -> Iterator[Path]:
    """``place`` if it is a folder, else a temporary one with what the archive holds."""
    if place.is_dir():
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(place) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def _images(folder: Path, classes: list[str], count: int | None) -> tuple[Array, Array]:
    from PIL import Image

    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir())[:count]:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB"), dtype=np.uint8))
            labels.append(label)
    return np.stack(images), np.asarray(labels)


@dataclass(frozen=True)
class Contender:
    """``make(seed)`` gives an estimator with its defaults; ``rows``: whether it wants rows of pixels."""

    name: str
    make: Callable[[int], Any]
    rows: bool = True
    draws: bool = True


def contenders() -> list[Contender]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    def ours(seed: int) -> Any:
        from vecgrad import CNNClassifier

        return CNNClassifier(random_state=seed)

    return [
        Contender("CNNClassifier", ours, rows=False),
        Contender("MLPClassifier", lambda seed: MLPClassifier(random_state=seed)),
        Contender("RandomForestClassifier", lambda seed: RandomForestClassifier(random_state=seed)),
        Contender("SVC", lambda seed: SVC(), draws=False),
    ]


def measure(problem: Problem, contender: Contender, seeds: int) -> str:
    """One cell of the table."""
    (X, y), (Xt, yt) = problem.train, problem.test
    if contender.rows:
        X, Xt = problem.rows(X), problem.rows(Xt)
    accuracies, seconds = [], []
    for seed in range(seeds if contender.draws else 1):
        estimator = contender.make(seed)
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds.append(time.perf_counter() - start)
        accuracies.append(estimator.score(Xt, yt))
    spread = f" ({min(accuracies):.4f} to {max(accuracies):.4f})" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.4f}{spread}, {statistics.mean(seconds):.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, metavar="DIR")
    parser.add_argument("--cifar", type=Path, metavar="TAR_OR_FOLDER")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="Only the estimators of these names.")
    options = parser.parse_args()
    import sklearn

    # That 200 epochs are too few for MLPClassifier's tolerance belongs to its defaults.
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    chosen = [each for each in contenders() if not options.only or each.name in options.only]
    if not chosen:
        parser.error(f"--only knows {', '.join(each.name for each in contenders())}")
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"scikit-learn {sklearn.__version__}, {options.seeds} seeds\n"
    )
    problems: list[Callable[[], Problem]] = [digits]
    if options.mnist:
        problems.append(lambda: mnist(options.mnist))
    if options.cifar:
        problems.append(lambda: cifar10(options.cifar))
    print("| | " + " | ".join(each.name for each in chosen) + " |\n|---" + "|---" * len(chosen) + "|")
    for load in problems:
        problem = load()
        print(f"| {problem.name} |", end="", flush=True)
        for contender in chosen:
            print(f" {measure(problem, contender, options.seeds)} |", end="", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
