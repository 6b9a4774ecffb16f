"""Validation: what is refused, with which words, and when a run stops."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandera.errors
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data import validation
from components.data.quarantine_report import Report, quarantine_page
from components.data.rules import rules, suspected, typed
from components.data.validation import pandera_schema, require, validate
from serving.contract import Column, Contract, Target
from serving.errors import DataError

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
COLUMNS = {
    "area_m2": Column(type="float", unit="m2", range=(10, 1500)),
    "rooms": Column(type="int", range=(1, 30), nullable=True),
    "lift": Column(type="bool"),
    "kind": Column(type="category", values=("house", "flat")),
}
HOMES = Contract(
    columns=COLUMNS,
    target=Target(name="price", unit="EUR", range=(1000, 10_000_000)),
    key="id",
    event_time="sold_at",
)
TUMOURS = Contract(
    columns={"size": Column(type="float")}, target=Target(name="diagnosis", classes=("benign", "malignant"))
)


def homes(rows: int = 4, **columns: Any) -> pl.DataFrame:
    """Good rows; a list of values replaces a column's first ones."""
    table: dict[str, list[Any]] = {
        "id": [f"P{i}" for i in range(rows)],
        "sold_at": [datetime(2026, 1, 1) + timedelta(hours=i) for i in range(rows)],
        "area_m2": [80.0 + i for i in range(rows)],
        "rooms": [3] * rows,
        "lift": [True] * rows,
        "kind": ["house"] * rows,
        "price": [250_000.0 + i for i in range(rows)],
    }
    for name, values in columns.items():
        table[name] = [*values, *(str(v) if isinstance(values[0], str) else v for v in table[name][len(values) :])]
    return pl.DataFrame(table, strict=False)


def tumours(words: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"size": [float(i) for i in range(len(words))], "diagnosis": words})


def test_good_rows_are_accepted_in_the_types_of_the_contract() -> None:
    """Numbers become float64, truths booleans, categories text, moments microseconds; the order is the contract's."""
    result = validate(homes().with_columns(sale_id=pl.lit("S1")), HOMES, NOW)
    assert result.accepted.schema == {
        "id": pl.String,
        "sold_at": pl.Datetime("us"),
        "area_m2": pl.Float64,
        "rooms": pl.Float64,
        "lift": pl.Boolean,
        "kind": pl.String,
        "price": pl.Float64,
    }
    assert result.report.extra_columns == ("sale_id",)
    assert (result.report.accepted, result.report.quarantined, result.report.reasons) == (4, 0, ())
    assert result.quarantined.height == 0
    assert "reasons" in result.quarantined.columns


def test_a_table_of_text_means_the_same_as_a_typed_one() -> None:
    """What a CSV file spells out is what a parquet file holds."""
    typed = homes()
    text = typed.with_columns(pl.all().cast(pl.String))
    assert validate(text, HOMES, NOW).accepted.equals(validate(typed, HOMES, NOW).accepted)


