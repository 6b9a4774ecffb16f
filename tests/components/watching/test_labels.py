"""The prediction log as the servers write it, and the labels that arrive for it."""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.watching import prediction_log
from components.watching.labels import LabelReport, Unusable, join
from serving.errors import DataError
from serving.predictor.log import AnsweredRequest, Lines
from serving.predictor.rows.validate import Flag
from tests.components.watching.support import contract, logged

MARCH = datetime(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTRACT = contract(
    {"name": "price", "range": [0, 1000]},
    area={"type": "float", "range": [0, 500], "out_of_range": "flag"},
    rooms={"type": "int", "nullable": True},
    garden={"type": "bool"},
    kind={"type": "category", "values": ["flat", "house"], "unknown": "flag"},
)
CLASSES = contract({"name": "ill", "classes": ["no", "yes"]}, x={"type": "float"})


def record(request_id: str = "r1", at: datetime = NOON, rows: int = 1, **changes: Any) -> AnsweredRequest:
    usual: dict[str, Any] = {
        "matrix": np.array([[80.0, np.nan, 1.0, 2.0]] * rows),
        "predictions": [100.0 + i for i in range(rows)],
        "probabilities": None,
        "flags": (Flag(0, "kind", "unknown_category", "barn"), Flag(0, "area", "clipped", 9e9)),
        "latency_s": 0.0015,
    }
    return AnsweredRequest(request_id=request_id, time=at.timestamp(), **usual | changes)


def written(path: Path, *records: AnsweredRequest, without: tuple[str, ...] = (), tail: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = Lines(CONTRACT, "housing", "1", without)
    path.write_bytes(b"".join(lines.of(each) for each in records) + tail)
    return path.parent


def test_what_a_server_wrote_is_read_back(tmp_path: Path) -> None:
    """Ids, rows, times, versions, predictions, latencies, flags and every type of column, from folders below."""
    written(tmp_path / "housing-1" / "predictions-a.jsonl", record("b", NOON + timedelta(seconds=1), rows=2))
    written(tmp_path / "predictions-b.jsonl", record("a"))
    frame = prediction_log.read(tmp_path, CONTRACT)
    assert frame.select("request_id", "row", "version", "prediction", "latency_ms").rows() == [
        ("a", 0, "1", 100.0, 1.5),
        ("b", 0, "1", 100.0, 1.5),
        ("b", 1, "1", 101.0, 1.5),
    ]
    assert frame["time"][0] == NOON.replace(tzinfo=None)
    assert frame["features"][0] == {"area": 80.0, "rooms": None, "garden": True, "kind": "?"}
    assert frame["flagged"].to_list() == [["kind", "area"], ["kind", "area"], []]


@pytest.mark.parametrize("cut", range(1, 30, 7))
def test_a_line_that_is_being_written_is_passed_over(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever part of the last line is there, the whole lines are read, and nobody is warned of what is usual."""
    half = Lines(CONTRACT, "housing", "1", ()).of(record("half"))[: cut * 10]
    frame = prediction_log.read(written(tmp_path / "p.jsonl", record("a"), record("b"), tail=half), CONTRACT)
    assert frame["request_id"].to_list() == ["a", "b"]
    assert not caplog.records


def test_a_broken_line_between_whole_ones_costs_itself_only(tmp_path: Path) -> None:
    """A disk that was full leaves half a line that the next one continues; the others are read, and lines that are
    no predictions are left out."""
    good = Lines(CONTRACT, "housing", "1", ()).of(record("c"))
    tail = b'{"request_id":"x","ro' + good + b"[1]\n" + b'{"note":"no prediction"}\n' + good
    frame = prediction_log.read(written(tmp_path / "p.jsonl", record("a"), tail=tail), CONTRACT)
    assert frame["request_id"].to_list() == ["a", "c"]


def test_columns_kept_out_of_the_log_are_absent_and_not_missing(tmp_path: Path) -> None:
    """A column that no server logs is no field; one that some log is null elsewhere."""
    written(tmp_path / "a.jsonl", record("a"), without=("area", "kind"))
    assert list(prediction_log.read(tmp_path, CONTRACT)["features"][0]) == ["rooms", "garden"]
    written(tmp_path / "b.jsonl", record("b"), without=("area",))
    both = prediction_log.read(tmp_path, CONTRACT)
    assert both["features"].to_list() == [
        {"rooms": None, "garden": True, "kind": None},
        {"rooms": None, "garden": True, "kind": "?"},
    ]


def test_since_leaves_out_older_rows_and_does_not_open_older_parts(tmp_path: Path) -> None:
    """A part that was last written before is not even parsed."""
    written(tmp_path / "new.jsonl", record("old", NOON - timedelta(days=1)), record("new"))
    old = tmp_path / "old.jsonl"
    old.write_text("this is not JSON\n")
    os.utime(old, (0, (NOON - timedelta(days=2)).timestamp()))
    assert prediction_log.read(tmp_path, CONTRACT, NOON)["request_id"].to_list() == ["new"]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    """Before the first request there is a frame with the usual columns and no row."""
    frame = prediction_log.read(tmp_path / "nowhere", CONTRACT)
    assert frame.height == 0
    written(tmp_path / "a.jsonl", record("a"))
    assert frame.schema == prediction_log.read(tmp_path, CONTRACT).schema


def test_classes_are_read_with_their_probabilities(tmp_path: Path) -> None:
    """The answered class is a word, the probabilities a list in the order of the classes."""
    line = {"request_id": "a", "row": 0, "time": "2026-03-01T12:00:00.000Z", "version": "3", "features": {"x": 1},
            "prediction": "yes", "probabilities": [0.2, 0.8], "flags": [], "latency_ms": 1}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    row = prediction_log.read(tmp_path, CLASSES).row(0, named=True)
    assert (row["prediction"], row["probabilities"]) == ("yes", [0.2, 0.8])


def predictions(*keys: tuple[str, int]) -> pl.DataFrame:
    ids, row = [key[0] for key in keys], [key[1] for key in keys]
    values = [float(i) for i in range(len(keys))]
    return logged(pl.DataFrame({"area": values}), values, request_id=ids, row=row)


def labels(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


AS_OF = datetime(2026, 3, 31, tzinfo=UTC)


def test_each_prediction_gets_the_newest_label_known_by_then() -> None:
    """A correction replaces a label, one of tomorrow does not, and every row of the table is accounted for."""
    seen = join(
        predictions(("a", 0), ("b", 0), ("c", 0)),
        labels(
            request_id=["a", "a", "a", "b", "zz", None, "c"],
            price=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None],
            label_at=[MARCH, MARCH + timedelta(days=9), MARCH + timedelta(days=60), MARCH, MARCH, MARCH, MARCH],
        ),
        CONTRACT,
        AS_OF,
    )
    assert seen.frame.select("request_id", "truth").rows() == [("a", 2.0), ("b", 4.0)]
    reasons = (
        Unusable(reason="without an id", labels=1),
        Unusable(reason="missing", labels=1, example="price: the target is missing"),
    )
    assert seen.report == LabelReport(
        reasons=reasons, predictions=3, labelled=2, unlabelled=1, orphans=1, duplicates=1, later=1, unusable=2
    )


def test_rows_of_one_request_have_their_own_labels() -> None:
    """With a column row each row is joined; without it nobody knows which of them a label is of."""
    log = predictions(("a", 0), ("a", 1))
    both = labels(request_id=["a", "a"], row=[1, 0], price=[11.0, 10.0], label_at=[MARCH, MARCH])
    assert join(log, both, CONTRACT, AS_OF).frame["truth"].to_list() == [10.0, 11.0]
    unsaid = join(log, both.drop("row").head(1), CONTRACT, AS_OF).report
    assert (unsaid.labelled, unsaid.ambiguous) == (0, 1)
    assert join(log.tail(1), both.drop("row").head(1), CONTRACT, AS_OF).frame["row"].to_list() == [1]


def test_a_request_logged_twice_is_one_prediction() -> None:
    """A caller that tried again with the same id does not count double."""
    seen = join(predictions(("a", 0), ("a", 0)), labels(request_id=["a"], price=[1.0]), CONTRACT, AS_OF)
    assert seen.report.predictions == seen.report.labelled == 1


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        pytest.param("12.5", True, id="text-that-is-a-number"),
        pytest.param("dear", False, id="text"),
        pytest.param(-1.0, False, id="out-of-the-target's-range"),
        pytest.param(float("nan"), False, id="no-number"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_labels_that_cannot_be_true_are_counted_and_not_used(value: Any, usable: bool) -> None:
    """Only values that the contract's target takes are truths."""
    report = join(predictions(("a", 0)), labels(request_id=["a"], price=[value]), CONTRACT, AS_OF).report
    assert (report.labelled, report.unusable) == ((1, 0) if usable else (0, 1))


@pytest.mark.parametrize(
    ("cells", "reasons"),
    [
        pytest.param(["310,000", " 5 ", "5.0", "12"], {"out of range": 1}, id="text"),
        pytest.param(["dear", "", None, "NA"], {"missing": 3, "no number": 1}, id="words"),
        pytest.param([0.0, 1.0, float("nan"), float("inf")], {"missing": 1, "no number": 1}, id="floats"),
        pytest.param([-1, 0, 5, None], {"out of range": 1, "missing": 1}, id="integers"),
        pytest.param([None] * 4, {"missing": 4}, id="nothing"),
        pytest.param([Decimal("1.5")] * 4, {}, id="decimals"),
        pytest.param([True, False, None, True], None, id="booleans"),
        pytest.param([[1.0], [], None, [2.0]], None, id="lists"),
        pytest.param([{"a": 1}] * 4, None, id="objects"),
        pytest.param([b"\xff", b"5", None, b""], None, id="bytes"),
        pytest.param([MARCH] * 4, None, id="moments"),
    ],
)
def test_labels_of_any_type_are_numbers_or_counted_by_reason(cells: list[Any], reasons: dict[str, int] | None) -> None:
    """Each kind has a count and an example; a whole column that holds no numbers is one sentence."""
    table = pl.DataFrame({"request_id": list("abcd"), "price": cells})
    log = predictions(*((name, 0) for name in "abcd"))
    if reasons is None:
        with pytest.raises(DataError, match="'price' has type"):
            join(log, table, CONTRACT, AS_OF)
        return
    report = join(log, table, CONTRACT, AS_OF).report
    assert {why.reason: why.labels for why in report.reasons} == reasons
    assert all(why.example.startswith("price: ") for why in report.reasons)
    assert (report.labelled, report.unusable) == (4 - sum(reasons.values()), sum(reasons.values()))


@pytest.mark.parametrize(
    ("cells", "labelled"),
    [
        pytest.param([0.0, 1.0, 2.0], 2, id="floats"),
        pytest.param([0, 1, 2], 2, id="integers"),
        pytest.param(["0", "1", "x"], 2, id="text"),
        pytest.param([b"0", b"1", b"\xff"], 2, id="bytes"),
        pytest.param([True, False, None], 0, id="booleans"),
        pytest.param([MARCH] * 3, 0, id="moments"),
    ],
)
def test_classes_of_any_type_are_classes_or_counted(cells: list[Any], labelled: int) -> None:
    """What spells a class is one; the rest is counted, whatever it is."""
    log = logged(pl.DataFrame({"x": [1.0, 2.0, 3.0]}), ["0", "1", "0"])
    meaning = contract({"name": "ill", "classes": ["0", "1"]}, x={"type": "float"})
    report = join(log, pl.DataFrame({"request_id": log["request_id"], "ill": cells}), meaning, AS_OF).report
    assert (report.labelled, report.unusable) == (labelled, 3 - labelled)
    assert sum(why.labels for why in report.reasons) == report.unusable


@pytest.mark.parametrize("name", ["request_id", "row"])
@pytest.mark.parametrize("cell", [[1], b"\xff", {"a": 1}, True, 0.5, MARCH, " 0 "], ids=repr)
def test_ids_and_rows_of_any_type_are_no_error(name: str, cell: Any) -> None:
    """They name a row or none."""
    table = pl.DataFrame({"request_id": ["a"], "row": [0], "price": [1.0]}).with_columns(pl.Series(name, [cell]))
    report = join(predictions(("a", 0)), table, CONTRACT, AS_OF).report
    assert report.labelled + report.orphans + report.unusable == 1
    assert report.labelled == (name == "row" and cell == " 0 ")


def test_classes_become_their_positions() -> None:
    """A class that the contract does not name is unusable."""
    log = logged(pl.DataFrame({"x": [1.0, 2.0, 3.0]}), ["no", "yes", "no"])
    table = labels(request_id=["r000000", "r000001", "r000002"], ill=["yes", "no", "perhaps"])
    seen = join(log, table, CLASSES, AS_OF)
    assert seen.frame["truth"].to_list() == [1.0, 0.0]
    assert seen.report.unusable == 1


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(["2026-03-30T23:30:00Z", "2026-03-31T01:30:00Z"], id="text-in-utc"),
        pytest.param(["2026-03-30T23:30:00", "2026-03-31T01:30:00"], id="text-without-a-zone"),
        pytest.param(["2026-03-31T01:30:00+02:00", "2026-03-31T03:30:00+02:00"], id="text-in-a-zone"),
        pytest.param([datetime(2026, 3, 30, 23, 30), datetime(2026, 3, 31, 1, 30)], id="moments"),
        pytest.param(
            [datetime(2026, 3, 30, 23, 30, tzinfo=UTC), datetime(2026, 3, 31, 1, 30, tzinfo=UTC)], id="moments-in-utc"
        ),
    ],
)
def test_moments_mean_the_same_however_they_are_written(moments: list[Any]) -> None:
    """One label is known at midnight UTC, the other is not."""
    table = labels(request_id=["a", "b"], price=[1.0, 2.0], label_at=moments)
    seen = join(predictions(("a", 0), ("b", 0)), table, CONTRACT, AS_OF)
    assert seen.frame["request_id"].to_list() == ["a"]
    assert seen.report.later == 1


def test_fresh_labels_are_those_of_events_that_no_training_saw() -> None:
    """By event time where the labels tell it, else by when the label became known; all when nothing is known."""
    log = predictions(("a", 0), ("b", 0))
    table = labels(request_id=["a", "b"], price=[1.0, 2.0], label_at=[MARCH, MARCH])
    events = table.with_columns(pl.Series("happened_at", [datetime(2026, 1, 5), datetime(2026, 2, 5)]))
    limit = datetime(2026, 1, 31, tzinfo=UTC)
    assert join(log, events, CONTRACT, AS_OF).fresh(limit) == 1
    assert join(log, table, CONTRACT, AS_OF).fresh(limit) == 2
    assert join(log, table, CONTRACT, AS_OF).fresh(datetime(2026, 3, 2, tzinfo=UTC)) == 0
    assert join(log, events, CONTRACT, AS_OF).fresh(None) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"id": ["a"], "price": [1.0]}, "no request_id", id="no-id"),
        pytest.param({"request_id": ["a"], "cost": [1.0]}, "no price", id="no-target"),
        pytest.param({"request_id": ["a"], "price": [1.0], "label_at": [3]}, "'label_at' has type Int64", id="times"),
    ],
)
def test_a_table_that_holds_no_labels_is_refused(table: dict[str, Any], message: str) -> None:
    """The message names the column that is missing or wrong."""
    with pytest.raises(DataError, match=message):
        join(predictions(("a", 0)), pl.DataFrame(table), CONTRACT, AS_OF)


