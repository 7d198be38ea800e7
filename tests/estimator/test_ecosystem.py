"""Inside scikit-learn's tools and joblib's: pipelines, searches, calibration, copies, other processes."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.estimator.small import classifier, regressor

import vecgrad as vg
from vecgrad.layers import Dense, Flatten
from vecgrad.runtime import get_num_threads, processors

LAYERS = [Flatten(), Dense(8), Dense(3)]  # a list, not a function: it travels to other processes


def test_in_a_pipeline(stripes: Any) -> None:
    X, y = stripes
    rows = X.reshape(90, -1).astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), classifier(image_shape=(6, 5, 3), max_iter=25))
    assert pipeline.fit(rows, y).score(rows, y) > 0.9
    pipeline.set_params(cnnclassifier__optimizer__learning_rate=0.01)
    assert pipeline[-1].optimizer.learning_rate == 0.01


def test_a_search_gives_the_same_scores_on_two_jobs(stripes: Any) -> None:
    X, y = stripes
    grid = {"optimizer__learning_rate": [1e-4, 0.05], "max_iter": [3]}
    searches = [
        GridSearchCV(classifier(architecture=LAYERS), grid, cv=2, n_jobs=jobs).fit(X, y) for jobs in (1, 2)
    ]
    for split in ("split0_test_score", "split1_test_score"):
        assert (searches[0].cv_results_[split] == searches[1].cv_results_[split]).all()
    assert searches[0].best_params_ == searches[1].best_params_
    assert (searches[0].predict_proba(X) == searches[1].predict_proba(X)).all()


def test_jobs_share_the_processors() -> None:
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(get_num_threads)() for _ in range(4))
    assert all(2 * count <= max(processors(), 2) for count in counts)


def test_threads_of_python_share_them_too(stripes: Any) -> None:
    X, y = stripes
    alone = classifier().fit(X, y).predict_proba(X)
    found = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(lambda: classifier().fit(X, y).predict_proba(X))() for _ in range(4)
    )
    assert all((each == alone).all() for each in found)


def test_every_image_is_predicted_once_by_who_never_saw_it(stripes: Any) -> None:
    X, y = stripes
    found = cross_val_predict(classifier(max_iter=25), X, y, cv=3, method="predict_proba")
    assert found.shape == (90, 3)
    assert (found.argmax(axis=1) == y).mean() > 0.7


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_calibrated(stripes: Any, dtype: str) -> None:
    X, y = stripes
    rows = X.reshape(90, -1).astype(dtype)
    found = CalibratedClassifierCV(classifier(image_shape=(6, 5, 3)), cv=2).fit(rows, y).predict_proba(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_a_clone_knows_the_parameters_and_nothing_learned(stripes: Any) -> None:
    fitted = classifier(optimizer=vg.SGD(0.1)).fit(*stripes)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "program_")


def test_it_shows_itself(stripes: Any) -> None:
    fitted = classifier(max_iter=1)
    assert "max_iter=1" in repr(fitted)
    assert "CNNClassifier" in fitted._repr_html_()


@pytest.mark.parametrize("make", [classifier, regressor], ids=["classifier", "regressor"])
def test_a_pickle_in_a_new_process_gives_the_same_bits(stripes: Any, make: Any, tmp_path: Path) -> None:
    X, y = stripes
    fitted = make(architecture=[Flatten(), Dense(3 if make is classifier else 1)]).fit(X, y)
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "X.npy", X)
    program = (
        "import pickle, sys, numpy as np\n"
        "X = np.load(sys.argv[1] + '/X.npy')\n"
        "fitted = pickle.load(open(sys.argv[1] + '/fitted.pickle', 'rb'))\n"
        "np.save(sys.argv[1] + '/found.npy', fitted.predict(X))\n"
        "np.save(sys.argv[1] + '/raw.npy', fitted.program_.forward(fitted.preparation_.arrays(X)))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert (np.load(tmp_path / "found.npy") == fitted.predict(X)).all()
    assert (np.load(tmp_path / "raw.npy") == fitted.program_.forward(fitted.preparation_.arrays(X))).all()


def test_a_pickle_goes_on_training_as_the_original_does(stripes: Any) -> None:
    X, y = stripes
    fitted = classifier(optimizer=vg.Adam(), architecture=LAYERS).partial_fit(X, y, classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(fitted))
    assert (copy.partial_fit(X, y).predict_proba(X) == fitted.partial_fit(X, y).predict_proba(X)).all()


def test_joblibs_memory_maps(stripes: Any) -> None:
    X, y = stripes
    expected = classifier(architecture=LAYERS).fit(X, y).predict_proba(X)
    found = joblib.Parallel(n_jobs=2, max_nbytes=1)(joblib.delayed(_fit_and_predict)(X, y) for _ in range(2))
    assert all(kind == "memmap" and (each == expected).all() for kind, each in found)


def _fit_and_predict(X: Any, y: Any) -> tuple[str, Any]:
    return type(X).__name__, classifier(architecture=LAYERS).fit(X, y).predict_proba(X)


def test_dask_as_joblibs_backend(stripes: Any) -> None:
    distributed = pytest.importorskip("dask.distributed", reason="needs dask and distributed")
    X, y = stripes
    grid = {"optimizer__learning_rate": [1e-4, 0.05]}
    here = GridSearchCV(classifier(architecture=LAYERS, max_iter=2), grid, cv=2).fit(X, y)
    with (
        distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None),
        joblib.parallel_backend("dask"),
    ):
        there = GridSearchCV(classifier(architecture=LAYERS, max_iter=2), grid, cv=2, n_jobs=2).fit(X, y)
    assert (here.cv_results_["mean_test_score"] == there.cv_results_["mean_test_score"]).all()


def test_a_saved_program_is_a_run(stripes: Any, tmp_path: Path) -> None:
    """What the command line reads: the classes by name, and files prepared as the training images were."""
    from click.testing import CliRunner
    from PIL import Image

    from vecgrad.cli import main

    X, y = stripes
    names = np.array(["row", "column", "nothing"])
    fitted = classifier(max_iter=25, architecture=LAYERS).fit(X, names[y])
    run = fitted.program_.save(tmp_path / "run", history=fitted.history_)
    loaded = vg.load(run)
    x = fitted.preparation_.arrays(X)
    assert (loaded.predict_proba(x) == fitted.program_.predict_proba(x)).all()
    assert loaded.data == vg.load(loaded.save(tmp_path / "again")).data, "what is known of the images stays"
    Image.fromarray(X[0]).save(tmp_path / "image.png")
    done = CliRunner().invoke(main, ["predict", str(run), str(tmp_path / "image.png")])
    assert done.exit_code == 0, done.output
    assert fitted.predict(X[:1])[0] in done.output


def test_nothing_native_is_in_a_pickle(stripes: Any) -> None:
    fitted = classifier(architecture=LAYERS).fit(*stripes)
    fitted.predict(stripes[0])
    stream = io.BytesIO()
    pickle.dump(fitted, stream)
    assert len(stream.getvalue()) < 40_000
    assert os.sep + "cache" not in repr(stream.getvalue())
