"""Boosters: another library's trees, as our arrays, predict what it predicts to the last bit, and need it no more."""

import importlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.modelling.boosters import flattened
from serving.bundle.model_file import load_model, write_model
from serving.errors import ConfigError
from serving.scoring.flat import FlatClassifier

ROUNDED = 16  # units in the last place: CatBoost has an exponential of its own; its sums are equal to the last bit
TARGETS = ("any", "counts", "positive", "two", "three")
# Family, objective, and the kind of target that it takes.
CASES = [
    *(("lightgbm", name, "any") for name in ("regression", "regression_l1", "huber", "fair", "quantile")),
    *(("lightgbm", name, "counts") for name in ("poisson", "tweedie")),
    *(("lightgbm", name, "positive") for name in ("gamma", "mape")),
    ("lightgbm", "binary", "two"),
    ("lightgbm", "multiclass", "three"),
    *(("xgboost", name, "any") for name in ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror")),
    ("xgboost", "reg:quantileerror", "any"),
    *(("xgboost", name, "counts") for name in ("count:poisson", "reg:tweedie")),
    ("xgboost", "reg:gamma", "positive"),
    ("xgboost", "binary:logistic", "two"),
    ("xgboost", "multi:softprob", "three"),
    *(("catboost", name, "any") for name in ("RMSE", "MAE", "Quantile:alpha=0.3", "Huber:delta=1.0")),
    *(("catboost", name, "counts") for name in ("Poisson", "Tweedie:variance_power=1.5")),
    ("catboost", "Logloss", "two"),
    ("catboost", "MultiClass", "three"),
]


def rows(seed: int, n: int = 300) -> np.ndarray:
    """Numbers with gaps, one without, and codes of categories, of which some come in few rows."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(n, 5)).round(1)
    matrix[:, 4] = np.minimum(random.geometric(0.15, n), 40)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 3] = random.integers(0, 6, n)
    return matrix


def target(matrix: np.ndarray, kind: str) -> np.ndarray:
    full = np.nan_to_num(matrix)
    score = full[:, 0] ** 2 + full[:, 1] + (full[:, 3] % 3) - (full[:, 4] % 2) + 0.1 * full[:, 2]
    counts = np.floor(np.abs(score))
    two, three = (score > 1).astype(int), np.digitize(score, [0, 2])
    return {"any": score, "counts": counts, "positive": np.abs(score) + 0.1, "two": two, "three": three}[kind]


def estimator(family: str, objective: str, kind: str, trees: int, leaves: int, seed: int) -> Any:
    package = importlib.import_module(family)
    side = "Classifier" if kind in ("two", "three") else "Regressor"
    if family == "lightgbm":
        return getattr(package, f"LGBM{side}")(
            objective=objective, n_estimators=trees, num_leaves=leaves, min_child_samples=3, random_state=seed,
            n_jobs=1, verbose=-1, extra_trees=seed % 2 == 1,
        )  # fmt: skip
    if family == "xgboost":
        more = {"quantile_alpha": 0.7} if "quantile" in objective else {}
        return getattr(package, f"XGB{side}")(
            objective=objective, n_estimators=trees, max_leaves=leaves, max_depth=0, grow_policy="lossguide",
            random_state=seed, n_jobs=1, subsample=0.8, **more,
        )  # fmt: skip
    return getattr(package, f"CatBoost{side}")(
        loss_function=objective, iterations=trees, depth=min(6, leaves.bit_length()), random_state=seed,
        thread_count=1, verbose=False, allow_writing_files=False,
    )  # fmt: skip


def own(model: Any, matrix: np.ndarray) -> np.ndarray:
    answer = model.predict_proba(matrix) if hasattr(model, "predict_proba") else model.predict(matrix)
    return np.asarray(answer, np.float64)


def ours(model: Any, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_proba(matrix) if isinstance(model, FlatClassifier) else model.predict(matrix))


def assert_same(model: Any, flat: Any, matrix: np.ndarray, *, rounded: bool) -> None:
    for size in (1, 12, 13, 129, len(matrix)):
        expected, answer = own(model, matrix[:size]), ours(flat, matrix[:size])
        off = np.abs(answer - expected)
        if rounded:
            raw = np.asarray(model.predict(matrix[:size], prediction_type="RawFormulaVal")).reshape(size, -1)
            narrow = matrix[:size].astype(np.float32).astype(np.float64)
            np.testing.assert_array_equal(flat.planted.forest.raw(narrow), raw)
        assert (off <= (ROUNDED * np.spacing(np.abs(expected)) if rounded else 0)).all(), (size, off.max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "objective", "kind"), CASES)
@pytest.mark.parametrize("leaves", [31, 90])
def test_an_objective_predicts_the_same_bits(family: str, objective: str, kind: str, leaves: int) -> None:
    """Trees that fit in a word of leaves and larger ones, at row counts that take each loop, seen rows and new ones."""
    seen = rows(1)
    model = estimator(family, objective, kind, 20, leaves, 1).fit(seen, target(seen, kind))
    rounded = family == "catboost" and kind in ("counts", "three")
    assert_same(model, flattened(model), np.concatenate([seen, rows(2)]), rounded=rounded)


FORMS = st.tuples(st.sampled_from(CASES), st.integers(1, 30), st.integers(2, 100), st.integers(0, 1000))


def check_form(form: Any) -> None:
    (family, objective, kind), trees, leaves, seed = form
    seen = rows(seed)
    model = estimator(family, objective, kind, trees, leaves, seed).fit(seen, target(seen, kind))
    rounded = family == "catboost" and kind in ("counts", "three")
    assert_same(model, flattened(model), rows(seed + 1), rounded=rounded)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=15, deadline=None)
@given(FORMS)
def test_generated_models_predict_the_same_bits(form: Any) -> None:
    """Any number of trees and leaves."""
    check_form(form)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=1000, deadline=None)
@given(FORMS)
def test_many_generated_models_predict_the_same_bits(form: Any) -> None:
    """As above."""
    check_form(form)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("family", ["lightgbm", "hist_gradient_boosting"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sets_of_categories_predict_the_same_bits(family: str, kind: str, seed: int) -> None:
    """Splits on sets, for codes that training had and had not, and for missing ones."""
    seen, new = rows(seed), rows(seed + 100)
    seen[seen[:, 4] == 3, 4] = 5  # no row of training has this code
    new[:20, 4], new[20:40, 3] = np.nan, np.nan
    side = "Classifier" if kind in ("two", "three") else "Regressor"
    if family == "lightgbm":
        objective = {"two": "binary", "three": "multiclass", "counts": "poisson", "positive": "gamma"}
        model = estimator(family, objective.get(kind, "regression"), kind, 15, 31, seed)
        model.fit(seen, target(seen, kind), categorical_feature=[3, 4])
        new[40:60, 4] = -1.0
    else:
        kinds = importlib.import_module("sklearn.ensemble")
        more = {"loss": {"counts": "poisson", "positive": "gamma"}[kind]} if kind in ("counts", "positive") else {}
        model = getattr(kinds, f"HistGradientBoosting{side}")(
            categorical_features=[3, 4], max_iter=15, early_stopping=False, **more
        ).fit(seen, target(seen, kind))
    flat = flattened(model)
    assert len(flat.planted.forest.sets) > 0
    assert_same(model, flat, np.concatenate([seen, new]), rounded=False)


def test_an_objective_without_an_exact_form_is_refused_by_its_key() -> None:
    """What has no link of ours is told before a bundle is written."""
    seen = rows(1)
    model = estimator("lightgbm", "cross_entropy", "any", 3, 7, 1)
    with pytest.raises(ConfigError, match=r"model.params.objective: expected one of regression.*seen 'cross_entropy'"):
        flattened(model.fit(seen, target(seen, "two")))


WITHOUT = """
import sys
for name in ("lightgbm", "xgboost", "catboost"):
    sys.modules[name] = None
import numpy as np
from serving.bundle.model_file import load_model
pipeline = load_model(open(sys.argv[1], "rb").read())
print(pipeline.predict(np.load(sys.argv[2])).tobytes().hex())
"""


@pytest.mark.parametrize(("family", "objective"), [("lightgbm", "regression"), ("xgboost", "reg:squarederror")])
def test_a_stored_model_answers_where_its_library_is_not_installed(tmp_path: Any, family: str, objective: str) -> None:
    """The file holds arrays of ours alone."""
    from sklearn.pipeline import Pipeline

    seen = rows(4)
    model = estimator(family, objective, "any", 5, 7, 1).fit(seen, target(seen, "any"))
    (tmp_path / "model.skops").write_bytes(write_model(Pipeline([("model", flattened(model))])))
    np.save(tmp_path / "rows.npy", seen)
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "model.skops"), str(tmp_path / "rows.npy")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == own(model, seen).tobytes().hex()


def test_equal_models_are_equal_bytes() -> None:
    """What was put together for a prediction is no part of what is stored."""
    from sklearn.pipeline import Pipeline

    seen = rows(4)
    flat = flattened(estimator("lightgbm", "regression", "any", 5, 7, 1).fit(seen, target(seen, "any")))
    before = write_model(Pipeline([("model", flat)]))
    flat.predict(seen)
    assert write_model(Pipeline([("model", flat)])) == before
    again = load_model(before)["model"]
    assert again.predict(seen).tobytes() == flat.predict(seen).tobytes()