NAMES = st.sampled_from("abcd")
REQUESTS = st.dictionaries(NAMES, st.tuples(st.none() | st.sampled_from("abxy"), st.integers(1, 3)), max_size=4)
TOLD = st.tuples(st.sampled_from("abcdxyz"), st.integers(0, 2), st.integers(0, 60), st.floats(0, 900))


def meant(requests: dict[str, Any], name: str, row: int | None) -> tuple[str, int] | str:
    """The row of the log that a label means, or why there is none, by a plain loop."""
    found = [name] if name in requests else [own for own, (called, _) in requests.items() if called == name]
    if len(found) > 1:
        return "ambiguous"
    rows = requests[found[0]][1] if found else 0
    if row is None and rows > 1:
        return "ambiguous"
    return (found[0], row or 0) if (row or 0) < rows else "orphan"


@given(REQUESTS, st.lists(TOLD, max_size=25), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_counts_always_add_up(requests: dict[str, Any], truths: list[Any], with_rows: bool) -> None:
    """Labelled and unlabelled are the predictions; used, replaced, orphaned, ambiguous and later are the labels; and
    each prediction has the value that a plain loop finds, whether ids are the server's, of old lines or of callers."""
    keys = [(name, row) for name, (_, rows) in requests.items() for row in range(rows)]
    log = predictions(*keys).with_columns(
        correlation_id=pl.Series([requests[name][0] for name, _ in keys], dtype=pl.String)
    )
    table = pl.DataFrame(
        [(name, row, MARCH + timedelta(days=days), value) for name, row, days, value in truths],
        schema={"request_id": pl.String, "row": pl.Int64, "label_at": pl.Datetime("us"), "price": pl.Float64},
        orient="row",
    )
    seen = join(log, table if with_rows else table.drop("row"), CONTRACT, AS_OF)
    newest: dict[tuple[str, int], float] = {}
    ambiguous = 0
    for name, row, days, value in sorted(truths, key=lambda truth: truth[2]):
        place = meant(requests, name, row if with_rows else None)
        if days <= 30 and isinstance(place, tuple):
            newest[place] = value
        ambiguous += days <= 30 and place == "ambiguous"
    assert {(row["request_id"], row["row"]): row["truth"] for row in seen.frame.iter_rows(named=True)} == newest
    counts = seen.report
    assert (counts.labelled + counts.unlabelled, counts.labelled) == (counts.predictions, len(newest))
    assert counts.ambiguous == ambiguous
    used = counts.labelled + counts.orphans + counts.duplicates + counts.later + counts.ambiguous
    assert (used, counts.unusable) == (len(truths), 0)


@pytest.mark.parametrize("cell", ["01/02/2025", "2025/02/01", "0000-01-01", "1735689600", "2025-02-29"])
def test_a_moment_of_a_label_is_one_that_training_reads(cell: str) -> None:
    """Whether day or month is first is not guessed; such a label is counted as one without a moment."""
    table = pl.DataFrame({"request_id": ["a"], "price": [1.0], "label_at": [cell]})
    report = join(predictions(("a", 0)), table, CONTRACT, AS_OF).report
    assert [(odd.reason, odd.labels) for odd in report.reasons] == [("without a moment", 1)]
