"""What moves a model's predictions: told of the rows it is judged on, the columns that it was made of first."""

from types import SimpleNamespace

import numpy as np
import pytest

from components.judging.contributions import EXACT_ROWS, SAMPLED_ROWS, contributions
from serving.scoring.api import SklearnScorer
from tests.serving.scoring.test_scoring import contract_for, pair, rows


@pytest.mark.parametrize(("family", "classes"), [("histogram", 0), ("histogram-2", 2), ("forest-3", 3)])
def test_columns_are_ordered_by_how_far_they_move(family: str, classes: int) -> None:
    """All slots, largest first; a column that the pipeline drops moves nothing."""
    scorer, contract, matrix = pair(family)[1], contract_for(classes), rows(7, 500)
    bundle = SimpleNamespace(scorer=scorer, contract=contract, golden=rows(8, 40))
    told = contributions(bundle, matrix, scorer.score(matrix))  # type: ignore[arg-type]  # all that is asked of it
    assert told.method.startswith("exact")
    assert told.rows == EXACT_ROWS
    assert set(told.moved) == set(contract.slots)
    assert list(told.moved.values()) == sorted(told.moved.values(), reverse=True)
    assert told.moved["garden"] == 0
    assert next(iter(told.moved)) == "area"
    several = {f"probability of class{code}" for code in range(3)}
    assert set(told.of.split(" or ")) <= {"price", "log-odds of class1"} | several


def test_without_a_fast_form_fewer_rows_are_sampled() -> None:
    """And the order is the same one."""
    reference, fast = pair("ridge", categories="filled-one-hot")
    contract, matrix, golden = contract_for(0), rows(7, 60, 0.0, 0.0), rows(8, 5, 0.0, 0.0)
    told = [
        contributions(SimpleNamespace(scorer=one, contract=contract, golden=golden), matrix, fast.score(matrix))  # type: ignore[arg-type]  # as above
        for one in (reference, fast)
    ]
    assert isinstance(reference, SklearnScorer)
    assert [one.rows for one in told] == [SAMPLED_ROWS, 60]
    assert told[0].method.startswith("sampled")
    assert list(told[0].moved)[:2] == list(told[1].moved)[:2]
    assert np.isfinite(list(told[0].moved.values())).all()
