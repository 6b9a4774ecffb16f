"""What columns are called changes no model: names of tables are never names of a library's own."""

from typing import Any

import numpy as np
import pytest

from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.training import fit, predict
from serving.contract import Contract
from tests.components.modelling.test_features import CASES, COLUMNS, model, rows

# Parameters and attributes of scikit-learn's, its mark between names, marks of XGBoost's and LightGBM's files, and one
# name of which a value makes the name of another's.
ODD = [
    ["__dict__", "n_jobs", "a__b", "transformers"],
    ["remainder", "steps", "__", "____"],
    ["[x] <", '{"a": 1}', "model", "columns"],
    ["%", "a_%5Fb", "kind_house", "kind"],
    [" a", "a", "Ä,", "x\ty"],
]
TASKS = [pytest.param(*case.values, names, id=f"{case.id}-{names[0]}") for case in CASES for names in ODD]
PLAIN = list(COLUMNS)


def called(names: list[str], task: str) -> Contract:
    target: dict[str, Any] = {"name": "price", "unit": "EUR"}
    if task == "classification":
        target = {"name": "sold", "classes": ["no", "yes"]}
    columns = dict(zip(names, COLUMNS.values(), strict=True))
    return Contract.model_validate({"columns": columns, "target": target})


@pytest.mark.parametrize(("family", "task", "names"), TASKS)
def test_a_model_is_the_same_whatever_its_columns_are_called(family: str, task: str, names: list[str]) -> None:
    """Each family gives the same numbers, with what is written by column written by those names."""
    matrix = rows(120)
    target = (matrix[:, 1] > 3).astype(np.float64)
    answers = []
    for said in (PLAIN, names):
        params: dict[str, Any] = {}
        if FAMILIES[family].signs and task == "regression":
            params[FAMILIES[family].signs] = {said[1]: 1}
        if FAMILIES[family].sets:
            params[FAMILIES[family].sets] = [said[3]]
        rules = called(said, task)
        pipeline = fit(matrix, target, rules, FeatureSpec(), model(family, **params), seed=1)
        answers.append(predict(pipeline, rules, matrix))
    np.testing.assert_array_equal(answers[0], answers[1])
