"""Training: equal runs give equal models, and what cannot be trained is refused in words."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.tables import matrix_and_target
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.training import fit, predict
from serving.contract import Contract
from serving.errors import ConfigError, DataError

REGRESSION = Contract.model_validate(
    {
        "columns": {
            "area": {"type": "float", "nullable": True},
            "rooms": {"type": "int"},
            "new": {"type": "bool", "nullable": True},
            "kind": {"type": "category", "values": ["house", "flat"], "nullable": True},
        },
        "target": {"name": "price", "unit": "EUR"},
    }
)
CLASSES = Contract.model_validate(
    {"columns": {"a": {"type": "float"}, "b": {"type": "float"}}, "target": {"name": "y", "classes": ["z", "m", "a"]}}
)


def table(n: int = 150) -> pl.DataFrame:
    random = np.random.default_rng(3)
    area = random.uniform(20, 300, n)
    return pl.DataFrame(
        {
            "area": np.where(random.random(n) < 0.1, np.nan, area),
            "rooms": random.integers(1, 9, n),
            "new": random.integers(0, 2, n).astype(bool),
            "kind": random.choice(["house", "flat"], n).tolist(),
            "price": area * 3000 + random.normal(0, 1000, n),
        }
    )


def train(rows: pl.DataFrame, rules: Contract, *arguments: Any, **options: Any) -> Any:
    return fit(*matrix_and_target(rows, rules), rules, FeatureSpec(), *arguments, **options)


def spec(family: str) -> ModelSpec:
    small = {"random_forest", "extra_trees", "gradient_boosting"}
    return ModelSpec(family=family, params={"n_estimators": 5} if family in small else {})


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if "regression" in family.tasks])
def test_two_fits_predict_the_same_bits(family: str) -> None:
    """Same rows and seed, same predictions, to the last bit."""
    rows = table()
    matrix, _ = matrix_and_target(rows, REGRESSION)
    first, second = (predict(train(rows, REGRESSION, spec(family), seed=5), REGRESSION, matrix) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_seed_reaches_the_estimator() -> None:
    """Another seed grows another forest."""
    rows = table()
    matrix, _ = matrix_and_target(rows, REGRESSION)
    first, second = (
        predict(train(rows, REGRESSION, spec("random_forest"), seed), REGRESSION, matrix) for seed in (1, 2)
    )
    assert not np.array_equal(first, second)


def test_probabilities_stand_in_the_contracts_order() -> None:
    """Classes that are not in alphabetical order keep the contract's columns."""
    random = np.random.default_rng(0)
    code = random.integers(0, 3, 300)
    rows = pl.DataFrame(
        {"a": code + random.normal(0, 0.05, 300), "b": [0.0] * 300, "y": np.array(["z", "m", "a"])[code].tolist()}
    )
    pipeline = train(rows, CLASSES, spec("logistic_regression"), seed=1)
    answer = predict(pipeline, CLASSES, np.array([[0.0, 0], [1, 0], [2, 0]]))
    assert answer.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(answer.sum(axis=1), 1)


def test_parameters_of_the_search_win_over_the_projects() -> None:
    """The order is family default, project, search."""
    model = ModelSpec(family="hist_gradient_boosting", params={"max_iter": 3, "max_depth": 2})
    fitted = train(table(), REGRESSION, model, seed=9, params={"max_iter": 4})["model"].get_params()
    assert (fitted["max_iter"], fitted["max_depth"], fitted["early_stopping"], fitted["random_state"]) == (
        4,
        2,
        False,
        9,
    )


def test_missing_values_booleans_and_dictionary_columns_are_coded() -> None:
    """Nulls, booleans and categorical columns of polars arrive as the contract's codes."""
    frame = pl.DataFrame(
        {
            "area": [1.5, None],
            "rooms": [2, 3],
            "new": [True, None],
            "kind": pl.Series(["flat", None], dtype=pl.Categorical),
            "price": [10, 20],
            "other": ["x", "y"],
        }
    )
    matrix, target = matrix_and_target(frame, REGRESSION)
    np.testing.assert_array_equal(matrix, [[1.5, 2, 1, 1], [np.nan, 3, np.nan, np.nan]])
    np.testing.assert_array_equal(target, [10.0, 20.0])
    np.testing.assert_array_equal(matrix, REGRESSION.encode(frame.to_pandas()))


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        pytest.param([0, 1, 0], ["0", "1"], id="whole-numbers"),
        pytest.param([0.0, 1.0, 0.0], ["0", "1"], id="floats"),
        pytest.param([False, True, False], ["false", "true"], id="booleans"),
    ],
)
def test_classes_are_compared_as_the_contract_writes_them(values: Any, classes: Any) -> None:
    """Class columns that are no texts match the contract's texts."""
    rules = Contract.model_validate({"columns": {"a": {"type": "int"}}, "target": {"name": "y", "classes": classes}})
    assert matrix_and_target(pl.DataFrame({"a": [1, 2, 3], "y": values}), rules)[1].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("rules", "rows", "words"),
    [
        pytest.param(REGRESSION, table().drop("rooms"), "no column 'rooms'", id="absent-column"),
        pytest.param(REGRESSION, table().drop("price"), "no column 'price'", id="absent-target"),
        pytest.param(
            REGRESSION, table().with_columns(price=pl.lit(np.nan)), "missing or not a number in 150 of 150", id="gaps"
        ),
        pytest.param(REGRESSION, table()[:0], "no training rows", id="empty"),
        pytest.param(
            CLASSES, pl.DataFrame({"a": [1.0], "b": [1.0], "y": ["q"]}), "one of z, m, a, seen 'q'", id="foreign-class"
        ),
        pytest.param(
            CLASSES, pl.DataFrame({"a": [1.0], "b": [1.0], "y": [None]}), "seen a missing value", id="missing-class"
        ),
        pytest.param(
            CLASSES, pl.DataFrame({"a": [1.0] * 2, "b": [1.0] * 2, "y": ["z", "a"]}), "has y 'm'", id="absent-class"
        ),
    ],
)
def test_rows_that_cannot_train_are_refused(rules: Contract, rows: pl.DataFrame, words: str) -> None:
    """The message says what was expected and what was seen."""
    family = "ridge" if rules.task == "regression" else "logistic_regression"
    with pytest.raises(DataError, match=words):
        train(rows, rules, spec(family), seed=1)


@pytest.mark.parametrize(
    ("family", "params", "words"),
    [
        pytest.param(
            "perceptron", {}, "model.family: expected auto or one of linear_regression, ridge", id="unknown-family"
        ),
        pytest.param("ridge", {"alpah": 1}, "model.params.alpah: expected a parameter of ridge.* alpha", id="unknown"),
        pytest.param("ridge", {"random_state": 1}, "it is the project's 'seed'", id="the-seed-has-its-place"),
        pytest.param("random_forest", {"n_jobs": 2}, "n_jobs cannot be set", id="threads-break-determinism"),
        pytest.param("logistic_regression", {}, "logistic_regression has no regression", id="wrong-task"),
        pytest.param("hist_gradient_boosting", {"class_weight": "balanced"}, "regression", id="of-the-classifier"),
        pytest.param("ridge", {"alpha": -1}, "cannot be fitted with these params.*alpha", id="impossible-value"),
    ],
)
def test_impossible_models_are_refused(family: str, params: Any, words: str) -> None:
    """The message names the key and the choices."""
    with pytest.raises(ConfigError, match=words):
        train(table(), REGRESSION, ModelSpec(family=family, params=params), seed=1)
