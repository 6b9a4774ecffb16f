"""Truths that arrive after the predictions: joined to them by request id, each at the moment it became known."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from components.data.meaning import missing, value
from components.data.meeting import Needed
from components.data.moments import TYPE, event_of, moments, naive
from components.data.rules import column_rules, fields, forms, key_of, raw
from components.data.tables import truth
from components.data.words import number, spelled
from serving.contract import Column, Contract, Frozen
from serving.errors import DataError

REQUEST_ID, ROW, LABEL_AT = "request_id", "row", "label_at"
CORRELATION = "correlation_id"
KEY = [REQUEST_ID, ROW]
NO_TRUTH = {"wrong type": "no number", "unknown category": "not in the classes"}  # a target's reasons in its own words
ANY_ROW = -1  # of a label that names none


class Unusable(Frozen):
    """Labels that are no truth for one reason; *example* is a sentence about the first, empty where the cell is."""

    reason: str
    labels: int
    example: str = ""

    @property
    def phrase(self) -> str:
        return f"{self.labels:,} {self.reason}" + (f" ({self.example})" if self.example else "")


class LabelReport(Frozen):
    """How predictions and labels met.

    Attributes:
        predictions: rows of the log, each request id and row counted once.
        labelled, unlabelled: those with and without a label by now; together they are all predictions.
        orphans: labels of requests that are not in the log.
        ambiguous: labels whose id is a correlation id of several requests, or that say no row of a request with more.
        duplicates: labels that a newer one of the same row replaced.
        later: labels of the table that are not known yet at the moment of the report.
        unusable: labels without id or moment, or with a value that the contract's target does not take; *reasons* are
            these by kind, the most frequent first.
    """

    predictions: int = 0
    labelled: int = 0
    unlabelled: int = 0
    orphans: int = 0
    ambiguous: int = 0
    duplicates: int = 0
    later: int = 0
    unusable: int = 0
    reasons: tuple[Unusable, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Predictions with their truth.

    Attributes:
        frame: the labelled rows of the log, with ``truth`` (a number, or a position in the contract's classes),
            ``label_at``, and ``moment``: when the event happened if the labels tell, else when it was predicted.
    """

    frame: pl.DataFrame
    report: LabelReport

    def fresh(self, since: datetime | None) -> int:
        """Labelled rows about events after *since*; all of them without it."""
        if since is None:
            return self.report.labelled
        return int(self.frame.filter(pl.col("learned") > naive(since)).height)


@dataclass(frozen=True)
class Truths:
    """What a table tells of requests.

    Attributes:
        values: by request id, the last one of those that have several.
        rows: with an id and a value.
        unusable: rows whose value has no meaning; *example* is one of them as it stands there.
    """

    values: dict[str, Any]
    rows: int
    unusable: int
    example: str


def needed(column: str, meaning: Column) -> Needed:
    """What a reader needs of a table that tells *column* of requests; see ``told``."""
    numbers = frozenset((column,) if meaning.numeric else ())
    return Needed(
        (REQUEST_ID, column), numbers=numbers, categories={column: meaning} if meaning.type == "category" else {}
    )


def told(table: pl.DataFrame, column: str, uri: str, meaning: Column) -> Truths:
    """What *column* says of each request in the *table* at *uri*; rows without an id or a value are none.

    Raises:
        DataError: a column is absent, or of a type without *meaning*.
    """
    absent = [name for name in (REQUEST_ID, column) if name not in table.columns]
    if absent:
        raise DataError(
            f"{uri}: expected the columns {REQUEST_ID} and {column}, no {' and no '.join(absent)} among "
            f"{', '.join(table.columns)}; export them together with the id each answer carried"
        )
    cell = table.schema[column]
    found = table.filter(~missing(column, cell, meaning)).select(
        key_of(table.schema, REQUEST_ID),
        value(column, meaning, cell).alias("value"),
        spelled(pl.col(column), cell).alias("spelled"),
    )
    found = found.filter(pl.col(REQUEST_ID).is_not_null() & (pl.col(REQUEST_ID) != ""))
    known, odd = found.drop_nulls("value"), found.filter(pl.col("value").is_null())
    values = dict(known.select(REQUEST_ID, "value").iter_rows())
    return Truths(values, known.height, odd.height, str(odd["spelled"][0]) if odd.height else "")


def join(predictions: pl.DataFrame, labels: pl.DataFrame, contract: Contract, as_of: datetime) -> Labelled:
    """Give each row of the prediction log the newest label known at *as_of*.

    Args:
        predictions: as ``prediction_log.read`` returns them.
        labels: request_id (the answer's own, or a correlation id of that request alone), the target's name, label_at
            (when it became known), optionally row (without it the request's only one) and the contract's event time.
            A table without label_at is taken as known.

    Raises:
        DataError: the table lacks a column, or its times cannot be read.
    """
    logged = predictions.unique(KEY, keep="last", maintain_order=True)
    table = _checked(labels, contract, as_of)
    later = (pl.col(LABEL_AT) > naive(as_of)).fill_null(value=False)
    known = table.filter(~later)
    usable, odd = known.filter(pl.col("why").is_null()).drop("why", "example"), known.drop_nulls("why")
    addressed = _addressed(usable, logged)
    clear = addressed.filter(~pl.col("ambiguous")).drop("ambiguous")
    newest = clear.sort(LABEL_AT, maintain_order=True).unique(KEY, keep="last", maintain_order=True)
    frame = logged.join(newest, on=KEY, how="inner", maintain_order="left").with_columns(
        pl.coalesce("event", "time").alias("moment"), pl.coalesce("event", LABEL_AT).alias("learned")
    )
    report = LabelReport(
        predictions=logged.height,
        labelled=frame.height,
        unlabelled=logged.height - frame.height,
        orphans=newest.height - frame.height,
        ambiguous=usable.height - clear.height,
        duplicates=clear.height - newest.height,
        later=table.height - known.height,
        unusable=odd.height,
        reasons=_reasons(odd),
    )
    return Labelled(frame, report)


