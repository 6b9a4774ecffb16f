"""Columns in which training rows say nothing: every family is fitted, and answers rows that do say something."""

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from components.data.tables import learned_contract, matrix_and_target
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.training import fit, predict
from serving.contract import Contract
from serving.scoring.api import SklearnScorer
from serving.scoring.compile import CompiledScorer, compile_pipeline
from tests.components.modelling.test_features import CASES, COLUMNS, model, rows
from tests.components.modelling.test_names import called

PLAIN = list(COLUMNS)


def wide(columns: int) -> Contract:
    told = {f"x{place}": {"type": "float", "nullable": True} for place in range(columns)}
    return Contract.model_validate({"columns": told, "target": {"name": "y"}})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [1, 5, 20])
def test_values_of_fewer_rows_than_a_leaf_has_change_no_tree(seed: int, least: int) -> None:
    """A fit that does not see them gives the trees of the library's own, that does, to the last bit."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(150, 4))
    for place in (1, 2):
        x[random.permutation(150)[: 150 - int(random.integers(1, 25))], place] = np.nan
    y, params = np.nan_to_num(x).sum(axis=1), {"max_iter": 5, "min_samples_leaf": least}
    ours = fit(x, y, wide(4), FeatureSpec(), ModelSpec(family="hist_gradient_boosting", params=params), seed=0)
    own = HistGradientBoostingRegressor(**params, early_stopping=False, random_state=0).fit(x, y)
    asked = np.where(random.random((300, 4)) < 0.3, np.nan, random.normal(size=(300, 4)))
    np.testing.assert_array_equal(predict(ours, wide(4), asked), own.predict(asked))


def test_a_value_in_a_long_table_that_its_bins_may_miss_stops_nothing() -> None:
    """scikit-learn makes bins of 200,000 rows, among which the few that have a value need not be."""
    x = np.full((400_000, 2), np.nan)
    x[:, 0] = np.arange(400_000) % 7
    model = ModelSpec(family="hist_gradient_boosting", params={"max_iter": 1, "min_samples_leaf": 1})
    for seed in (2, 3, 4):  # in which it does
        x[:, 1], x[seed * 1_000, 1] = np.nan, 1.0
        assert np.isfinite(predict(fit(x, x[:, 0], wide(2), FeatureSpec(), model, seed), wide(2), x[:9])).all()


@pytest.mark.parametrize(("family", "task"), CASES)
@pytest.mark.parametrize("place", [*range(len(PLAIN)), None])
def test_a_column_without_a_value_stops_no_family(family: str, task: str, place: int | None) -> None:
    """Whichever column it is, or all of them, as in a fold of rows before anybody wrote it down."""
    matrix, asked = rows(120), rows(120)
    target = (matrix[:, 1] > 3).astype(np.float64)
    matrix[:, slice(None) if place is None else place] = np.nan
    rules = called(PLAIN, task)
    nullable = {name: column.model_copy(update={"nullable": True}) for name, column in rules.columns.items()}
    rules = rules.model_copy(update={"columns": nullable})
    pipeline = fit(matrix, target, rules, FeatureSpec(), model(family), seed=1)
    said = predict(pipeline, rules, asked)
    assert np.isfinite(said).all()
    fast = compile_pipeline(pipeline, rules)
    if isinstance(fast, CompiledScorer):
        slow = SklearnScorer(pipeline, rules, "").score(asked)
        np.testing.assert_allclose(fast.score(asked), slow, rtol=1e-12)


@pytest.mark.parametrize("family", ["ridge", "hist_gradient_boosting"])
@pytest.mark.parametrize("encode", ["onehot", "ordinal", "target", "frequency"])
def test_an_open_category_that_begins_after_the_training_rows_stops_no_model(family: str, encode: str) -> None:
    """As a number that begins later: no word is known, all of them are one other, and requests may have any."""
    told = {"x": {"type": "float"}, "source": {"type": "category", "nullable": True}}
    contract = Contract.model_validate({"columns": told, "target": {"name": "y"}})
    empty, numbers = pl.Series([None] * 60, dtype=pl.String), np.arange(60.0)
    train = pl.DataFrame({"x": numbers, "source": empty, "y": numbers})
    rules = learned_contract(train, contract)
    matrix, target = matrix_and_target(train, rules)
    features = FeatureSpec.model_validate({"encode": {"source": encode}})
    pipeline = fit(matrix, target, rules, features, ModelSpec(family=family), seed=1)
    asked = rules.encode({"x": [3.0, 3.0, 3.0], "source": ["web", "shop", None]})
    said = predict(pipeline, rules, asked)
    assert np.isfinite(said).all()
    assert said[0] == said[1]
    fast = compile_pipeline(pipeline, rules)
    assert isinstance(fast, CompiledScorer)
    np.testing.assert_array_equal(fast.score(asked), said)
