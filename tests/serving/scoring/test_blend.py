"""Means of models: a row that is asked alone takes another way than many, and gets the same bits."""

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.training import fit
from serving.contract import Contract, Matrix
from serving.errors import DataError
from serving.scoring.api import weighted_mean
from serving.scoring.blend import BlendedScorer
from serving.scoring.compile import CompiledScorer, compile_pipeline, from_bytes, to_bytes
from serving.scoring.trees import Forest

CLASSES = {"numbers": (), "two": ("no", "yes"), "three": ("no", "yes", "who knows")}
FEATURES = (
    FeatureSpec(columns={"each": "area / (rooms + 1)", "log_area": "log(area)"}),
    FeatureSpec(),
    FeatureSpec(columns={"odd": "rooms % 2"}),
)
FEW: dict[str, dict[str, Any]] = {
    "ridge": {}, "logistic_regression": {}, "decision_tree": {}, "random_forest": {"n_estimators": 5},
    "hist_gradient_boosting": {"max_iter": 7}, "lightgbm": {"n_estimators": 9}, "xgboost": {"n_estimators": 6},
    "catboost": {"iterations": 10},
}  # fmt: skip
SETS = {"lightgbm": {"categorical_feature": ["kind"]}, "hist_gradient_boosting": {"categorical_features": ["kind"]}}
BENDS: tuple[dict[str, Any], ...] = (
    {}, {"target": "log"}, {"target": "log", "smearing": True}, {"target": "sqrt"}, {"target": "yeo-johnson"},
    {"per": "unit"}, {"target": "log1p", "per": "unit"},
)  # fmt: skip


def contract(task: str) -> Contract:
    columns: dict[str, Any] = {
        "area": {"type": "float", "nullable": True},
        "rooms": {"type": "int"},
        "kind": {"type": "category", "values": ["house", "flat", "plot"], "nullable": True, "unknown": "flag"},
        "unit": {"type": "float", "range": [1, 9]},
    }
    return Contract.model_validate({"columns": columns, "target": {"name": "y", "classes": CLASSES[task]}})


def rows(n: int, seed: int) -> Matrix:
    random = np.random.default_rng(seed)
    matrix = np.column_stack(
        [random.uniform(1, 300, n), random.integers(0, 9, n), random.integers(0, 4, n), random.uniform(1, 9, n)]
    )
    matrix[random.random(n) < 0.2, 0] = np.nan
    matrix[random.random(n) < 0.1, 2] = np.nan
    return matrix


@functools.cache
def members(task: str) -> tuple[CompiledScorer, ...]:
    """Every family, with derived columns and without, over codes and sets of them, with every way back."""
    matrix, rules, made = rows(150, 1), contract(task), list[CompiledScorer]()
    score = matrix[:, 1] + np.nan_to_num(matrix[:, 2])
    classes = np.digitize(score, [4.0, 7.0][: len(CLASSES[task]) - 1]).astype(np.float64)
    target = score + 1.0 if task == "numbers" else classes
    number = 0
    for family, params in FEW.items():
        if family == ("logistic_regression" if task == "numbers" else "ridge"):
            continue
        for more in ({}, SETS.get(family)):
            if more is not None:
                number += 1
                bend = BENDS[number % len(BENDS)] if task == "numbers" else {}
                spec = ModelSpec.model_validate({"family": family, "params": {**params, **more}, **bend})
                fast = compile_pipeline(fit(matrix, target, rules, FEATURES[number % 3], spec, seed=number), rules)
                assert isinstance(fast, CompiledScorer), fast
                made.append(fast)
    return tuple(made)


@pytest.mark.parametrize("task", CLASSES)
@given(data=st.data())
def test_a_row_alone_gets_the_bits_of_its_members_and_of_the_row_among_others(task: str, data: st.DataObject) -> None:
    """Any members in any order, the same ones twice, any weights; from a file too."""
    chosen = data.draw(st.lists(st.integers(0, len(members(task)) - 1), min_size=1, max_size=6))
    weights = tuple(data.draw(st.lists(st.floats(0, 1), min_size=len(chosen), max_size=len(chosen))))
    blended = BlendedScorer(tuple(members(task)[place] for place in chosen), weights)
    asked = rows(5, data.draw(st.integers(0, 99)))
    together, stored = blended.score(asked), from_bytes(to_bytes(blended), contract(task))
    for place in range(len(asked)):
        row = asked[place : place + 1]
        alone = blended.score(row)
        each = weighted_mean([one.score(row) for one in blended.members], weights)
        assert alone.tobytes() == each.tobytes() == together[place : place + 1].tobytes()
        assert alone.shape == each.shape
        assert stored.score(row).tobytes() == alone.tobytes()


def test_members_that_do_the_same_do_it_once() -> None:
    """Equal preprocessing is one step, and all trees of a mean are walked by one call."""
    some = [(one, one.sums) for one in members("numbers") if isinstance(one.sums, Forest)][:2]
    (one, _), (other, _) = some
    together = BlendedScorer((one, one, other), (0.5, 0.25, 0.25)).together
    assert len(together.steps) <= 2
    assert together.grove is not None
    trees = [len(forest.roots) - 1 for _, forest in (some[0], *some)]
    assert len(together.grove.roots) - 1 == sum(trees)


def test_a_row_that_the_model_cannot_take_is_named_alone_as_among_others() -> None:
    """The same sentence, whichever way it went."""
    columns = {"x": {"type": "float"}, "size": {"type": "float"}}
    rules = Contract.model_validate({"columns": columns, "target": {"name": "y"}})
    matrix = rows(60, 3)[:, 1:3].round()
    matrix[np.isnan(matrix)] = 1.0
    spec, features = ModelSpec(family="ridge"), FeatureSpec(columns={"log_size": "log(size + 1)"})
    fast = compile_pipeline(fit(matrix, matrix[:, 0], rules, features, spec, seed=1), rules)
    assert isinstance(fast, CompiledScorer)
    blended, told = BlendedScorer((fast, fast), (0.5, 0.5)), []
    for asked in (np.array([[np.inf, 1.0]]), np.array([[np.inf, 1.0]] * 2)):
        with pytest.raises(DataError) as error:
            blended.score(asked)
        told.append(str(error.value))
    assert told[0] == told[1]
