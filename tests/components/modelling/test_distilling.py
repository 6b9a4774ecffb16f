"""Distilling: rows that are made keep the contract, answers that are none are refused, a pupil is measured."""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as some

from components.data.tables import coded
from components.data.validation import validate
from components.modelling.distilling.asking import COPIES, ROW, Questions, total
from components.modelling.distilling.following import Followed
from components.modelling.distilling.mixing import mixed
from serving.contract import Contract
from serving.errors import DataError

AS_OF = datetime(2025, 1, 1)
WORDS = ("city", "coast", "country")
COLUMNS: dict[str, Any] = {
    "region": {"type": "category", "values": [*WORDS, "moon"], "nullable": True},
    "area": {"type": "float", "range": [10, 500], "nullable": True},
    "rooms": {"type": "int", "range": [1, 9]},
    "garden": {"type": "bool", "nullable": True},
    "built": {"type": "datetime"},
    "note": {"type": "text"},
    "agent": {"type": "id"},
}
ROLES = {"key": "home", "event_time": "sold", "duplicates": "keep", "columns": COLUMNS}
NUMBERS = Contract.model_validate(ROLES | {"target": {"name": "price", "range": [0, 1_000]}})
CLASSES = Contract.model_validate(ROLES | {"target": {"name": "price", "classes": ["no", "yes", "maybe"]}})
CELLS = {
    "region": some.sampled_from([*WORDS, None]),
    "area": some.one_of(some.none(), some.floats(10, 500)),
    "rooms": some.integers(1, 9),
    "garden": some.sampled_from([True, False, None]),
    "built": some.datetimes(datetime(1950, 1, 1), datetime(2020, 1, 1)),
    "note": some.sampled_from(["quiet", "by the sea", "loud"]),
    "agent": some.sampled_from(["a1", "a2"]),
    "sold": some.datetimes(datetime(2021, 1, 1), datetime(2024, 1, 1)),
}
TABLE = some.lists(some.fixed_dictionaries(CELLS), min_size=1, max_size=12)


def rows_of(cells: list[dict[str, Any]], contract: Contract = NUMBERS) -> pl.DataFrame:
    """As accepted rows are, and a column more."""
    types = {"area": pl.Float64, "rooms": pl.Float64, "garden": pl.Boolean, "built": pl.Datetime("us")}
    types |= {"sold": pl.Datetime("us"), "region": pl.String, "note": pl.String, "agent": pl.String}
    target = [contract.target.classes[n % 3] if contract.target.classes else float(n) for n in range(len(cells))]
    rows = pl.DataFrame(cells, schema_overrides=types)
    return rows.with_columns(home=pl.Series([f"h{n}" for n in range(len(cells))]), price=pl.Series(target), more=1)


def asked(contract: Contract = CLASSES, made: int = 3) -> Questions:
    """Nine training rows, *made* ones and two that are held out."""
    random = np.random.default_rng(0)
    moment = datetime(2020, 1, 1)
    cells = [
        {"region": WORDS[n % 3], "area": float(random.integers(10, 500)), "rooms": 1 + n % 9, "garden": n % 2 > 0}
        | {"built": moment, "note": "quiet", "agent": "a1", "sold": datetime(2021, 1, 1 + n)}
        for n in range(11)
    ]
    rows = rows_of(cells, contract)
    return Questions.of(rows[:9], rows[9:], contract, made, 1)


@limits(max_examples=25, deadline=None)
@given(cells=TABLE, count=some.integers(0, 30), seed=some.integers(0, 9))
def test_rows_that_are_made_are_rows_of_the_contract(cells: list[dict[str, Any]], count: int, seed: int) -> None:
    """All are accepted; words are words of the training rows, numbers lie between theirs, and equal seeds agree."""
    rows = rows_of(cells)

    made = mixed(rows, NUMBERS, count, seed)

    assert made.equals(mixed(rows, NUMBERS, count, seed))
    assert made.schema == rows.schema
    assert len(made) == count
    if count:
        assert len(validate(made, NUMBERS, AS_OF).accepted) == count
    for name in ("region", "garden", "built", "note"):
        assert set(made[name]) <= set(rows[name])
    for name in ("area", "rooms"):
        low, high = rows[name].min(), rows[name].max()
        assert made[name].drop_nulls().is_between(low, high).all() if low is not None else made[name].is_null().all()
    assert (made["rooms"] == made["rooms"].round()).all()
    own = rows[np.arange(count) % len(rows)]
    for name in ("home", "sold", "agent", "price", "more"):
        assert made[name].equals(own[name]), "whole with the row that it is made of"


def test_rows_that_are_made_are_new_and_near() -> None:
    """What always goes together in the training rows mostly does so in the made ones, and few are training rows."""
    random = np.random.default_rng(1)
    cells = {name: [strategy] * 400 for name, strategy in {"note": "quiet", "agent": "a", "garden": True}.items()}
    area = np.where(random.random(400) < 0.5, random.uniform(20, 60, 400), random.uniform(300, 400, 400))
    words = np.where(area > 100, "country", "city")
    moments = [datetime(2020, 1, 1)] * 400
    rows = pl.DataFrame(cells | {"area": area, "region": words, "rooms": np.ones(400), "built": moments})

    made = mixed(rows, NUMBERS, 2_000, 0)

    together = (made["area"] > 100) == (made["region"] == "country")
    assert together.mean() > 0.95
    assert made["area"].is_in(rows["area"].implode()).mean() < 0.6
    assert not made.equals(mixed(rows, NUMBERS, 2_000, 1))


