"""The champion beside a candidate whose contract is another one: the same rows, each by its own contract."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.judging.comparison import compare, narrowed, scored
from serving.contract import Column, Contract, Matrix, Target

ROWS = pl.DataFrame(
    {
        "size": ["10", "20", "30", "40"],
        "kind": ["flat", "house", "flat", "barn"],
        "age": ["1", "2", "", "4"],
        "price": ["100", "210", "290", "400"],
    }
)
SIZE, KIND = Column(type="float"), Column(type="category", values=("flat", "house"))
OLD = Contract(columns={"size": SIZE, "kind": KIND}, target=Target(name="price"))
BARNS = KIND.model_copy(update={"values": ("barn", "house", "flat")})
NEW = Contract(columns={"size": SIZE, "kind": BARNS}, target=Target(name="price"))


def bundle(contract: Contract, score: Any) -> Any:
    return SimpleNamespace(contract=contract, scorer=SimpleNamespace(score=score))


def by_size(matrix: Matrix) -> Matrix:
    """10 for each unit of size, and 5 more for a flat by the old contract's code."""
    return matrix[:, 0] * 10 + 5 * (matrix[:, 1] == 0)


def never() -> Any:
    raise AssertionError("the candidate's bundle is not needed")


def test_the_champion_is_asked_by_its_own_contract_about_the_rows_that_both_take() -> None:
    """Its score is the one computed by hand; the candidate is judged on the same rows, and the others are counted."""
    candidate = bundle(NEW, lambda matrix: matrix[:, 0] * 10)
    found = compare(ROWS, scored(candidate, ROWS, ()), lambda: candidate, bundle(OLD, by_size), ())
    errors = np.array([105 - 100, 200 - 210, 305 - 290])
    assert found.champion is not None
    assert found.champion.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean(errors**2.0))))
    assert found.candidate.metrics["mae"] == pytest.approx((0 + 10 + 10) / 3)
    assert found.candidate.rows_digest == found.champion.rows_digest
    assert found.sentence == "compared on 3 of 4 rows, as the champion's contract refuses the others"


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"size": SIZE, "kind": BARNS, "age": Column(type="int", nullable=True)}, id="a-column-more"),
        pytest.param({"size": SIZE}, id="a-column-less"),
        pytest.param({"kind": BARNS, "size": SIZE}, id="another-order"),
        pytest.param({"size": SIZE.model_copy(update={"range": (0.0, 1e9)}), "kind": BARNS}, id="another-range"),
    ],
)
def test_rows_that_both_take_are_all_compared(columns: dict[str, Column]) -> None:
    """Whatever the encoding of the candidate; its own bundle need not be opened."""
    contract, rows = NEW.model_copy(update={"columns": columns}), ROWS.head(3)
    place = list(columns).index("size")
    candidate = bundle(contract, lambda matrix: matrix[:, place] * 10)
    found = compare(rows, scored(candidate, rows, ()), never, bundle(OLD, by_size), ("kind",))
    assert found.champion is not None
    assert (found.sentence, found.champion.rows, found.champion.metrics["mae"]) == ("", 3, 10.0)
    assert found.champion.rows_digest == found.candidate.rows_digest


@pytest.mark.parametrize(
    ("contract", "why"),
    [
        (OLD.model_copy(update={"columns": {"size": SIZE, "floor": SIZE}}), "the table no longer has its floor"),
        (OLD.model_copy(update={"columns": {"kind": KIND.model_copy(update={"values": ("tent",)})}}), "all 4 rows"),
        (OLD.model_copy(update={"target": Target(name="age")}), "it predicts age (regression)"),
    ],
)
def test_where_the_champion_cannot_be_asked_the_floors_decide(contract: Contract, why: str) -> None:
    """And it is said why."""
    candidate = bundle(NEW, lambda matrix: matrix[:, 0] * 10)
    judged = scored(candidate, ROWS, ())
    found = compare(ROWS, judged, never, bundle(contract, by_size), ())
    assert (found.champion, found.candidate) == (None, judged)
    assert why in found.sentence


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (OLD, []),
        (NEW, []),
        (OLD.model_copy(update={"columns": {"size": SIZE}}), ["kind is not used any more"]),
        (OLD.model_copy(update={"columns": {**OLD.columns, "age": Column(type="int")}}), ["age is needed now"]),
        (OLD.model_copy(update={"columns": {**OLD.columns, "age": Column(type="int", nullable=True)}}), []),
        (
            OLD.model_copy(update={"columns": {"size": Column(type="int", range=(0, 5)), "kind": KIND}}),
            ["size is int instead of float", "size must lie in [0, 5]"],
        ),
    ],
)
def test_what_a_new_contract_refuses_is_said(new: Contract, said: list[str]) -> None:
    """One phrase for each thing that the old one took."""
    assert list(narrowed(OLD, new)) == said
    narrower = narrowed(NEW, OLD)
    assert list(narrower) == ["kind no longer takes barn"]
