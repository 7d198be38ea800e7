"""Precision, recall and confusion against scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import vecgrad as vg
from vecgrad.layers import Dense
from vecgrad.program import Program
from vecgrad.spec.errors import ArgumentError, DataError
from vecgrad.train import report


def identity(classes: int) -> Program:
    """A program whose logits are its inputs."""
    parameters = {"weight": np.eye(classes), "bias": np.zeros(classes)}
    return vg.compile(
        Dense(classes), (classes,), "cross_entropy", parameters=parameters, batch_size=7, backend="reference"
    )


def test_it_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, x = rng.integers(0, 4, 50), rng.random((50, 4), np.float32)
    said = x.argmax(axis=1)
    found = report(identity(4), x, truth, ["a", "b", "c", "d"])
    assert np.array_equal(found.confusion, metrics.confusion_matrix(truth, said))
    assert found.accuracy == metrics.accuracy_score(truth, said)
    precision, recall, _, images = metrics.precision_recall_fscore_support(truth, said)
    assert [row.precision for row in found.classes] == pytest.approx(precision)
    assert [row.recall for row in found.classes] == pytest.approx(recall)
    assert [row.images for row in found.classes] == images.tolist()
    assert [row.name for row in found.classes] == ["a", "b", "c", "d"]
    assert found.loss == pytest.approx(metrics.log_loss(truth, identity(4).predict_proba(x)), rel=1e-5)


def test_classes_that_never_occur_have_no_share() -> None:
    found = report(identity(3), np.float32([[1, 0, 0]]), [0])
    assert [(row.precision, row.recall) for row in found.classes] == [(1.0, 1.0), (None, None), (None, None)]


def test_bad_input(made: Callable[..., Program]) -> None:
    with pytest.raises(DataError, match="from 0 to 2"):
        report(identity(3), np.float32([[1, 0, 0]]), [3])
    with pytest.raises(ArgumentError, match="2 class names for 3"):
        report(identity(3), np.float32([[1, 0, 0]]), [0], ["a", "b"])
    with pytest.raises(ArgumentError, match="cross_entropy"):
        report(made(loss="mse", optimizer=None), np.zeros((1, 4, 4, 1), np.float32), [0])


def test_the_worst_mistakes_first() -> None:
    x = np.float32([[4, 0, 0], [0, 3, 0], [0, 1, 2], [2, 0, 9], [1, 1.5, 0]])
    truth = [0, 2, 2, 0, 0]
    found = report(identity(3), x, truth, ["a", "b", "c"], mistakes=2, files=list("vwxyz"))
    assert [(each.index, each.file, each.truth, each.said) for each in found.mistakes] == [
        (3, "y", "a", "c"),
        (1, "w", "c", "b"),
    ]
    row = np.exp(x[3]) / np.exp(x[3]).sum()
    assert found.mistakes[0].confidence == pytest.approx(row[2], rel=1e-6)
    assert found.mistakes[0].loss == pytest.approx(-np.log(row[0]), rel=1e-6)
    assert len(report(identity(3), x, truth).mistakes) == 3
    assert report(identity(3), x, truth, mistakes=0).mistakes == ()
    lines = str(found).splitlines()
    assert lines[0].startswith("5 images, accuracy 0.4000")
    assert lines[-2].split() == ["y", "a", "c", f"{row[2]:.4f}", f"{-np.log(row[0]):.4f}"]
    with pytest.raises(ArgumentError, match="4 files for 5 images"):
        report(identity(3), x, truth, files=list("abcd"))


def test_a_certain_mistake_has_a_finite_loss() -> None:
    found = report(identity(2), np.float32([[0, 2000]]), [0])
    assert found.mistakes[0].loss == 2000
    assert found.mistakes[0].confidence == 1