FINE = {"no": 0.25, "yes": 0.25, "maybe": 0.5}


def answered(one: Questions, **said: float) -> pl.DataFrame:
    return one.question.select(ROW).with_columns(**{name: pl.lit(value) for name, value in said.items()})


def seventh(value: float | None) -> pl.Expr:
    return pl.when(pl.col(ROW).str.ends_with("/7")).then(value).otherwise(0.25).alias("yes")


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        pytest.param(lambda t: t.head(4), "for 4 of 14 rows", id="missing-rows"),
        pytest.param(lambda t: pl.concat([t, t.head(1)]), "expected one for each", id="a-row-twice"),
        pytest.param(lambda t: t.head(0), f"expected a column {ROW}", id="none"),
        pytest.param(lambda t: t.drop(ROW), f"expected a column {ROW}", id="no-names"),
        pytest.param(lambda t: t.with_columns(pl.Series(ROW, range(14))), f"expected a column {ROW}", id="other-names"),
        pytest.param(lambda t: t.with_columns(pl.format("x{}", ROW).alias(ROW)), "ask again", id="another-asking"),
        pytest.param(lambda t: t.rename({"yes": "ja"}), "no column 'yes'", id="another-column"),
        pytest.param(lambda t: t.with_columns(yes=pl.lit("a")), "expected numbers", id="texts"),
        pytest.param(lambda t: t.with_columns(seventh(float("nan"))), "answer to row 7", id="no-number"),
        pytest.param(lambda t: t.with_columns(seventh(None)), "answer to row 7", id="gaps"),
        pytest.param(lambda t: t.with_columns(seventh(0.9)), "that sum to 1", id="no-probabilities"),
        pytest.param(lambda t: t.with_columns(no=pl.lit(-0.25), yes=pl.lit(0.75)), "that sum to 1", id="below-0"),
    ],
)
def test_answers_that_are_none_are_refused(spoilt: Any, told: str) -> None:
    """Each with what was expected and what was seen."""
    one = asked()
    table = spoilt(answered(one, **FINE))
    with pytest.raises(DataError, match=told):
        _asked_and_answered(one, table)


def _asked_and_answered(one: Questions, table: pl.DataFrame) -> None:
    total(table)
    one.answers(table)


@pytest.mark.parametrize(("value", "fine"), [(7.0, True), (float("inf"), False)])
def test_numbers_are_answers_if_finite(value: float, fine: bool) -> None:
    """One a row, met by the names of rows whatever their order."""
    one = asked(NUMBERS)
    table = answered(one, price=1.0).with_columns(
        price=pl.when(pl.col(ROW).str.ends_with("/7")).then(value).otherwise(1.0)
    )
    if not fine:
        with pytest.raises(DataError, match="expected a number"):
            one.answers(table)
        return
    assert np.flatnonzero(one.answers(table.reverse()) == 7).tolist() == [7]


def test_a_lesson_has_the_answers_for_truths() -> None:
    """Numbers within the target's range, classes as often as they were said to the row; nothing of what is held out."""
    one = asked(NUMBERS)
    lesson = one.lesson(np.linspace(-500, 2_000, 14), 0)
    assert lesson["price"].to_list() == np.clip(np.linspace(-500, 2_000, 14)[:12], 0, 1_000).tolist()
    assert coded(lesson, one.contract).shape == (12, len(one.contract.slots))

    one = asked(CLASSES)
    lesson = one.lesson(np.tile(list(FINE.values()), (14, 1)), 0)
    assert len(lesson) == 12 * COPIES
    for copies in np.split(lesson["price"].to_numpy(), 12):
        assert sorted(copies) == ["maybe", "maybe", "no", "yes"]


@pytest.mark.parametrize(("off", "holds"), [(1.0, True), (1.04, True), (1.06, False), (0.5, True)])
def test_a_pupil_is_held_to_its_teachers_loss(off: float, holds: bool) -> None:
    """Beside the truth, with what was given away."""
    truth = np.arange(20.0)
    follows = Followed.of(truth, truth + 1, truth + off, NUMBERS, 0.05)
    assert (follows.teacher, follows.pupil) == pytest.approx((1.0, off))
    assert follows.holds is holds
    assert ("refused" in follows.sentence) is not holds
    assert f"RMSE {off:.4g} where its teacher has 1" in follows.sentence


def test_a_teacher_without_a_loss_leaves_nothing_to_give() -> None:
    """It knows the held-out rows by heart, so a share of its loss is no bar."""
    truth = np.arange(20.0)
    assert not Followed.of(truth, truth, truth + 1, NUMBERS, 0.05).holds
    assert Followed.of(truth, truth, truth, NUMBERS, 0.05).holds
