"""Feature pipelines: what is fitted where, and that every row the contract lets through can be predicted."""

from typing import Any

import numpy as np
import pytest

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec, build_pipeline, check_features, step_name
from components.modelling.kinds import FAMILIES
from components.modelling.training import fit, predict
from serving.contract import Contract, Matrix
from serving.errors import ConfigError

COLUMNS: dict[str, Any] = {
    "area": {"type": "float", "unit": "m2", "range": [10, 1500], "nullable": True},
    "rooms": {"type": "int", "range": [0, 30]},
    "garden": {"type": "bool", "nullable": True},
    "kind": {"type": "category", "values": ["house", "flat", "plot"], "nullable": True, "unknown": "flag"},
}
CASES = [pytest.param(name, task, id=f"{name}-{task}") for name, family in FAMILIES.items() for task in family.tasks]
SMALL = {"random_forest", "extra_trees", "gradient_boosting"}


def contract(task: str = "regression", **changes: Any) -> Contract:
    target: dict[str, Any] = {"name": "price", "unit": "EUR"}
    if task == "classification":
        target = {"name": "sold", "classes": ["no", "yes"]}
    return Contract.model_validate({"columns": {**COLUMNS, **changes}, "target": target})


def rows(n: int = 200, seed: int = 0, gaps: bool = True) -> Matrix:
    """Coded rows of the contract above, with missing numbers, missing and unknown categories among them."""
    random = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            random.uniform(10, 300, n).round(2),
            random.integers(0, 9, n),
            random.integers(0, 2, n),
            random.integers(0, 3, n),
        ]
    ).astype(np.float64)
    if gaps:
        matrix[random.random(n) < 0.1, 0] = np.nan
        matrix[random.random(n) < 0.1, 2] = np.nan
        matrix[random.random(n) < 0.1, 3] = np.nan
        matrix[random.random(n) < 0.1, 3] = 3
    return matrix


def model(family: str, **params: Any) -> ModelSpec:
    return ModelSpec(family=family, params={**({"n_estimators": 5} if family in SMALL else {}), **params})


@pytest.mark.parametrize(("family", "task"), CASES)
def test_rows_with_missing_and_unknown_values_predict(family: str, task: str) -> None:
    """Every family takes NaN, a missing category and one it never saw, with warnings as errors."""
    rules, matrix = contract(task), rows()
    target = (matrix[:, 1] > 3).astype(np.float64)
    pipeline = fit(matrix, target, rules, FeatureSpec(), model(family), seed=1)
    answer = predict(pipeline, rules, np.array([[np.nan, 2, np.nan, np.nan], [50, 2, 1, 3]]))
    assert answer.shape == ((2, 2) if task == "classification" else (2,))
    assert np.isfinite(answer).all()


def test_statistics_come_from_the_fitted_rows_alone() -> None:
    """Medians, means and scales equal those of the training rows, though wilder holdout rows are predicted."""
    rules, train, holdout = contract(), rows(seed=1), rows(seed=2) * 1000.0
    holdout[:, 2:] = 0
    pipeline = fit(train, train[:, 1], rules, FeatureSpec(), model("ridge"), seed=1)
    before = pipeline["columns"].named_transformers_[step_name("area")]["scale"].mean_.copy()
    predict(pipeline, rules, holdout)
    area = pipeline["columns"].named_transformers_[step_name("area")]
    known = train[~np.isnan(train[:, 0]), 0]
    assert area["impute"].statistics_[0] == np.median(known)
    filled = np.where(np.isnan(train[:, 0]), np.median(known), train[:, 0])
    np.testing.assert_allclose(area["scale"].mean_, [filled.mean()])
    np.testing.assert_allclose(area["scale"].scale_, [filled.std()])
    np.testing.assert_array_equal(area["scale"].mean_, before)


@pytest.mark.parametrize(
    ("family", "features", "width"),
    [
        pytest.param("ridge", FeatureSpec(), 6, id="linear-families-get-one-hot"),
        pytest.param("hist_gradient_boosting", FeatureSpec(), 4, id="trees-get-ordinal-codes"),
        pytest.param("hist_gradient_boosting", FeatureSpec(encode="onehot"), 6, id="what-is-asked-for-wins"),
    ],
)
def test_numbers_reach_the_model_as_dense_float64(family: str, features: FeatureSpec, width: int) -> None:
    """The column step gives a dense float64 array, one column per number and per category or code."""
    rules = contract()
    columns = build_pipeline(rules, features, model(family), seed=1)["columns"]
    table = columns.fit_transform(rules.frame(rows()))
    assert type(table) is np.ndarray
    assert table.dtype == np.float64
    assert table.shape == (200, width)


