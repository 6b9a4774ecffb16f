"""What moves a model's predictions: told of the rows it is judged on, the columns that it was made of first."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.judging.contributions import CELLS, EXACT_ROWS, FEWEST, SAMPLED_ROWS, contributions
from components.judging.importance import Contributions
from serving.bundle.judgement import Judgement
from serving.contract import Contract, Matrix
from serving.explaining.api import Numbers
from serving.explaining.sampled import CALL
from serving.scoring.api import SklearnScorer
from tests.serving.scoring.test_scoring import contract_for, pair, rows


def told_of(scorer: Any, contract: Contract, golden: Matrix, matrix: Matrix, scores: Numbers) -> Contributions | None:
    """Of the parts of a bundle that are asked for."""
    bundle: Any = SimpleNamespace(scorer=scorer, contract=contract, golden=golden, judgement=Judgement())
    return contributions(bundle, matrix, scores)


@pytest.mark.parametrize(("family", "classes"), [("histogram", 0), ("histogram-2", 2), ("forest-3", 3)])
def test_columns_are_ordered_by_how_far_they_move(family: str, classes: int) -> None:
    """All slots, largest first; a column that the pipeline drops moves nothing."""
    scorer, contract, matrix = pair(family)[1], contract_for(classes), rows(7, 500)
    told = told_of(scorer, contract, rows(8, 40), matrix, scorer.score(matrix))
    assert told is not None
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
        one for one in (told_of(one, contract, golden, matrix, fast.score(matrix)) for one in (reference, fast)) if one
    ]
    assert isinstance(reference, SklearnScorer)
    assert [one.rows for one in told] == [SAMPLED_ROWS, 60]
    assert told[0].method.startswith("sampled")
    assert list(told[0].moved)[:2] == list(told[1].moved)[:2]
    assert np.isfinite(list(told[0].moved.values())).all()


def numbers(width: int) -> Contract:
    columns = {f"c{place}": {"type": "float"} for place in range(width)}
    return Contract.model_validate({"columns": columns, "target": {"name": "y"}})


@pytest.mark.parametrize("width", [3, 100, 400, 1_000, 5_000])
def test_a_wide_model_without_a_fast_form_is_not_explained_for_minutes(width: int) -> None:
    """At most so many cells are scored in all, and in one call; nothing is told where that is too few rows."""
    asked, contract = list[int](), numbers(width)
    matrix = np.zeros((30, width))

    def score(cells: np.ndarray) -> np.ndarray:
        asked.append(cells.size)
        return np.asarray(cells[:, 0])

    told = told_of(SimpleNamespace(score=score), contract, np.ones((40, width)), matrix, np.zeros(30))

    assert sum(asked) <= CELLS
    assert max(asked, default=0) <= max(CALL, 2 * width * (width + 1))
    assert (told is None) == (width > 395)
    if told is not None:
        assert FEWEST <= told.rows <= SAMPLED_ROWS
        assert next(iter(told.moved)) == "c0"
        assert told.moved["c0"] == pytest.approx(1.0)