@pytest.mark.parametrize(
    ("column", "values", "reason", "said"),
    [
        pytest.param("area_m2", [12_000.0], "out of range", "area_m2: 12000 out of [10, 1500] m2", id="too-large"),
        pytest.param("area_m2", [9.5], "out of range", "area_m2: 9.5 out of [10, 1500] m2", id="too-small"),
        pytest.param("area_m2", [None], "missing", "area_m2: missing", id="null"),
        pytest.param("area_m2", [float("nan")], "missing", "area_m2: missing", id="nan"),
        pytest.param("area_m2", ["N/A"], "missing", "area_m2: missing", id="word-for-missing"),
        pytest.param("area_m2", ["big"], "wrong type", "area_m2: 'big' is no number", id="word"),
        pytest.param("area_m2", [float("inf")], "wrong type", "area_m2: 'inf' is no number", id="infinite"),
        pytest.param("rooms", [2.5], "wrong type", "rooms: '2.5' is no whole number", id="half-a-room"),
        pytest.param("rooms", ["three"], "wrong type", "rooms: 'three' is no whole number", id="rooms-as-word"),
        pytest.param("lift", ["maybe"], "wrong type", "lift: 'maybe' is neither true nor false", id="no-truth"),
        pytest.param("kind", ["castle"], "unknown category", "kind: 'castle' is none of house, flat", id="category"),
        pytest.param("kind", [None], "missing", "kind: missing", id="category-missing"),
        pytest.param("price", [None], "missing", "price: the target is missing", id="target-missing"),
        pytest.param("price", [5.0], "out of range", "price: 5 out of [1000, 10000000] EUR", id="target-range"),
        pytest.param("id", [None], "missing", "id: missing key", id="no-key"),
        pytest.param("sold_at", [None], "missing", "sold_at: missing event time", id="no-time"),
        pytest.param("sold_at", ["soon"], "wrong type", "sold_at: 'soon' is no date or time", id="no-date"),
        pytest.param(
            "sold_at",
            [datetime(2026, 2, 1)],
            "in the future",
            "sold_at: 2026-02-01T00:00:00 lies after 2026-01-31 12:00",
            id="future",
        ),
    ],
)
def test_a_bad_value_is_quarantined_with_its_reason(column: str, values: list[Any], reason: str, said: str) -> None:
    """One bad value sets aside one row, counted by column and reason and described in words."""
    result = validate(homes(4, **{column: values}), HOMES, NOW)
    assert result.quarantined["reasons"].to_list() == [said]
    assert [(r.column, r.reason, r.rows, r.examples) for r in result.report.reasons] == [(column, reason, 1, (said,))]
    assert result.accepted.height == 3


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("area_m2", [10.0, 1500.0], id="bounds-are-inside"),
        pytest.param("area_m2", [" 80.5 ", "1e2"], id="numbers-as-text"),
        pytest.param("rooms", [None], id="a-nullable-gap"),
        pytest.param("rooms", ["", "4.0"], id="empty-text-is-a-gap"),
        pytest.param("lift", ["yes", "FALSE", "0"], id="truths-as-words"),
        pytest.param("lift", [1, 0], id="truths-as-numbers"),
        pytest.param(
            "sold_at", ["2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05.5+01:00"], id="dates-as-text"
        ),
    ],
)
def test_what_the_contract_allows_is_accepted(column: str, values: list[Any]) -> None:
    """Edges of ranges, gaps where they may be, and the usual spellings."""
    result = validate(homes(4, **{column: values}), HOMES, NOW)
    assert result.quarantined["reasons"].to_list() == []


def test_moments_are_utc() -> None:
    """Offsets in text and time zones in columns are converted, and dates are midnights."""
    text = validate(homes(sold_at=["2026-01-02T01:00:00+02:00"]), HOMES, NOW).accepted
    assert text["sold_at"][0] == datetime(2026, 1, 1, 23)
    zoned = homes().with_columns(pl.col("sold_at").dt.replace_time_zone("Europe/Berlin"))
    assert validate(zoned, HOMES, NOW).accepted["sold_at"][0] == datetime(2025, 12, 31, 23)
    days = homes().with_columns(sold_at=pl.lit(date(2026, 1, 5)))
    assert validate(days, HOMES, NOW).accepted["sold_at"][0] == datetime(2026, 1, 5)


def test_a_category_may_be_called_none() -> None:
    """A word that usually means a gap is a category where the contract says so, and codes may be numbers."""
    contract = Contract(
        columns={
            "garage": Column(type="category", values=("None", "one", "3"), nullable=True),
            "code": Column(type="category", values=("1", "2")),
        },
        target=Target(name="y"),
    )
    frame = pl.DataFrame({"garage": ["None", "3", ""], "code": [1.0, 2.0, 1.0], "y": [1.0, 2.0, 3.0]})
    accepted = validate(frame, contract, NOW).accepted
    assert accepted["garage"].to_list() == ["None", "3", None]
    assert accepted["code"].to_list() == ["1", "2", "1"]


def test_a_row_with_two_faults_tells_both() -> None:
    """Reasons are joined in the row and counted each."""
    result = validate(homes(area_m2=[1.0], kind=["castle"]), HOMES, NOW)
    assert result.quarantined["reasons"][0] == (
        "area_m2: 1 out of [10, 1500] m2; kind: 'castle' is none of house, flat"
    )
    assert result.report.quarantined == 1
    assert sum(count.rows for count in result.report.reasons) == 2


