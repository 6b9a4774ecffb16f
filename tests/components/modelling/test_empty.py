"""Columns in which training rows say nothing: every family is fitted, and answers rows that do say something."""

import numpy as np
import pytest

from components.modelling.features import FeatureSpec
from components.modelling.training import fit, predict
from serving.scoring.api import SklearnScorer
from serving.scoring.compile import CompiledScorer, compile_pipeline
from tests.components.modelling.test_features import CASES, COLUMNS, model, rows
from tests.components.modelling.test_names import called

PLAIN = list(COLUMNS)


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