def test_missing_and_unknown_categories_are_all_zeros_in_one_hot() -> None:
    """Neither borrows the column of a known category."""
    rules = contract()
    columns = build_pipeline(rules, FeatureSpec(), model("ridge"), seed=1)["columns"].fit(rules.frame(rows()))
    coded = columns.transform(rules.frame(np.array([[1, 1, 1, 1.0], [1, 1, 1, 3], [1, 1, 1, np.nan]])))[:, 3:]
    np.testing.assert_array_equal(coded, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("family", "code"), [("hist_gradient_boosting", np.nan), ("random_forest", -1.0), ("gradient_boosting", -1.0)]
)
def test_ordinal_codes_follow_the_contract(family: str, code: float) -> None:
    """Codes are positions in the contract's values even when training rows lack some of them."""
    rules = contract()
    train = rows()
    train[:, 3] = 2
    columns = build_pipeline(rules, FeatureSpec(), model(family), seed=1)["columns"].fit(rules.frame(train))
    coded = columns.transform(rules.frame(np.array([[1, 1, 1, 0.0], [1, 1, 1, 2], [1, 1, 1, 3], [1, 1, 1, np.nan]])))
    np.testing.assert_array_equal(coded[:, 3], [0, 2, code, code])


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "none"])
@pytest.mark.parametrize("impute", ["median", "mean"])
def test_every_scale_and_imputation_runs(scale: Any, impute: Any) -> None:
    """Each combination fits and predicts rows with gaps."""
    rules, matrix = contract(), rows()
    spec = FeatureSpec(scale=scale, impute=impute, transforms={"area": "log", "rooms": "sqrt"})
    pipeline = fit(matrix, matrix[:, 1], rules, spec, model("ridge"), seed=1)
    assert np.isfinite(predict(pipeline, rules, matrix)).all()


@pytest.mark.parametrize(
    ("low", "function"), [pytest.param(10, np.log, id="above-0"), pytest.param(0, np.log1p, id="from-0")]
)
def test_log_of_a_range_from_zero_is_log1p(low: float, function: Any) -> None:
    """The logarithm is chosen from the range, so that no accepted value is lost to minus infinity."""
    rules = contract(area={"type": "float", "range": [low, 1500]})
    spec = FeatureSpec(transforms={"area": "log"}, scale="none", impute="none")
    columns = build_pipeline(rules, spec, model("hist_gradient_boosting"), seed=1)["columns"]
    values = np.array([[float(low), 1, 1, 1], [700, 1, 1, 1]])
    np.testing.assert_array_equal(columns.fit_transform(rules.frame(values))[:, 0], function(values[:, 0]))


def test_a_column_that_was_never_seen_keeps_its_place() -> None:
    """An all-missing training column becomes zeros instead of shifting the columns behind it."""
    rules, matrix = contract(), rows()
    matrix[:, 0] = np.nan
    pipeline = fit(matrix, matrix[:, 1], rules, FeatureSpec(), model("ridge"), seed=1)
    assert pipeline["columns"].transform(rules.frame(matrix)).shape[1] == 6


@pytest.mark.parametrize(
    ("features", "changes", "words"),
    [
        pytest.param({"transforms": {"aera": "log"}}, {}, "no such column", id="unknown-column"),
        pytest.param({"transforms": {"kind": "log"}}, {}, "is for numbers", id="category"),
        pytest.param(
            {"transforms": {"area": "log"}}, {"area": {"type": "float"}}, "needs a 'range'", id="log-without-range"
        ),
        pytest.param(
            {"transforms": {"area": "sqrt"}},
            {"area": {"type": "float", "range": [-1, 5]}},
            r"seen \[-1.0, 5.0\]",
            id="negative-range",
        ),
        pytest.param(
            {"transforms": {"area": "log"}},
            {"area": {"type": "float", "range": [0, 5], "out_of_range": "flag"}},
            "flagged values",
            id="flagged-values-may-be-negative",
        ),
        pytest.param(
            {"impute": "none"}, {}, "area is nullable and ridge takes no missing", id="gaps-without-a-filling"
        ),
    ],
)
def test_impossible_features_are_refused(features: Any, changes: Any, words: str) -> None:
    """The message names the key, what it needs and what it met."""
    with pytest.raises(ConfigError, match=words):
        check_features(contract(**changes), FeatureSpec(**features), model("ridge"))