def test_quarantined_rows_keep_what_the_source_sent() -> None:
    """Columns outside of the contract stay, so that the row can be found at its source."""
    frame = homes(area_m2=["big"]).with_columns(sale_id=pl.lit("S9"))
    assert validate(frame, HOMES, NOW).quarantined.row(0, named=True) == {
        **frame.row(0, named=True),
        "reasons": "area_m2: 'big' is no number",
    }


def test_of_a_repeated_row_the_first_stays() -> None:
    """A row sent three times is two duplicates."""
    frame = homes()
    result = validate(pl.concat([frame, frame[:1], frame[:1]]), HOMES, NOW)
    assert result.report.reasons[0].reason == "duplicate row"
    assert result.report.quarantined == 2
    assert result.accepted.equals(validate(frame, HOMES, NOW).accepted)


def test_of_two_stories_about_one_event_neither_stays() -> None:
    """One key at one time with different values: both rows are set aside; at another time it is another event."""
    frame = homes()
    other = frame[:1].with_columns(price=pl.lit(999_000.0))
    later = frame[1:2].with_columns(pl.col("sold_at") + timedelta(days=1))
    result = validate(pl.concat([frame, other, later]), HOMES, NOW)
    assert result.quarantined["id"].to_list() == ["P0", "P0"]
    assert result.quarantined["reasons"][0] == "id: there again at the same sold_at with other values"


def test_equal_rows_of_categories_alone_are_no_mistake() -> None:
    """Without key, time or measured number nothing says that equal rows are one row."""
    contract = Contract(
        columns={"colour": Column(type="category", values=("red", "blue"))},
        target=Target(name="y", classes=("no", "yes")),
    )
    frame = pl.DataFrame({"colour": ["red", "red"], "y": ["yes", "yes"]})
    assert validate(frame, contract, NOW).report.quarantined == 0


def test_absent_columns_are_named_with_the_nearest_spelling() -> None:
    """The message has what is missing, what is there, and which of it may be meant."""
    frame = homes().rename({"area_m2": "area_sqm"}).drop("lift")
    with pytest.raises(DataError) as caught:
        validate(frame, HOMES, NOW)
    text = str(caught.value)
    assert "lacks columns area_m2, lift" in text
    assert "it has id, sold_at, area_sqm, rooms, kind, price" in text
    assert "is 'area_sqm' meant to be 'area_m2'?" in text


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("area_m2", pl.lit(date(2026, 1, 1)), "'area_m2' has type Date: expected numbers"),
        ("area_m2", pl.lit(True), "'area_m2' has type Boolean: expected numbers"),
        ("lift", pl.lit(date(2026, 1, 1)), "'lift' has type Date: expected true or false"),
        ("kind", pl.concat_list("kind"), r"'kind' has type List\(String\): expected categories"),
        ("sold_at", pl.lit(1_700_000_000), "'sold_at' has type Int32: expected dates or times"),
    ],
)
def test_a_column_of_an_impossible_type_stops_at_once(column: str, value: pl.Expr, said: str) -> None:
    """No row of it could be right, so it is one sentence and no million reasons."""
    with pytest.raises(DataError, match=said):
        validate(homes().with_columns(value.alias(column)), HOMES, NOW)


def test_a_column_without_any_value_is_missing_in_every_row() -> None:
    """A column of nulls has no type; all its rows say that it is missing."""
    report = validate(homes().with_columns(area_m2=pl.lit(None), rooms=pl.lit(None)), HOMES, NOW).report
    assert [(r.column, r.reason, r.rows) for r in report.reasons] == [("area_m2", "missing", 4)]


@pytest.mark.parametrize(
    ("bad", "passes"), [pytest.param(2, True, id="at-the-limit"), pytest.param(3, False, id="above-the-limit")]
)
def test_a_run_stops_above_the_share_of_the_contract(bad: int, passes: bool) -> None:
    """refuse_above is the largest share that is still tolerated; the message says what was worst."""
    report = validate(homes(100, area_m2=[5.0] * bad), HOMES, NOW).report
    if passes:
        return require(report, HOMES)
    with pytest.raises(
        DataError, match=r"3 of 100 rows \(3.0%\).*2.0%.*3 rows area_m2 out of range.*area_m2: 5 out of"
    ):
        require(report, HOMES)
    return None


def test_an_empty_table_stops() -> None:
    """Nothing to learn from; types are not looked at."""
    with pytest.raises(DataError, match="table is empty"):
        require(validate(homes().clear(), HOMES, NOW).report, HOMES)


