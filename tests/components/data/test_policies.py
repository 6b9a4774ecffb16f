"""Repeated rows, the newest part of a table, and dates in a format that nobody stated: what becomes of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data import snapshots
from components.data.rules import brought
from components.data.validation import Validator, require, validate
from serving.contract import Column, Contract, Target
from serving.errors import DataError

NOW = datetime(2026, 1, 31, tzinfo=UTC)
START = datetime(2025, 1, 1)
KEYED: dict[str, Any] = {"key": "id", "event_time": "at"}
PLAIN: dict[str, Any] = {"event_time": "at"}


def contract(**more: Any) -> Contract:
    return Contract.model_validate(
        {"columns": {"x": Column(type="float")}, "target": Target(name="y"), "refuse_above": 0.02, **more}
    )


def months(rows: int = 300) -> pl.DataFrame:
    """One event an hour, each of another key."""
    return pl.DataFrame(
        {
            "id": [f"K{n}" for n in range(rows)],
            "at": [START + timedelta(hours=n) for n in range(rows)],
            "x": np.arange(rows) / 7,
            "y": np.arange(rows) * 2.0,
        }
    )


@pytest.mark.parametrize(
    ("roles", "duplicates", "accepted", "bad", "dropped"),
    [
        pytest.param(KEYED, None, 300, 100, 0, id="events-of-a-key-are-refused"),
        pytest.param(KEYED, "drop", 300, 0, 100, id="events-of-a-key-dropped"),
        pytest.param(KEYED, "keep", 400, 0, 0, id="events-of-a-key-kept"),
        pytest.param(PLAIN, None, 300, 0, 100, id="rows-are-dropped"),
        pytest.param(PLAIN, "refuse", 300, 100, 0, id="rows-refused"),
        pytest.param({}, "keep", 400, 0, 0, id="rows-kept"),
    ],
)
def test_a_reexport_that_overlaps_is_no_catastrophe(
    roles: dict[str, Any], duplicates: str | None, accepted: int, bad: int, dropped: int
) -> None:
    """A hundred rows stand there twice: refused as bad, left out without a word of blame, or kept, as one asks."""
    found = validate(pl.concat([months(), months()[200:]]), contract(**roles, duplicates=duplicates), NOW)
    report = found.report
    assert (report.accepted, report.quarantined, report.repeated, report.rows) == (accepted, bad, dropped, 400)
    assert (int(found.good.sum()), found.quarantined.height) == (accepted, bad)
    assert ("repeated and dropped" in report.sentence) == bool(dropped)


def test_of_two_stories_none_is_dropped() -> None:
    """What was exported anew with other values is no repeat: nobody can say which is right, so both are bad."""
    again = months()[290:].with_columns(pl.col("y") + 1)
    report = validate(pl.concat([months(), months()[:50], again]), contract(**KEYED, duplicates="drop"), NOW).report
    assert (report.accepted, report.quarantined, report.repeated) == (290, 20, 50)


def broken(share: float, of: slice, rows: int = 4_000) -> pl.DataFrame:
    """A table in which a *share* of some rows has no number."""
    bad = np.zeros(rows, dtype=bool)
    bad[of] = np.random.default_rng(1).random(len(range(rows)[of])) < share
    return months(rows).with_columns(x=pl.when(pl.Series(bad)).then(None).otherwise("x"))


@pytest.mark.parametrize(
    ("table", "more", "refused"),
    [
        pytest.param(broken(0.75, slice(3_900, None)), {}, True, id="three-quarters-of-the-last-days"),
        pytest.param(broken(0.75, slice(2_000, 2_100)), {}, False, id="as-many-long-ago"),
        pytest.param(broken(0.019, slice(None)), {}, False, id="everywhere-alike"),
        pytest.param(broken(0.4, slice(3_960, None)), {"newest": 0.01}, True, id="a-smaller-part"),
        pytest.param(broken(0.4, slice(3_960, None)), {"newest": 1.0}, False, id="all-of-them"),
        pytest.param(broken(0.75, slice(3_900, None)), {"event_time": None}, False, id="no-moment"),
    ],
)
def test_a_broken_last_month_is_not_trained_on(table: pl.DataFrame, more: dict[str, Any], refused: bool) -> None:
    """What is within the limit for all rows is not for the newest, where chance does not explain it."""
    rules = contract(**{**PLAIN, **more})
    report = validate(table, rules, NOW).report
    assert report.share < rules.refuse_above
    if not refused:
        require(report, rules)
        return
    with pytest.raises(DataError, match=r"newest rows, from 2025-06-\d\d on, break the contract \([3-7]\d"):
        require(report, rules)


def test_a_table_in_parts_has_the_same_newest_rows(tmp_path: Any) -> None:
    """Parts are judged one by one, each with rows of all times: the days add up."""
    table, rules = broken(0.75, slice(3_900, None)), contract(**PLAIN)
    snapshots.write(table, tmp_path / "table", source="here")
    with Validator(rules, NOW, table.height, tmp_path / "bad.parquet") as validator:
        for found in snapshots.each(tmp_path / "table", validator.judge):
            validator.note(found)
    assert validator.report.newest(0.05) == validate(table, rules, NOW).report.newest(0.05)


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        pytest.param(["10/13/2014", "1/2/2014"], "format: '%m/%d/%Y' in the contract reads them", id="one-fits"),
        pytest.param(
            ["03/04/2014", "1/2/2014"],
            "by format '%m/%d/%Y' and by '%d/%m/%Y', as other moments; say which",
            id="two-fit",
        ),
        pytest.param(["soon", "later"], "'soon' is no date or time", id="none-fits"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["an-input", "the-event-time"])
def test_dates_in_another_format_are_told_with_the_format_that_fits(dates: list[str], said: str, known: bool) -> None:
    """The sentence names what was expected and what would read all cells; of several formats none is guessed."""
    columns = {"x": Column(type="float"), **({"at": Column(type="datetime")} if known else {})}
    rules = contract(columns=columns, event_time=None if known else "at")
    table = pl.DataFrame({"at": dates, "x": [1.0, 2.0], "y": [1.0, 2.0]})
    with pytest.raises(DataError) as caught:
        require(validate(table, rules, NOW).report, rules)
    assert said in str(caught.value)


def test_an_event_time_of_several_columns_is_asked_for_by_their_names() -> None:
    """The table needs the parts, not the event time that they make."""
    rules = contract(event_time={"name": "at", "from": ["year", "month"], "format": "%Y %m %d"})
    assert brought(rules) == ["x", "y", "year", "month"]
    with pytest.raises(DataError, match="lacks columns year, month of the contract"):
        validate(months().drop("at"), rules, NOW)
