"""Trials share the features of a fold, and what a model of one says is what it says when nothing is shared."""

from typing import Any

import numpy as np
import pytest

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.search.folds import Fold
from components.modelling.training import fit, predict, said_of
from serving.contract import Contract
from tests.components.modelling.test_features import model, rows

# By what their target is: features that are made of labels are of the labels that are learned.
LEARNED = ({"target": "none"}, {"target": "log1p"}, {"per": "area"}, {"target": "log1p", "per": "area"})
COLUMNS: dict[str, Any] = {
    "area": {"type": "float", "range": [10, 1500]},
    "rooms": {"type": "int", "range": [0, 30]},
    "garden": {"type": "bool", "nullable": True},
    "kind": {"type": "category", "values": ["house", "flat", "plot"], "nullable": True, "unknown": "flag"},
}


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("encode", [None, {"kind": "target"}, "onehot"], ids=["usual", "by-target", "one-hot"])
def test_what_is_said_does_not_depend_on_the_trials_before(task: str, encode: Any) -> None:
    """Of every family and every bend of the target, one after another over one fold."""
    told: dict[str, Any] = {"name": "price"} if task == "regression" else {"name": "sold", "classes": ["no", "yes"]}
    contract = Contract.model_validate({"columns": COLUMNS, "target": told})
    matrix = rows(150)
    matrix[:, 0] = np.where(np.isnan(matrix[:, 0]), 50, matrix[:, 0])
    target = matrix[:, 0] * (1 + matrix[:, 1]) if task == "regression" else (matrix[:, 1] > 3).astype(np.float64)
    weights = 1 + matrix[:, 1]
    fold, features = Fold(np.arange(100), np.arange(100, 150)), FeatureSpec(encode=encode)
    seen = 0
    for family, kind in FAMILIES.items():
        for learned in LEARNED if task == "regression" else LEARNED[:1]:
            if task not in kind.tasks:
                continue
            asked = ModelSpec.model_validate({**model(family).model_dump(exclude_unset=True), **learned})
            said, _ = said_of(fold, matrix, target, contract, features, asked, 1, weights)
            given = (matrix[fold.rows], target[fold.rows], contract, features, asked, 1)
            alone = predict(fit(*given, weights=weights[fold.rows]), contract, matrix[fold.held])
            np.testing.assert_allclose(said, alone, rtol=1e-9, err_msg=f"{family} {learned}")
            seen += 1
    assert seen >= (40 if task == "regression" else 9)