def test_a_table_of_bad_rows_alone_stops_whatever_the_limit() -> None:
    """A limit of 100 % still needs one row to learn from."""
    lenient = HOMES.model_copy(update={"refuse_above": 1.0})
    with pytest.raises(DataError, match="4 of 4 rows"):
        require(validate(homes(area_m2=[1.0] * 4), lenient, NOW).report, lenient)


def test_one_class_stops() -> None:
    """A classifier needs two; the message names the one there is and those expected."""
    report = validate(tumours(["benign"] * 9), TUMOURS, NOW).report
    assert report.classes == {"benign": 9, "malignant": 0}
    with pytest.raises(DataError, match="the one class benign: expected at least two of benign, malignant"):
        require(report, TUMOURS)
    require(validate(tumours(["benign", "malignant"]), TUMOURS, NOW).report, TUMOURS)


def test_stale_events_stop() -> None:
    """The age of the newest event is counted from the run, not from the clock."""
    fresh = HOMES.model_copy(update={"max_age_days": 31.0})
    stale = HOMES.model_copy(update={"max_age_days": 30.0})
    report = validate(homes(), fresh, NOW).report
    assert report.freshness is not None
    assert report.freshness.age_days == pytest.approx(30.375)
    require(report, fresh)
    with pytest.raises(DataError, match=r"newest sold_at is 2026-01-01T03:00:00, 30.4 days before"):
        require(report, stale)


def test_the_report_survives_json_and_reads_well() -> None:
    """Written and read again it is equal; its sentence and its HTML carry the figures, with the data's text escaped."""
    report = validate(homes(area_m2=["<b>big</b>"], kind=["castle", "castle"]), HOMES, NOW).report
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert report.sentence == "2 accepted, 2 quarantined (2 kind unknown category, 1 area_m2 wrong type)"
    html = quarantine_page(report)
    assert "&lt;b&gt;big" in html
    assert "<b>" not in html
    assert "<script" not in html
    assert html.index("unknown category") < html.index("wrong type")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("area_m2", [5.0, 80.0], id="range"),
        pytest.param("kind", ["castle", "flat"], id="category"),
        pytest.param("price", [None, 2000.0], id="null"),
    ],
)
def test_pandera_agrees_about_what_is_bad(name: str, values: list[Any]) -> None:
    """The generated schema passes accepted rows and refuses the same faults as our rules."""
    good = validate(homes(2), HOMES, NOW).accepted
    pandera_schema(HOMES).validate(good, lazy=True)
    with pytest.raises(pandera.errors.SchemaErrors):
        pandera_schema(HOMES).validate(good.with_columns(pl.Series(name, values)), lazy=True)


