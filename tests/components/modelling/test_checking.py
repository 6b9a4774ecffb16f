"""Checking: what is accepted when a project is read can be fitted, and parameters are written by column."""

from typing import Any

import numpy as np
import pytest

from components.modelling.checking import check_model, made_rows
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.training import fit, predict
from serving.contract import Contract
from serving.errors import ConfigError
from serving.scoring.compile import CompiledScorer, compile_pipeline

COLUMNS = {
    "kind": {"type": "category", "values": ["house", "flat", "hut", "barn"]},
    "area": {"type": "float", "range": [10, 500]},
    "rooms": {"type": "int", "nullable": True},
}
CONTRACT = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price"}})
CLASSES = Contract.model_validate({"columns": COLUMNS, "target": {"name": "sold", "classes": ["no", "yes"]}})
SIGNED = [name for name, family in FAMILIES.items() if family.signs]
SETS = [name for name, family in FAMILIES.items() if family.sets]


def rows(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    matrix = np.column_stack([random.integers(0, 4, n), random.uniform(10, 500, n), random.integers(1, 9, n)])
    # The area's effect is a wave upon a slope; kinds 0 and 3 are dear.
    wave = matrix[:, 1] + 120 * np.sin(matrix[:, 1] / 30)
    return matrix.astype(float), wave + 500 * np.isin(matrix[:, 0], [0, 3]) + random.normal(0, 5, n)


@pytest.mark.parametrize("family", SIGNED)
def test_a_sign_by_name_makes_answers_monotone(family: str) -> None:
    """A larger area never lowers an answer, in the library's form and in ours; without the sign it does."""
    matrix, target = rows()
    line = np.column_stack([np.full(300, 1.0), np.linspace(10, 500, 300), np.full(300, 4.0)])
    steps = {}
    for signs in ({}, {FAMILIES[family].signs: {"area": 1}}):
        spec = ModelSpec(family=family, params=signs)
        check_model(spec, FeatureSpec(), CONTRACT)
        pipeline = fit(matrix, target, CONTRACT, FeatureSpec(), spec, 1)
        fast = compile_pipeline(pipeline, CONTRACT)
        assert isinstance(fast, CompiledScorer)
        answer = predict(pipeline, CONTRACT, line)
        np.testing.assert_array_equal(fast.score(line), answer)
        steps[bool(signs)] = np.diff(answer).min()
    assert steps[True] >= 0 > steps[False]


@pytest.mark.parametrize("family", SETS)
def test_categories_by_name_are_split_by_sets(family: str) -> None:
    """One split tells kinds 0 and 3 from 1 and 2, which a threshold over their codes cannot."""
    matrix, target = rows()
    few = {FAMILIES[family].rounds: 1, "max_depth": 1, "learning_rate": 1.0, FAMILIES[family].sets: ["kind"]}
    small: dict[str, Any] = {"min_data_per_group": 1, "cat_smooth": 0.0, "cat_l2": 0.0, "max_cat_to_onehot": 1}
    spec = ModelSpec(family=family, params={**few, **(small if family == "lightgbm" else {})})
    check_model(spec, FeatureSpec(), CONTRACT)
    pipeline = fit(matrix, target, CONTRACT, FeatureSpec(), spec, 1)
    kinds = np.column_stack([np.arange(4.0), np.full(4, 200.0), np.full(4, 4.0)])
    answer = predict(pipeline, CONTRACT, kinds)
    assert answer[0] == answer[3] > answer[1] == answer[2]
    fast = compile_pipeline(pipeline, CONTRACT)
    assert isinstance(fast, CompiledScorer)
    unknown = np.array([[4.0, 200, 4], [np.nan, 200, 4]])
    np.testing.assert_array_equal(fast.score(unknown), predict(pipeline, CONTRACT, unknown))


@pytest.mark.parametrize(
    ("contract", "family", "params", "words"),
    [
        pytest.param(
            CONTRACT, "lightgbm", {"monotone_constraints": {"aera": 1}}, "monotone_constraints.aera", id="name"
        ),
        pytest.param(CONTRACT, "random_forest", {"monotonic_cst": {"kind": 1}}, "monotonic_cst.kind", id="category"),
        pytest.param(CONTRACT, "hist_gradient_boosting", {"monotonic_cst": {"area": 2}}, "1, -1 or 0", id="sign"),
        pytest.param(CONTRACT, "lightgbm", {"categorical_feature": ["area"]}, "of kind; seen 'area'", id="number"),
        pytest.param(CONTRACT, "random_forest", {"class_weight": "balanced"}, "class_weight", id="weight-of-no-class"),
        pytest.param(CONTRACT, "lightgbm", {"class_weight": "balanced"}, "class_weight", id="nor-of-another-library"),
        pytest.param(CONTRACT, "xgboost", {"objective": "reg:nothing"}, "model.params: xgboost", id="objective"),
        pytest.param(CONTRACT, "lightgbm", {"num_leaves": -5}, "model.params: lightgbm", id="value"),
        pytest.param(CONTRACT, "catboost", {"depth": 99}, "model.params: catboost", id="depth"),
        pytest.param(CONTRACT, "extra_trees", {"max_samples": 0.5, "bootstrap": False}, "bootstrap", id="together"),
        pytest.param(
            CLASSES, "random_forest", {"monotonic_cst": {"area": 1}, "criterion": "x"}, "criterion", id="word"
        ),
        pytest.param(CLASSES, "logistic_regression", {"solver": "lbfgs", "penalty": "l1"}, "lbfgs", id="solver"),
        pytest.param(CLASSES, "lightgbm", {"objective": "cross_entropy"}, "objective: expected one of", id="no-form"),
    ],
)
def test_what_would_fail_in_training_is_refused_when_it_is_read(
    contract: Contract, family: str, params: dict[str, Any], words: str
) -> None:
    """By the parameter, or in the library's words."""
    with pytest.raises(ConfigError, match=words):
        check_model(ModelSpec(family=family, params=params), FeatureSpec(), contract)


def test_parameters_that_count_rows_are_no_matter_of_the_made_ones() -> None:
    """A forest of a thousand rows per tree is fine for a table that has them."""
    params = {"max_samples": 1000, "min_samples_leaf": 500}
    check_model(ModelSpec(family="random_forest", params=params), FeatureSpec(), CONTRACT)


@pytest.mark.parametrize("contract", [CONTRACT, CLASSES])
def test_every_family_passes_with_its_defaults(contract: Contract) -> None:
    """The check refuses nothing that is right."""
    for name, family in FAMILIES.items():
        if contract.task in family.tasks:
            check_model(ModelSpec(family=name), FeatureSpec(), contract)


def test_made_rows_are_the_contracts() -> None:
    """In range, in type, every class among them."""
    matrix, target = made_rows(ModelSpec(family="ridge"), CLASSES)
    assert matrix[:, 1].min() >= 10
    assert matrix[:, 1].max() <= 500
    assert [set(matrix[:, 0]), set(target)] == [{0, 1, 2, 3}, {0, 1}]
