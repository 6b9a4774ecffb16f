"""What columns are worth, how answers go along them, and how good a model is over time, on models that are known."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.judging.importance import courses, stretches, worths
from components.judging.said import Said
from serving.contract import Contract, Matrix

COLUMNS: dict[str, Any] = {
    "area": {"type": "float"},
    "age": {"type": "float", "nullable": True},
    "kind": {"type": "category", "values": ["house", "flat", "plot"]},
    "new": {"type": "bool"},
    "seen": {"type": "datetime"},
}
SALES = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price"}, "event_time": "at"})
KINDS = Contract.model_validate({"columns": COLUMNS, "target": {"name": "sold", "classes": ["no", "yes"]}})


def rows(n: int = 3_000, seed: int = 0) -> Matrix:
    random = np.random.default_rng(seed)
    parts = [random.normal(100, 20, n), random.normal(30, 10, n), random.integers(0, 3, n), random.integers(0, 2, n)]
    return np.column_stack([*parts, random.uniform(1.6e9, 1.7e9, n)]).astype(np.float64)


def priced(matrix: Matrix) -> Any:
    return 10 * matrix[:, 0] + 5 * matrix[:, 1] + 100 * (matrix[:, 2] == 1)


def test_a_column_is_worth_what_dealing_it_anew_costs() -> None:
    """Of a model that is right, the error is then that of two unrelated values: sqrt(2) times what the column moves."""
    matrix = rows()
    found = {one.column: one for one in worths(priced, matrix, priced(matrix), SALES)}
    assert list(found)[:3] == ["area", "age", "kind"]
    for name, moved in (("area", 10 * 20), ("age", 5 * 10)):
        assert found[name].loss == pytest.approx(np.sqrt(2) * moved, rel=0.06)
    assert found["new"].loss == found["seen"].loss == 0
    assert worths(priced, matrix, priced(matrix), SALES) == tuple(found.values())


def test_a_column_that_misleads_is_worth_less_than_nothing() -> None:
    """Dealing it anew makes such a model better."""
    matrix = rows()
    found = {one.column: one.loss for one in worths(lambda x: x[:, 0], matrix, -matrix[:, 0], SALES)}
    assert found["area"] < 0


def test_the_course_is_the_mean_answer_with_each_value() -> None:
    """Along a number it has that number's slope, along words each word's own height, and nothing where all is one."""
    matrix = rows()
    matrix[:, 3] = 1
    area, kind, *more = courses(priced, matrix, SALES, ("area", "kind", "new"))
    assert not more
    at = np.array(area.values, float)
    np.testing.assert_allclose(np.diff(area.answers) / np.diff(at), 10, rtol=0.05)
    assert kind.values == ("house", "flat", "plot")
    assert kind.answers[1] - kind.answers[0] == pytest.approx(100)
    assert kind.answers[2] == pytest.approx(kind.answers[0])


def test_of_classes_it_is_the_probability_of_the_last() -> None:
    """Moments are told as days."""

    def score(matrix: Matrix) -> Any:
        late = 1.0 * (matrix[:, 4] > 1.65e9)
        return np.column_stack([1 - late, late])

    (one,) = courses(score, rows(), KINDS, ("seen",))
    assert one.of == "yes"
    assert one.answers[0] == 0
    assert one.answers[-1] == 1
    assert all(datetime.fromisoformat(day) for day in one.values)


def test_stretches_of_time_are_all_rows_once_and_tell_when_it_got_worse() -> None:
    """Whatever their order; a row without a moment is in none, and few rows are no stretches."""
    n, random = 1_200, np.random.default_rng(1)
    order = random.permutation(n)
    at = [datetime(2026, 1, 1) + timedelta(hours=int(k)) for k in order]
    truth = np.zeros(n)
    said = Said.of(np.where(order >= 1_100, 9.0, 1.0))
    frame = pl.DataFrame({"at": at})
    found = list(stretches(frame, SALES, truth, said))
    assert [one.rows for one in found] == [100] * 12
    assert [one.metrics["rmse"] for one in found] == pytest.approx([1] * 11 + [9])
    assert [one.since for one in found] == sorted(one.since for one in found)
    gaps = frame.with_columns(pl.when(pl.col("at") > datetime(2026, 1, 5)).then("at"))
    assert sum(one.rows for one in stretches(gaps, SALES, truth, said)) == gaps["at"].count()
    assert list(stretches(frame[:59], SALES, truth[:59], said[:59])) == []
    assert list(stretches(frame, KINDS, truth, said)) == []