def test_a_rule_that_fails_to_fire_is_caught_by_pandera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a broken rule lets through do not reach a model."""
    whole = rules
    monkeypatch.setattr(validation, "rules", lambda *a: [rule for rule in whole(*a) if rule.reason != "out of range"])
    with pytest.raises(DataError, match="pandera refuses rows"):
        validate(homes(area_m2=[5.0]), HOMES, NOW)


def test_a_hundred_thousand_bad_rows_make_a_small_report() -> None:
    """Every value of every column wrong: the report stays a page, each row keeps its reasons."""
    rows = 100_000
    frame = pl.DataFrame(
        {
            "id": np.arange(rows),
            "sold_at": pl.Series(["then"]).extend_constant("then", rows - 1),
            "area_m2": np.full(rows, 1e6),
            "rooms": np.full(rows, 0.5),
            "lift": ["perhaps"] * rows,
            "kind": ["castle"] * rows,
            "price": np.full(rows, -1.0),
        }
    )
    result = validate(frame, HOMES, NOW)
    assert result.report.quarantined == rows
    assert len(result.report.model_dump_json()) < 5_000
    assert result.quarantined["reasons"].str.count_matches("; ").unique().to_list() == [5]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-10, 2000), st.just(float("nan")), st.just(float("inf"))),
            st.one_of(st.none(), st.integers(-2, 40)),
            st.sampled_from(["house", "flat", "castle", "", None]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_row_is_accepted_exactly_when_every_value_is_allowed(rows: list[tuple[Any, ...]]) -> None:
    """The vectorised rules say what a reading of the contract value by value says, for any table."""
    areas, rooms, kinds = zip(*rows, strict=True)
    frame = homes(len(rows)).with_columns(
        pl.Series("area_m2", areas, dtype=pl.Float64),
        pl.Series("rooms", rooms, dtype=pl.Int64),
        pl.Series("kind", kinds, dtype=pl.String),
    )
    result = validate(frame, HOMES, NOW)
    allowed = [
        area is not None and 10 <= area <= 1500 and (room is None or 1 <= room <= 30) and kind in ("house", "flat")
        for area, room, kind in rows
    ]
    assert result.accepted["id"].to_list() == [f"P{i}" for i, good in enumerate(allowed) if good]
    assert result.accepted.height + result.quarantined.height == len(rows)
    assert result.quarantined["reasons"].is_not_null().all()


@pytest.mark.slow
def test_ten_million_rows_are_validated_in_seconds() -> None:
    """Full size: ten columns, a bad row in a hundred; the figures add up."""
    rows = 10_000_000
    random = np.random.default_rng(0)
    names = [f"c{i}" for i in range(6)]
    contract = Contract(
        columns={
            **{name: Column(type="float", range=(0, 1)) for name in names},
            "kind": Column(type="category", values=("a", "b", "c")),
        },
        target=Target(name="y"),
        key="id",
        event_time="at",
    )
    frame = pl.DataFrame(
        {
            "id": random.permutation(rows),
            "at": pl.Series(random.integers(1_600_000_000, 1_700_000_000, rows) * 1_000_000).cast(pl.Datetime("us")),
            **{name: random.random(rows) for name in names},
            "kind": pl.Series(["a", "b", "c"])[random.integers(0, 3, rows)],
            "y": random.random(rows),
        }
    ).with_columns(pl.when(pl.col("id") % 100 == 0).then(5.0).otherwise("c1").alias("c1"))
    report = validate(frame, contract, NOW).report
    assert report.quarantined == rows // 100


TYPED = st.one_of(
    st.lists(st.sampled_from(["", "NA", " 7", "7", "1e9", "1,000", "inf", "x", "flat", "true", None]), min_size=1),
    st.lists(st.sampled_from([None, float("nan"), float("inf"), -1.0, 7.0, 7.5, 1e9]), min_size=1),
    st.lists(st.sampled_from([None, 0, 7, 10**9]), min_size=1),
    st.lists(st.none(), min_size=1),
)


@settings(max_examples=200, deadline=None)
@given(cells=TYPED, name=st.sampled_from([*COLUMNS, "price"]))
def test_every_rule_that_a_row_breaks_is_suspected_of_it(cells: list[Any], name: str) -> None:
    """The cheap question about a whole column never says no where the question about a row says yes."""
    frame = homes(max(4, len(cells))).with_columns(pl.Series(name, cells + [None] * (max(4, len(cells)) - len(cells))))
    asked = rules(frame.schema, HOMES, NOW.replace(tzinfo=None))
    forms = frame.select(typed(frame.schema, HOMES))
    suspects = suspected(forms, asked)
    assert [rule for rule in asked if forms.select(rule.bad.any()).item() and rule not in suspects] == []


def test_a_table_that_keeps_its_contract_has_no_suspects() -> None:
    """No rule costs more than a look at a column as long as nothing is wrong."""
    frame = homes(50)
    asked = rules(frame.schema, HOMES, NOW.replace(tzinfo=None))
    assert suspected(frame.select(typed(frame.schema, HOMES)), asked) == []


@pytest.mark.parametrize("cell", ["0000-01-01", "0000-02-30 12:00:00", "+12026-01-01"])
@pytest.mark.parametrize("typed", [False, True])
def test_a_moment_outside_of_the_calendar_is_no_moment(cell: str, typed: bool) -> None:
    """The years 1 to 9999 are all that a report can name; other rows are set aside, in text as in Parquet's moments."""
    cells = [datetime(2026, 1, 5).isoformat()] * 3 + [cell]
    column = pl.Series("sold_at", cells)
    if typed:
        column = pl.Series([1_767_600_000_000_000] * 3 + [-(10**17)], dtype=pl.Datetime("us"))
    found = validate(homes().with_columns(column.alias("sold_at")), HOMES, NOW)
    assert found.good.tolist() == [True, True, True, False]
    assert "sold_at" in found.quarantined["reasons"][0]