def _addressed(labels: pl.DataFrame, logged: pl.DataFrame) -> pl.DataFrame:
    """*labels* under the id and row of the log that they mean, and whether that is ``ambiguous``."""
    requests = logged.group_by(REQUEST_ID).agg(
        pl.col(CORRELATION).first(), pl.col(ROW).first().alias("first"), pl.len().alias("rows")
    )
    own = requests.select(
        pl.col(REQUEST_ID).alias("name"), REQUEST_ID, "first", "rows", pl.lit(1, pl.UInt32).alias("requests")
    )
    called = (
        requests.drop_nulls(CORRELATION)
        .group_by(pl.col(CORRELATION).alias("name"))
        .agg(pl.col(REQUEST_ID, "first", "rows").first(), pl.len().alias("requests"))
    )
    names = pl.concat([own, called.join(own, on="name", how="anti")])
    found = labels.join(names, left_on=REQUEST_ID, right_on="name", how="left", suffix="_logged", maintain_order="left")
    several = (pl.col("requests") > 1) | ((pl.col(ROW) == ANY_ROW) & (pl.col("rows") > 1))
    row = pl.when(pl.col(ROW) == ANY_ROW).then(pl.col("first")).otherwise(ROW)
    return found.select(
        pl.coalesce(f"{REQUEST_ID}_logged", REQUEST_ID).alias(REQUEST_ID),
        row.fill_null(0).alias(ROW),
        pl.exclude(REQUEST_ID, f"{REQUEST_ID}_logged", ROW, "first", "rows", "requests"),
        several.fill_null(value=False).alias("ambiguous"),
    )


def no_labels(contract: Contract) -> pl.DataFrame:
    """A table of labels without a row."""
    return pl.DataFrame(schema={REQUEST_ID: pl.String, contract.target.name: pl.String, LABEL_AT: TYPE})


def _checked(labels: pl.DataFrame, contract: Contract, as_of: datetime) -> pl.DataFrame:
    """The labels as request_id, row, truth, label_at and event, of one type each, and why one is not usable."""
    absent = [name for name in (REQUEST_ID, contract.target.name) if name not in labels.columns]
    if absent:
        raise DataError(
            f"labels: expected the columns {REQUEST_ID} and {contract.target.name}, no {' and no '.join(absent)} among "
            f"{', '.join(labels.columns)}; export the truth together with the id each answer carried"
        )
    row = _row(labels.schema[ROW]) if ROW in labels.columns else pl.lit(ANY_ROW, dtype=pl.Int64)
    known = (
        moments(LABEL_AT, labels.schema[LABEL_AT]) if LABEL_AT in labels.columns else pl.lit(naive(as_of), dtype=TYPE)
    )
    has_event = contract.event_time is not None and contract.event_time in labels.columns
    event = pl.lit(event_of(labels, contract)) if has_event else pl.lit(None, dtype=TYPE)
    table = labels.select(
        key_of(labels.schema, REQUEST_ID),
        row.alias(ROW),
        truth(labels.schema, contract).alias("truth"),
        known.alias(LABEL_AT),
        event.alias("event"),
        *forms(labels.schema, {contract.target.name: fields(contract)[contract.target.name]}),
    )
    return table.with_columns(_why(labels.schema, contract)).drop(contract.target.name, raw(contract.target.name))


def _row(dtype: Any) -> pl.Expr:
    """The position that a cell writes; null where it writes none."""
    position = number(spelled(pl.col(ROW), dtype))
    return pl.when((position >= 0) & (position == position.floor())).then(position).cast(pl.Int64, strict=False)


def _why(schema: Any, contract: Contract) -> tuple[pl.Expr, pl.Expr]:
    """The first reason why a label is not usable, and an example's sentence; null where it is."""
    name = contract.target.name
    absent = {"without an id": REQUEST_ID, "without a row": ROW, "without a moment": LABEL_AT}
    reasons = [pl.when(pl.col(column).is_null()).then(pl.lit(word)) for word, column in absent.items()]
    broken = list(column_rules(name, fields(contract)[name], schema[name], target=True))
    reasons += [pl.when(rule.bad).then(pl.lit(NO_TRUTH.get(rule.reason, rule.reason))) for rule in broken]
    example = pl.coalesce([pl.lit(None, pl.String), *(pl.when(rule.bad).then(rule.text) for rule in broken)])
    return pl.coalesce(reasons).alias("why"), example.alias("example")


def _reasons(odd: pl.DataFrame) -> tuple[Unusable, ...]:
    counted = odd.group_by("why", maintain_order=True).agg(pl.len(), pl.col("example").first().fill_null(""))
    rows = counted.sort("len", descending=True, maintain_order=True).iter_rows()
    return tuple(Unusable(reason=why, labels=n, example=example) for why, n, example in rows)
